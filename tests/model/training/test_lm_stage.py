"""The language model's training: what is a target, what goes missing, going on exactly."""

import math
import random
import re
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.config import ZERO_TOKEN
from model.engine import BUILTIN
from model.tokenizer import EPAD, PAD, load_text_tokenizer
from model.training import lm_stage
from model.training.dialogues import Call, Scriptwriter
from model.training.feed import Share
from model.training.lm_stage import (
    DROP_CODE_SHARE,
    DROP_PIECE_SHARE,
    DROP_SHARE,
    PAD_WEIGHT,
    CallBatch,
    Callers,
    LmDials,
    LmTraining,
    call_batches,
    collate,
    weighted_cross_entropy,
)
from model.training.metrics import latest, read_metrics
from model.training.stage import Figures
from model.training.tokens_stage import TokenStem
from tests.model import tiny
from tests.model.training import made

ENDLESS = 1e9  # minutes; no share of it is ever spent
TEXT_CARD = 48
CONFIG = tiny.model_config(TEXT_CARD).lm
NUM_CODEBOOKS = CONFIG.dep_q
COLUMNS = 40
END = 30
SILENCE = np.zeros(NUM_CODEBOOKS, np.int64)


def _call(seed: int = 0, columns: int = COLUMNS, end: int = END) -> Call:
    """Random tokens, of which the last ten are no part of the call."""
    draws = np.random.default_rng(seed)
    text = draws.integers(4, TEXT_CARD, columns)
    text[::3], text[2::6] = PAD, EPAD
    transcript = np.where(draws.random(columns) < 0.5, PAD, draws.integers(4, TEXT_CARD, columns))
    agent = draws.integers(0, CONFIG.card, (NUM_CODEBOOKS, columns))
    caller = draws.integers(0, CONFIG.card, (NUM_CODEBOOKS, columns))
    return Call(agent, caller, text, transcript, np.zeros(columns, bool), end)


def _batch(*calls: Call, seed: int = 0) -> CallBatch:
    return collate(calls or [_call(0), _call(1)], np.random.default_rng(seed))


def _training(folder: Path, validation: tuple[Call, ...] = (), minutes: float = ENDLESS) -> LmTraining:
    return LmTraining(CONFIG, LmDials(minutes=minutes), folder, SILENCE, validation)


def _figures(training: LmTraining, batch: CallBatch) -> Figures:
    torch.manual_seed(0)  # which columns teach codes is drawn
    training.lm.eval()
    with torch.no_grad():
        figures = training.loss(*batch)[1]
    training.lm.train()
    return {name: float(value) for name, value in figures.items()}


def _parts(figures: Figures, *names: str) -> list[float]:
    return [figures[name] for name in names]


def test_of_the_caller_alone_codes_and_words_go_missing() -> None:
    calls = [_call(seed, 400) for seed in range(4)]
    codes, transcript, _, _ = collate(calls, np.random.default_rng(0))
    assert codes.shape == (4, 2 + 2 * NUM_CODEBOOKS, 400) and codes.dtype == torch.int64
    first = 1 + NUM_CODEBOOKS
    for row, call in zip(codes.numpy(), calls, strict=True):
        np.testing.assert_array_equal(row[:first], np.concatenate([call.text[None], call.agent]))
        heard, read_back = row[first:-1], row[-1]
        np.testing.assert_array_equal(heard[heard >= 0], call.caller[heard >= 0])
        kept = read_back == call.transcript
        assert (read_back[~kept] == PAD).all()
        words = call.transcript != PAD
        assert float((~kept[words]).mean()) == pytest.approx(DROP_PIECE_SHARE, abs=0.05)
        assert call.caller.min() >= 0, "the call itself is left whole"
    np.testing.assert_array_equal(transcript.numpy(), np.stack([call.transcript for call in calls]))
    calls[0].read_back = calls[0].transcript + 1  # reworded: there all is read that tells what to say
    np.testing.assert_array_equal(collate(calls, np.random.default_rng(0))[0][0, -1], calls[0].read_back)
    lost = codes[:, first:-1] == ZERO_TOKEN
    frames = lost.all(1, keepdim=True)
    assert float(frames.float().mean()) == pytest.approx(DROP_SHARE, abs=0.015)
    assert float(lost[~frames.expand_as(lost)].float().mean()) == pytest.approx(DROP_CODE_SHARE, abs=0.015)


def test_weight_ends_with_the_call_and_forced_text_is_named() -> None:
    calls = [_call(0, end=30), _call(1, end=COLUMNS)]
    calls[0].forced[5] = True
    _, _, weight, forced = _batch(*calls)
    assert weight.tolist() == [30 * [1.0] + 10 * [0.0], COLUMNS * [1.0]]
    assert forced.nonzero().tolist() == [[0, 5]]


def test_a_share_is_a_stream_of_calls() -> None:
    tokenizer = load_text_tokenizer(BUILTIN)
    writer = Scriptwriter(made.agent_library(), tokenizer, 120)
    dials = LmDials(calls=3, num_columns=120)

    def first(share: Share) -> list[Tensor]:
        batches = call_batches(Callers([made.stem()]), writer, dials, share)
        return [part for batch in islice(batches, 2) for part in batch]

    one, same, other = first(Share(0, 2, 7)), first(Share(0, 2, 7)), first(Share(1, 2, 7))
    assert one[0].shape == (3, 2 + 2 * made.NUM_CODEBOOKS, 120)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0], other[0]) and not torch.equal(one[0], one[4])


def test_callers_that_arrive_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_stage, "LOOK_EVERY_CALLS", 6)
    first, late = made.stem(made.REQUESTS[:1]), made.stem(made.REQUESTS[5:9])
    stems, looks, called = [first], list[int](), list[TokenStem]()
    writer = Scriptwriter(made.agent_library(), load_text_tokenizer(BUILTIN), 120)
    draw = writer.draw

    def note(stem: TokenStem, rng: random.Random) -> Call:
        called.append(stem)
        return draw(stem, rng)

    def look() -> None:
        looks.append(len(called))
        if len(looks) == 2:
            stems.append(late)

    monkeypatch.setattr(writer, "draw", note)
    dials = LmDials(calls=2, num_columns=120)
    list(islice(call_batches(Callers(stems), writer, dials, Share(0, 1, 7), look), 9))
    assert looks == [0, 6, 12]
    assert all(stem is first for stem in called[:6]) and any(stem is late for stem in called[6:])


def test_recorded_people_call_in_their_share_of_the_calls() -> None:
    people, voices = [made.stem()] * 2, [made.stem(made.REQUESTS[5:9])] * 40
    draws = random.Random(3)
    callers = Callers(voices, people, 0.3)
    called = [any(one is caller for caller in people) for one in (callers.draw(draws) for _ in range(600))]
    assert sum(called) / 600 == pytest.approx(0.3, abs=0.06)
    assert all(Callers(voices, (), 0.3).draw(draws) is voices[0] for _ in range(9)), "there are none"


def test_what_has_no_weight_adds_nothing_to_the_mean() -> None:
    logits, target = tiny.noise(3, 5), torch.tensor([0, 1, 2])
    each = -logits.log_softmax(-1)[torch.arange(3), target]
    weight = torch.tensor([1.0, 0.0, PAD_WEIGHT])
    wanted = (each[0] + PAD_WEIGHT * each[2]) / (1 + PAD_WEIGHT)
    torch.testing.assert_close(weighted_cross_entropy(logits, target, weight), wanted)
    assert weighted_cross_entropy(logits, target, 0 * weight) == 0


def test_what_lies_past_the_end_is_no_target(tmp_path: Path) -> None:
    training = _training(tmp_path)
    codes, transcript, weight, forced = _batch()
    other_codes, other_transcript = codes.clone(), transcript.clone()
    other_codes[:, : 1 + NUM_CODEBOOKS, END:] = 5
    other_transcript[:, END:] = 5
    names = "text", "heard", "audio", "text_acc", "heard_acc"
    one = _figures(training, (codes, transcript, weight, forced))
    two = _figures(training, (other_codes, other_transcript, weight, forced))
    assert _parts(one, *names) == _parts(two, *names)
    whole = torch.ones_like(weight)
    one = _figures(training, (codes, transcript, whole, forced))
    two = _figures(training, (other_codes, other_transcript, whole, forced))
    for name in ("text", "heard", "audio"):
        assert one[name] != two[name]


@pytest.mark.parametrize("is_forced", [True, False])
def test_forced_text_is_no_target(tmp_path: Path, is_forced: bool) -> None:
    """The last column's token is read by no other column, so that it can matter as a target alone."""
    training = _training(tmp_path)
    one, two = _call(end=COLUMNS), _call(end=COLUMNS)
    one.text[-1], two.text[-1] = 7, 8
    one.forced[-1] = two.forced[-1] = is_forced
    losses = [_figures(training, _batch(call))["text"] for call in (one, two)]
    assert (losses[0] == losses[1]) == is_forced


@torch.no_grad()
def test_padding_counts_less_than_words(tmp_path: Path) -> None:
    """A model that leans to padding is wrong about ten words and right about thirty paddings."""
    training = _training(tmp_path)
    training.lm.eval()
    call = _call(end=COLUMNS)
    call.text[:10], call.text[10:] = 9, PAD
    hidden = training.lm.temporal(training._columns(_batch(call)[0])[:, :, :-1])[0]
    training.lm.text_linear.weight[PAD] += hidden.mean(0)
    logits = training.lm.text_linear(hidden)
    each = F.cross_entropy(logits, torch.from_numpy(call.text), reduction="none")
    wanted = (each[:10].sum() + PAD_WEIGHT * each[10:].sum()) / (10 + PAD_WEIGHT * 30)
    assert _figures(training, _batch(call))["text"] == pytest.approx(float(wanted), rel=0.02)
    assert float(each.mean()) != pytest.approx(float(wanted), rel=0.1)


def test_figures_count_words_and_what_was_heard(tmp_path: Path) -> None:
    """A model that only ever says 9, judged on columns that hold 9, padding, and 9 as forced text."""
    training = _training(tmp_path)
    training.lm.eval()
    call = _call(end=COLUMNS)
    call.text[:], call.transcript[:] = PAD, PAD
    call.text[4:8], call.transcript[[6, 9]] = [9, 10, 9, 9], [9, 10]
    call.forced[7] = True
    with torch.no_grad():
        for head in (training.lm.text_linear, training.lm.extra_heads[0]):
            assert isinstance(head, torch.nn.Linear)
            head.weight.zero_()
            hidden = training.lm.temporal(training._columns(_batch(call)[0])[:, :, :-1])
            head.weight[9] = torch.linalg.lstsq(hidden[0], torch.ones(COLUMNS, 1)).solution[:, 0]
    figures = _figures(training, _batch(call))
    assert _parts(figures, "text_acc", "word_start_acc", "heard_acc") == pytest.approx([2 / 3, 1.0, 0.5])


def test_where_the_model_reads_what_it_wrote_it_is_taught_answers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, extra_heads_fed_back=1)
    training = LmTraining(config, LmDials(minutes=ENDLESS), tmp_path, SILENCE)
    batch = _batch()
    own = training._written(batch[0])
    assert own.shape == batch[1].shape and not torch.equal(own, batch[0][:, -1])
    total, figures = training.loss(*batch, reads_own=True)
    grads = torch.autograd.grad(total, list(training.lm.parameters()), allow_unused=True)
    moved = {name for (name, _), grad in zip(training.lm.named_parameters(), grads, strict=True)
             if grad is not None and grad.any()}  # fmt: skip
    assert "extra_emb.0.weight" in moved and "extra_heads.0.weight" not in moved
    assert math.isnan(figures["heard"]) and figures["text"] > 0
    for share, is_own in ((1.0, True), (0.0, False)):
        monkeypatch.setattr(lm_stage, "OWN_TRANSCRIPT_SHARE", share)
        assert math.isnan(training.step(_batch())["heard"]) is is_own


def test_the_loss_falls_on_one_batch(tmp_path: Path) -> None:
    training = _training(tmp_path)
    batch = _batch()
    before = _figures(training, batch)
    for _ in range(40):
        training.step(batch)
    after = _figures(training, batch)
    for name in ("text", "heard", "audio"):
        assert after[name] < 0.8 * before[name], name
    assert training.num_skipped == 0


def test_codes_that_are_spoken_teach_what_hears(tmp_path: Path) -> None:
    training = _training(tmp_path)
    training.dials = replace(training.dials, text_weight=0.0, transcript_weight=0.0)
    training.loss(*_batch())[0].backward()  # type: ignore[no-untyped-call]
    of_caller = training.lm.emb[NUM_CODEBOOKS]
    assert isinstance(of_caller, torch.nn.Embedding) and of_caller.weight.grad is not None
    assert of_caller.weight.grad.any()


def test_codes_are_taught_where_the_agent_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many columns each time; a silent one seldom, one past the end or without sound never."""
    training = _training(tmp_path)
    call = _call(columns=400, end=300)
    call.agent[:, 100:] = SILENCE[:, None]
    call.agent[:, 40:60] = ZERO_TOKEN
    drawn: list[Tensor] = []  # columns, in the order in which they were drawn
    taught: list[Tensor] = []

    def depth(hidden: Tensor, text: Tensor, audio: Tensor) -> Tensor:
        drawn.append(hidden[:, 0].long())
        return hidden.new_zeros(len(text), NUM_CODEBOOKS, CONFIG.card)

    def mean(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        taught.append(drawn[-1][weight.view(-1, NUM_CODEBOOKS)[:, 0] > 0])
        return logits.sum()

    monkeypatch.setattr(training.lm, "depth", depth)
    monkeypatch.setattr(lm_stage, "weighted_cross_entropy", mean)
    codes, _, weight, _ = _batch(call)
    columns = training._columns(codes)
    numbered = torch.arange(400.0)[None, :, None].expand(1, 400, CONFIG.dim)
    for _ in range(20):
        training._audio_loss(numbered, columns, weight)
    assert {len(part) for part in drawn} == {math.ceil(lm_stage.TAUGHT_SHARE * 400)}
    assert all(len(set(part.tolist())) == len(part) for part in drawn), "none is drawn twice"
    # Codebooks are late by up to a frame, so that a stretch without sound is seen a column longer.
    all_taught = torch.cat(taught)
    assert all_taught.max() < 300 and not torch.isin(all_taught, torch.arange(41, 60)).any()
    spoken = (all_taught < 101).float().mean()
    # Of 80 columns with speech and 200 without, each with a twelfth of the weight.
    assert 0.6 < float(spoken) < 1.0 and len(all_taught) == sum(map(len, drawn))


def test_units_drop_out_in_training_alone(tmp_path: Path) -> None:
    training = _training(tmp_path)
    columns = training._columns(_batch()[0])[:, :, :-1]
    assert not torch.equal(training.lm.temporal(columns), training.lm.temporal(columns))
    training.lm.eval()
    assert torch.equal(training.lm.temporal(columns), training.lm.temporal(columns))


def test_a_checkpoint_goes_on_exactly(tmp_path: Path) -> None:
    first = _training(tmp_path)
    for seed in range(3):
        first.step(_batch(seed=seed))
    first.save()
    second = _training(tmp_path)
    assert second.resume() and (second.steps, second.spent_s) == (first.steps, first.spent_s)
    figures = []
    for training in (first, second):
        torch.manual_seed(1)
        figures.append(training.step(_batch(seed=7)))
    assert figures[0] == figures[1]
    theirs = second.lm.state_dict()
    for name, tensor in first.lm.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name


def test_validation_is_of_the_calls_set_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_stage, "VALIDATE_EVERY_S", 0.0)
    apart = tuple(_call(seed) for seed in range(20, 30))
    training = _training(tmp_path, apart, minutes=1e-9)
    told: list[str] = []
    training.run(iter([_batch(), _batch()]), told.append)
    assert told[0].startswith("validation at 1: ") and len(told) == training.steps == 2
    weights = {name: tensor.clone() for name, tensor in training.lm.state_dict().items()}
    of_apart, of_trained = training.validate(apart), training.validate([_call(0), _call(1)])
    assert _text(told[-1]) == f"{of_apart['val_text']:.3f}" != f"{of_trained['val_text']:.3f}"
    assert all(torch.equal(tensor, weights[name]) for name, tensor in training.lm.state_dict().items())


def _text(figures: str) -> str:
    found = re.search(r"val_text (\S+)", figures)
    assert found
    return found[1]


def test_without_calls_set_apart_none_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_stage, "VALIDATE_EVERY_S", 0.0)
    told: list[str] = []
    _training(tmp_path, minutes=1e-9).run(iter([_batch(), _batch()]), told.append)
    assert not told


def test_dials_weigh_the_parts(tmp_path: Path) -> None:
    training = _training(tmp_path)
    before = _figures(training, _batch())
    training.dials = replace(training.dials, text_weight=2.0, transcript_weight=3.0, audio_weight=1.0)
    after = _figures(training, _batch())
    assert _parts(after, "text", "heard", "audio") == pytest.approx(
        [2 * before["text"], 3 * before["heard"], 2 * before["audio"]]
    )


def _timed(columns: tuple[int, ...] = (4, 10)) -> Call:
    """A call whose text is the runtime's from column 4 on; words begin at these columns."""
    call = _call()
    call.text[4:] = 9
    call.forced[4:] = True
    for column in columns:
        call.forced[column], call.timed[column] = False, True
    return call


def test_going_on_from_trained_weights_is_gentler() -> None:
    plain = LmDials(minutes=3, calls=7)
    gentle = plain.gentle()
    assert (gentle.minutes, gentle.calls) == (3, 7)
    assert 0 < gentle.muon_lr < plain.muon_lr
    assert gentle.adam_lr / plain.adam_lr == pytest.approx(gentle.muon_lr / plain.muon_lr)
    assert LmDials(calls=5).gentle().muon_lr < gentle.muon_lr, "more calls bear more"
    assert LmDials(calls=40).gentle().muon_lr == plain.muon_lr, "the rates were chosen for so many"


def test_whose_text_it_is_comes_with_the_batch() -> None:
    given = _batch(_timed())[3][0]
    assert given[:4].tolist() == [lm_stage.OWN] * 4
    assert given[4] == given[10] == lm_stage.TIMED and given[5] == given[30] == lm_stage.FORCED


def test_of_told_words_the_moment_is_a_target_and_the_word_is_none(tmp_path: Path) -> None:
    """Any word will do where one begins; padding there costs."""
    training = _training(tmp_path)
    weight = torch.zeros(1, COLUMNS)
    weight[0, [4, 10]] = 1
    logits = torch.zeros(COLUMNS, TEXT_CARD)
    even = training._timing_loss(logits, weight)
    assert float(even) == pytest.approx(-np.log(1 - 2 / TEXT_CARD), rel=1e-4)
    logits[4, 30] = logits[10, 12] = 50.0
    assert float(training._timing_loss(logits, weight)) == pytest.approx(0, abs=1e-6)
    logits[10, PAD] = 70.0
    assert float(training._timing_loss(logits, weight)) == pytest.approx(10, rel=1e-3)
    assert _figures(training, _batch(_timed()))["timing"] > 0
    assert _figures(training, _batch(_call()))["timing"] == 0


def test_what_a_rehearsal_finds_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_stage, "REHEARSE_EVERY_S", 0.0)
    training = LmTraining(
        CONFIG, LmDials(minutes=ENDLESS), tmp_path, SILENCE, rehearsal=lambda lm: {"loop_right": 0.5}
    )
    told: list[str] = []
    training.step(_batch())
    training._between_steps(told.append)
    assert told == ["closed loop at 1: loop_right 0.500"]
    assert latest(read_metrics(training.metrics.path)) == {"loop_right": (1, 0.5)}
