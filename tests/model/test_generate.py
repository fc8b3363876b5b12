"""Generation: rows are independent, what is forced is said, a replayed history is remembered."""

import pytest
import torch
from torch import Tensor

from model.config import LmConfig, SamplingConfig
from model.generate import UNGENERATED, GeneratedStep, Generator
from model.lm import Lm
from model.steps import PlainSteps
from model.streaming import State
from tests.model import tiny
from tests.model.tiny import LM_CONFIG, SHARED_LM_CONFIG, WRITING_LM_CONFIG, assert_rows_equal, mask, tokens

pytestmark = pytest.mark.usefixtures("no_gradients")

EVERYBODY = mask(1, 1)


@pytest.fixture(scope="module", params=[LM_CONFIG, WRITING_LM_CONFIG], ids=["family", "writing"])
def lm(request: pytest.FixtureRequest) -> Lm:
    return tiny.lm(request.param)


def _caller(steps: int, rows: int = 2, seed: int = 0) -> Tensor:
    return tokens(LM_CONFIG.card, steps, rows, 8, seed=seed)


def _generator(lm: Lm, rows: int = 2, *, greedy: bool = False) -> Generator:
    generator = Generator(lm, rows, SamplingConfig(), greedy=greedy)
    for row in range(rows):
        generator.controls.reset(row, seed=row)
    return generator


def _run(generator: Generator, caller: Tensor) -> list[GeneratedStep]:
    everybody = torch.ones(caller.shape[1], dtype=torch.bool)
    return [generator.step(codes, everybody) for codes in caller]


def test_the_first_column_is_initial_and_the_first_frame_comes_with_the_second_step(lm: Lm) -> None:
    first, second = _run(_generator(lm), _caller(2))
    assert torch.equal(first.column[0], lm.initial_column)
    assert (first.frame == UNGENERATED).all()
    assert ((second.frame >= 0) & (second.frame < LM_CONFIG.card)).all()
    assert torch.equal(second.column[:, 0], first.text)


def test_the_caller_is_heard_in_the_column_that_its_delay_names(lm: Lm) -> None:
    caller = _caller(5)
    steps = _run(_generator(lm), caller)
    for at in (2, 3, 4):
        assert torch.equal(steps[at].column[:, 9], caller[at][:, 0])
        assert torch.equal(steps[at].column[:, 10:17], caller[at - 1][:, 1:])


def test_what_a_row_draws_depends_on_its_seed_alone(lm: Lm) -> None:
    caller = _caller(15)
    others = caller.clone()
    others[:, 1] = _caller(15, seed=9)[:, 1]
    one, two = _run(_generator(lm), caller), _run(_generator(lm), others)
    reseeded = _generator(lm)
    reseeded.controls.reset(0, seed=77)
    three = _run(reseeded, caller)
    texts = [torch.stack([step.text[0] for step in run]) for run in (one, two, three)]
    frames = [torch.stack([step.frame[0] for step in run]) for run in (one, two, three)]
    assert torch.equal(texts[0], texts[1])
    assert torch.equal(frames[0], frames[1])
    assert not torch.equal(frames[0], frames[2])


def test_an_idle_row_is_untouched(lm: Lm) -> None:
    generator = _generator(lm)
    _run(generator, _caller(14))
    before, offset = generator.state.rows(1), generator.offsets[1].item()
    step = generator.step(_caller(1)[0], mask(1, 0))
    assert_rows_equal(generator.state, before, 1)
    assert generator.offsets.tolist() == [15, offset]
    assert step.text[1] == UNGENERATED
    assert (step.frame[1] == UNGENERATED).all()


def test_an_interrupted_row_says_what_it_would_have_said(lm: Lm) -> None:
    caller = _caller(16, rows=2)
    whole = _run(_generator(lm), caller)
    generator = _generator(lm)
    got = []
    for at, codes in enumerate(caller):
        if at % 3 == 1:
            generator.step(_caller(1, seed=50 + at)[0], mask(1, 0))
        got.append(generator.step(codes, mask(1, 1) if at % 2 else mask(0, 1)).frame[1])
    assert torch.equal(torch.stack(got), torch.stack([step.frame[1] for step in whole]))


def test_reset_starts_a_row_over_and_leaves_the_other(lm: Lm) -> None:
    caller = _caller(20)
    generator = _generator(lm, greedy=True)
    _run(generator, caller)
    kept = generator.state.rows(0)
    generator.reset(mask(0, 1))
    assert_rows_equal(generator.state, kept, 0)
    again = _run(generator, caller)
    fresh = _run(_generator(lm, greedy=True), caller)
    for one, other in zip(again, fresh, strict=True):
        assert torch.equal(one.frame[1], other.frame[1])
        assert torch.equal(one.text[1], other.text[1])


def test_forced_text_is_said_and_heard(lm: Lm) -> None:
    generator = _generator(lm, greedy=True)
    caller = _caller(2)
    generator.controls.force_text(0, 41)
    first = generator.step(caller[0], EVERYBODY)
    free = _run(_generator(lm, greedy=True), caller)
    assert first.text.tolist() == [41, free[0].text[1].item()]
    second = generator.step(caller[1], EVERYBODY)
    assert second.column[0, 0] == 41
    assert torch.equal(second.frame[1], free[1].frame[1])


class _Noting(PlainSteps):
    """Notes in which form the model reads its text."""

    def __init__(self, lm: Lm) -> None:
        super().__init__(lm)
        self.before_depth: list[list[int]] = []
        self.in_column: list[list[int]] = []

    def temporal(self, column: Tensor, state: State) -> Tensor:
        self.in_column.append(column[:, 0].tolist())
        return super().temporal(column, state)

    def depth(self, step: int, previous: Tensor) -> Tensor:
        if step == 0:
            self.before_depth.append(previous.tolist())
        return super().depth(step, previous)


def _amplified(kind: LmConfig, gains: dict[int, float]) -> Lm:
    lm = tiny.lm(kind)
    lm.amplify(gains)
    return lm


@pytest.mark.parametrize("kind", [LM_CONFIG, SHARED_LM_CONFIG], ids=["family", "narrow tables"])
def test_a_word_that_is_given_is_read_in_its_second_form_and_told_in_its_first(kind: LmConfig) -> None:
    lm = _amplified(kind, {41: 3.0})
    steps = _Noting(lm)
    generator = Generator(lm, 2, SamplingConfig(), greedy=True, steps=steps)
    generator.controls.force_text(0, 41)
    ran = _run(generator, _caller(3))
    own = ran[0].text[1].item()
    assert own != 41 and ran[0].text[0] == 41 and ran[1].column[0, 0] == 41
    assert steps.before_depth[0] == [41 + kind.text_card + 1, own]
    assert steps.in_column[1] == [41 + kind.text_card + 1, own]
    assert steps.in_column[2] == ran[2].column[:, 0].tolist(), "what it says after that is its own choice"


def test_only_the_words_that_are_amplified_weigh_more(lm: Lm) -> None:
    caller, kind = _caller(6), lm.config
    runs = []
    for one in (lm, _amplified(kind, {}), _amplified(kind, {40: 3.0}), _amplified(kind, {41: 3.0})):
        generator = _generator(one, greedy=True)
        generator.controls.say(0, [41, 41])
        runs.append(_run(generator, caller))
    plain, *louder = [[step.frame.tolist() for step in run] for run in runs]
    assert louder[0] == louder[1] == plain
    assert [frame[0] for frame in louder[2]] != [frame[0] for frame in plain]
    assert [frame[1] for frame in louder[2]] == [frame[1] for frame in plain], "it was told nothing"


def test_a_new_call_and_a_replayed_one_have_been_given_nothing() -> None:
    lm = _amplified(LM_CONFIG, {41: 3.0})
    steps = _Noting(lm)
    generator = Generator(lm, 2, SamplingConfig(), greedy=True, steps=steps)
    generator.controls.force_text(0, 41)
    history = torch.stack([step.column[0] for step in _run(generator, _caller(3))])
    generator.controls.force_text(0, 41)
    generator.controls.force_text(1, 41)
    _run(generator, _caller(1))
    generator.reset(mask(1, 0))
    generator.replay(1, history.numpy())
    _run(generator, _caller(1))
    assert steps.in_column[-1] == [LM_CONFIG.text_card, LM_CONFIG.existing_text_padding_id]


def test_the_hook_may_forbid(lm: Lm) -> None:
    likeliest = _run(_generator(lm, greedy=True), _caller(1))[0].text

    def forbid(logits: Tensor) -> None:
        logits[:, likeliest] = -1e9

    step = _generator(lm, greedy=True).step(_caller(1)[0], EVERYBODY, text_logits_hook=forbid)
    assert not set(step.text.tolist()) & set(likeliest.tolist())


@pytest.mark.parametrize("steps", [1, 5, LM_CONFIG.context])
def test_replay_remembers_like_living_through_it(lm: Lm, steps: int) -> None:
    lived = _generator(lm, greedy=True)
    history = torch.stack([step.column[0] for step in _run(lived, _caller(steps))])
    reborn = _generator(lm, greedy=True)
    untouched = reborn.state.rows(0)
    reborn.replay(1, history.to(torch.int16).numpy())
    assert_rows_equal(reborn.state, untouched, 0)
    column = tokens(32, 2, lm.config.num_streams, 1, seed=4)
    column[1] = column[0]
    want = lm.text_linear(lm.temporal(column, lived.state))[0]
    got = lm.text_linear(lm.temporal(column, reborn.state))[1]
    torch.testing.assert_close(got, want, atol=1e-4, rtol=0)


def test_after_a_replay_the_row_goes_on_at_once(lm: Lm) -> None:
    lived = _generator(lm, greedy=True)
    history = torch.stack([step.column[0] for step in _run(lived, _caller(30))])
    reborn = _generator(lm, greedy=True)
    reborn.replay(1, history.to(torch.int16).numpy())
    caller = _caller(1, seed=8)[0]
    step = reborn.step(caller, EVERYBODY)
    assert (step.frame[1] >= 0).all()
    assert step.column[1, 0] == LM_CONFIG.existing_text_padding_id
    assert torch.equal(step.column[1, 1:9], history[-1, 1:9])
    assert step.column[1, 9] == caller[1, 0]
    assert (step.column[1, 17:] == LM_CONFIG.existing_text_padding_id).all()


def test_what_the_head_wrote_is_read_in_the_next_step_of_that_row() -> None:
    lm = tiny.lm(WRITING_LM_CONFIG)
    generator, caller = _generator(lm), _caller(6)
    steps = [generator.step(codes, mask(1, at != 3)) for at, codes in enumerate(caller)]
    written = [step.extra[:, 0].argmax(-1) for step in steps]
    assert steps[0].column[:, 17].tolist() == [WRITING_LM_CONFIG.extra_heads_dim] * 2, (
        "nothing was written yet"
    )
    for at in range(1, 6):
        assert steps[at].column[0, 17] == written[at - 1][0]
    assert steps[4].column[1, 17] == written[2][1], "an idle row wrote nothing"
    assert len({int(token) for row in written for token in row}) > 2


def test_what_was_written_changes_what_is_said() -> None:
    """Teacher-forced columns that differ in that stream alone."""
    lm = tiny.lm(WRITING_LM_CONFIG)
    codes = tokens(LM_CONFIG.card, 1, WRITING_LM_CONFIG.num_streams, 10)
    other = codes.clone()
    other[0, 17, 4] = (codes[0, 17, 4] + 1) % LM_CONFIG.card
    one, two = lm(codes).text[0], lm(other).text[0]
    torch.testing.assert_close(one[:5], two[:5], rtol=0, atol=1e-5)
    assert (one[5:] - two[5:]).abs().amax(1).min() > 1e-4
