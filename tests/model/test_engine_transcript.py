"""The engine held to its transcript: digits, answers and grounded words come of what it wrote down."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.config import MAX_RECITED
from model.control import CallProfile
from model.engine import FRAME_SAMPLES, Engine, StepOutput
from model.numbers import DIGIT_WORDS
from model.tokenizer import PAD, TextTokenizer
from tests.model import tiny


@pytest.fixture(scope="module")
def parts(model_folder: Path) -> Engine:
    """One loaded engine whose weights the others share."""
    return Engine.load(model_folder, 2)


def _calls(engine: Engine, steps: int) -> list[StepOutput]:
    """So many steps of noise in the first slot."""
    frames = 0.3 * np.random.default_rng(0).standard_normal((steps, 2, FRAME_SAMPLES))
    return [engine.step(frame, np.array([True, False])) for frame in frames.astype(np.float32)]


def _reciting(parts: Engine, tokenizer: TextTokenizer) -> Engine:
    """One that hears digits and says digits, and reads back those that it heard."""
    lm = tiny.lm(tiny.recital_config(tokenizer))
    tiny.babble_digits(lm, tokenizer)
    sampling = replace(parts.config.sampling, text_once_frames=1, recite_from_digits=5,
                       answer_within_frames=40, grounded_words=("seven",))  # fmt: skip
    config = replace(parts.config, lm=lm.config, sampling=sampling)
    return Engine(replace(parts.model, config=config, lm=lm, tokenizer=tokenizer), 2, greedy=True)


def test_digits_are_read_back_as_they_were_written_and_a_moved_call_remembers_them(
    parts: Engine, digits_tokenizer: TextTokenizer
) -> None:
    lived, reborn = _reciting(parts, digits_tokenizer), _reciting(parts, digits_tokenizer)
    lived.start(0, seed=1)
    outputs = _calls(lived, 40)
    digits = {digits_tokenizer.encode(word)[0] for word in DIGIT_WORDS}
    written = [int(output.caller_text[0]) for output in outputs]
    assert digits.issuperset(written), "no pause, no other word: one long number"
    said = [token for output in outputs[5:] if (token := int(output.text[0])) in digits]
    assert said[:MAX_RECITED] == written[:MAX_RECITED] and len(set(said)) > 2

    assert lived.program.recital is not None and reborn.program.recital is not None
    assert lived.program.answering is not None and reborn.program.answering is not None
    memory = lived.program.recital.tree.rows(0)
    for name in ("line_age", "pause", "words_over", "hushed"):
        lived.program.answering.tree[name].zero_()  # of what is being said: a moved agent is silent
    heard = lived.program.answering.tree.rows(0)
    outputs += _calls(lived, 1)  # reads what the step before wrote
    reborn.start(1, seed=1, history=np.stack([output.tokens[0] for output in outputs]))
    tiny.assert_rows_equal(reborn.program.recital.tree, memory, 1)
    tiny.assert_rows_equal(reborn.program.answering.tree, heard, 1)


def test_what_is_read_back_is_given_and_what_it_says_of_itself_is_not(
    parts: Engine, digits_tokenizer: TextTokenizer
) -> None:
    engine = _reciting(parts, digits_tokenizer)
    engine.start(0, seed=1)
    digits = {digits_tokenizer.encode(word)[0] for word in DIGIT_WORDS}
    num_told = num_own = 0
    assert engine.program.recital is not None
    for _ in range(40):
        (output,) = _calls(engine, 1)
        is_recited = int(engine.program.recital.tree["paused"][0]) == 0
        assert bool(engine.program.generator._tokens["is_given"][0]) == is_recited
        if int(output.text[0]) in digits:
            num_told, num_own = num_told + is_recited, num_own + (not is_recited)
    assert num_told >= MAX_RECITED and num_own, "it babbles until it has heard five"


def _held(parts: Engine, tokenizer: TextTokenizer, *written: int) -> Engine:
    """One that writes down these tokens and no others, and is held to them."""
    lm = tiny.lm(tiny.recital_config(tokenizer))
    others = [token for token in range(tokenizer.card) if token not in written]
    with torch.no_grad():
        next(lm.extra_heads.parameters())[others] = 0
    sampling = replace(parts.config.sampling, answer_within_frames=3, grounded_words=("seven",))
    config = replace(parts.config, lm=lm.config, sampling=sampling)
    return Engine(replace(parts.model, config=config, lm=lm, tokenizer=tokenizer), 2, greedy=True)


def test_a_model_that_would_be_silent_answers_what_it_wrote_down(
    parts: Engine, digits_tokenizer: TextTokenizer
) -> None:
    (one,) = digits_tokenizer.encode("one")
    engine = _held(parts, digits_tokenizer, PAD, one)
    engine.start(0, seed=1, profile=CallProfile(text_bias=((PAD, 1e3),)))
    outputs = _calls(engine, 80)
    said, heard = (
        [int(out[0]) for out in row] for row in zip(*((o.text, o.caller_text) for o in outputs), strict=True)
    )
    spoken = [at for at, token in enumerate(said) if token != PAD]
    assert spoken, "there are pauses after words"
    num_words = quiet = 0
    for text, word in zip(said, heard, strict=True):
        assert (text != PAD) == (num_words >= 2 and quiet >= 3)
        piece, is_heard = digits_tokenizer.piece(text), word == one
        opens_a_word = piece.startswith("▁") and piece != "▁"  # what is spelt may be a hum
        num_words = 0 if opens_a_word else num_words + is_heard
        quiet = 0 if piece or is_heard else quiet + 1

    assert engine.program.answering is not None
    engine.stop(0)
    engine.start(0, seed=2)
    assert not any(tensor[0].any() for tensor in engine.program.answering.tree.walk()), "a new call"


@pytest.mark.parametrize("is_heard", [False, True])
def test_a_grounded_word_waits_until_it_was_heard(
    parts: Engine, digits_tokenizer: TextTokenizer, is_heard: bool
) -> None:
    (seven,) = digits_tokenizer.encode("seven")
    engine = _held(parts, digits_tokenizer, PAD, *([seven] if is_heard else []))
    engine.start(0, seed=1, profile=CallProfile(text_bias=((seven, 1e3),)))
    outputs = _calls(engine, 30)
    said = [int(out.text[0]) for out in outputs]
    if not is_heard:
        assert seven not in said
        return
    first = [int(out.caller_text[0]) for out in outputs].index(seven)
    assert [token == seven for token in said] == [at > first for at in range(30)]
