"""A call that is prompted and told what to do equals the reference steered likewise, token for token."""

from typing import Any

import pytest
import torch
from torch import Tensor

from model.config import LmConfig, SamplingConfig
from model.control import CallProfile
from model.generate import UNGENERATED, Generator
from model.lm import Lm
from model.prompt import prompt_columns, prompt_frames, ready_prompt
from model.tokenizer import PAD
from tests.model.oracle import lm_pair
from tests.model.steered import Steered, steered
from tests.model.tiny import LM_CONFIG, tokens

pytestmark = pytest.mark.usefixtures("no_gradients")

CONFIG = LmConfig(
    **{name: getattr(LM_CONFIG, name) for name in LM_CONFIG.__dataclass_fields__} | {"context": 200}
)
SILENCE = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6])
TONE = torch.tensor([2, 7, 1, 8, 2, 8, 1, 8])
WORD_STARTS = torch.tensor([token % 3 == 0 for token in range(CONFIG.text_card)])
Pair = tuple[Lm, Any]


@pytest.fixture(scope="module")
def pair() -> Pair:
    return lm_pair(CONFIG)


def _given_to_pausing() -> Pair:
    ours, reference = lm_pair(CONFIG)
    for model in (ours, reference):
        model.text_linear.weight[[0, PAD]] *= 4
    return ours, reference


def _generator(lm: Lm, rows: int = 2) -> Generator:
    return Generator(
        lm, rows, SamplingConfig(), greedy=True, word_starts=WORD_STARTS, silence=SILENCE, can_pin=True
    )


def _caller(steps: int, seed: int = 0) -> Tensor:
    return tokens(CONFIG.card, steps, CONFIG.caller_q, seed=seed)


def _compare(mine: Generator, theirs: Steered, caller: Tensor, row: int) -> list[int]:
    """Step both over int64 [T, caller_q]; the texts, which are equal like all frames."""
    active = torch.zeros(len(mine.offsets), dtype=torch.bool)
    active[row] = True
    texts = []
    for at, codes in enumerate(caller):
        step = mine.step(codes.expand(len(active), -1), active)
        text, frame = theirs.step(codes.tolist())
        assert int(step.text[row]) == text, at
        assert step.frame[row].tolist() == (frame or [UNGENERATED] * CONFIG.agent_q), at
        texts.append(text)
    return texts


@pytest.mark.parametrize("voice_frames", [0, 1, 17])
def test_a_prompt_is_remembered_as_if_lived_through(pair: Pair, voice_frames: int) -> None:
    ours, reference = pair
    voice = tokens(CONFIG.card, voice_frames, CONFIG.agent_q, seed=5)
    frames = prompt_frames(voice, [9, 10, 30, 31, 12], SILENCE, TONE, pause_frames=6)
    mine = _generator(ours)
    prompt = ready_prompt(ours, frames)
    mine.prefill(1, prompt.embedded, prompt.pending)
    with steered(reference, CONFIG, SILENCE.tolist(), WORD_STARTS) as theirs:
        theirs.live_through(frames)
        _compare(mine, theirs, _caller(40), row=1)


def test_a_kept_prompt_serves_another_call(pair: Pair) -> None:
    ours, reference = pair
    frames = prompt_frames(tokens(CONFIG.card, 9, 8, seed=5), [9, 10], SILENCE, TONE, pause_frames=6)
    prompt = ready_prompt(ours, frames)
    first, second = _generator(ours), _generator(ours, rows=3)
    first.prefill(0, prompt.embedded, prompt.pending)
    second.restore(2, first.snapshot(0))
    with steered(reference, CONFIG, SILENCE.tolist(), WORD_STARTS) as theirs:
        theirs.live_through(frames)
        _compare(second, theirs, _caller(20), row=2)


def test_prompt_columns_by_hand() -> None:
    frames = prompt_frames(tokens(CONFIG.card, 2, 8), [7], SILENCE, TONE, pause_frames=1)
    columns = prompt_columns(frames, CONFIG)
    assert columns.shape == (17, len(frames) + 1)
    assert columns[0].tolist() == [CONFIG.text_card, PAD, PAD, 7, PAD, 0]
    assert columns[1, 1:5].tolist() == [int(frames.agent[1, 0]), 3, 3, 3]
    assert columns[2].tolist() == [CONFIG.card, CONFIG.card, int(frames.agent[1, 1]), 1, 1, 1]
    assert columns[9].tolist() == [CONFIG.card, 2, 2, 2, 2, 0]
    assert columns[10].tolist() == [CONFIG.card, CONFIG.card, 7, 7, 7, 7]


def test_a_sentence_is_said_in_the_models_own_time() -> None:
    """This model pads often: its logits of the two padding tokens are raised."""
    ours, reference = _given_to_pausing()
    sentence = [6, 7, 8, 9, 13, 12, 15]
    mine = _generator(ours)
    with steered(reference, CONFIG, SILENCE.tolist(), WORD_STARTS) as theirs:
        _compare(mine, theirs, _caller(5), row=0)
        mine.controls.say(0, sentence)
        theirs.orders.sentence = list(sentence)
        texts = _compare(mine, theirs, _caller(120, seed=1), row=0)
    spoken = [text for text in texts[: texts.index(15) + 1] if text not in (0, PAD)]
    assert spoken == sentence
    assert texts.index(15) > len(sentence), "it never paused"


def test_a_new_sentence_replaces_the_old_and_an_empty_one_ends_it(pair: Pair) -> None:
    ours, reference = pair
    mine = _generator(ours)
    with steered(reference, CONFIG, SILENCE.tolist(), WORD_STARTS) as theirs:
        for sentence in ([6, 7, 8, 9], [12, 13], []):
            mine.controls.say(0, sentence)
            theirs.orders.sentence, theirs.orders.at, theirs.orders.waited = sentence, 0, 0
            _compare(mine, theirs, _caller(4, seed=len(sentence)), row=0)


def test_silence_begins_and_ends_where_it_should(pair: Pair) -> None:
    ours, reference = pair
    mine = _generator(ours)
    with steered(reference, CONFIG, SILENCE.tolist(), WORD_STARTS) as theirs:
        _compare(mine, theirs, _caller(8), row=0)
        mine.controls.silence(0, 5)
        theirs.orders.silent_steps = 5
        caller = _caller(9, seed=2)
        texts = _compare(mine, theirs, caller[:5], row=0)
        assert texts == [PAD] * 5
        last = mine.step(caller[5].expand(2, -1), torch.tensor([True, False]))
        assert theirs.step(caller[5].tolist())[1] == last.frame[0].tolist() == SILENCE.tolist()
        _compare(mine, theirs, caller[6:], row=0)


def test_bias_and_bans_are_a_calls_own(pair: Pair) -> None:
    ours, reference = pair
    caller = _caller(30, seed=3)
    with steered(reference, CONFIG, SILENCE.tolist(), WORD_STARTS) as theirs:
        free = _compare(_generator(ours), theirs, caller, row=1)
    favourite = max(set(free), key=free.count)
    mine = _generator(ours)
    mine.controls.reset(1, seed=0, profile=CallProfile(text_bias=((5, 1.5), (6, -2.0)), banned=(favourite,)))
    with steered(reference, CONFIG, SILENCE.tolist(), WORD_STARTS) as theirs:
        theirs.orders.bias = {5: 1.5, 6: -2.0, favourite: -1e9}
        texts = _compare(mine, theirs, caller, row=1)
    assert favourite not in texts
