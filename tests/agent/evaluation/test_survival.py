"""What a caller noticed of a death is read from the call's sound: made-up scenes with known answers."""

import numpy as np
import pytest

from agent.energy_gate import Pcm
from agent.evaluation.judge import Judge, Verdict, order_in
from agent.evaluation.outcome import CallOutcome, TurnOutcome
from agent.evaluation.survival import Survival, greets, survival_of, turns_between
from model.order_line import CONFIRMED, OKAY
from tests.agent.evaluation.scenes import channel

READ_BACK = "a large latte with soy milk is that right"
GREETED = "off hook coffee what can i get you"
DIED_S = 6.0


class KnowingJudge(Judge):
    """Hears what it was told to hear, talk after talk."""

    def __init__(self, *words: str) -> None:
        self._words = list(words)

    def hear(self, pcm: Pcm) -> Verdict:
        words = self._words.pop(0)
        return Verdict(words, order_in(words))


def turn(
    intent: str, start_s: float, heard: str, *, is_right: bool = True, gap_s: float | None = 0.5
) -> TurnOutcome:
    return TurnOutcome(
        intent, intent, "reply", start_s, start_s + 1.0, [], [], heard, None, True, is_right, gap_s, False,
        [], None,
    )  # fmt: skip


def survival(
    question: TurnOutcome | None,
    agent: list[tuple[float, float]],
    *heard: str,
    order: TurnOutcome | None = None,
) -> Survival:
    """A call that lasted 14 s, with a death at 6 s; `agent` is when it spoke, `heard` what it said after."""
    turns = [order or turn("order", 3.0, READ_BACK), *([question] if question else [])]
    outcome = CallOutcome(0, "", 14.0, GREETED, True, 0.3, turns)
    spans = [(0.3, 2.0), (4.5, 5.5), *agent]
    return survival_of(outcome, channel(spans, 14.0), DIED_S, KnowingJudge(*heard))


def test_a_call_that_goes_on_is_timed_from_the_death_and_remembers() -> None:
    told = survival(turn("yes", 7.0, CONFIRMED.text), [(8.5, 11.0)], CONFIRMED.text)
    assert told.heard_after_s == pytest.approx(2.5, abs=0.03)
    assert (told.answered_after_s, told.num_greetings, told.unasked) == (0.5, 0, [])
    assert (told.is_understood, told.is_right, told.is_remembered) == (True, True, True)


def test_a_slot_that_forgot_greets_again_unasked() -> None:
    answer = turn("yes", 9.0, OKAY.text, is_right=False)
    told = survival(answer, [(6.5, 8.5), (10.5, 12.0)], GREETED, OKAY.text)
    assert (told.num_greetings, told.unasked) == (1, [GREETED])
    assert told.heard_after_s == pytest.approx(0.5, abs=0.03)
    assert told.is_remembered is False


@pytest.mark.parametrize(
    ("answer", "is_remembered"),
    [
        ("a latte is that right", True),  # a slip, but it knows
        ("a large mocha with soy milk is that right", False),
        (GREETED, False),
        ("", False),
    ],
)
def test_a_repetition_must_name_the_drink(answer: str, is_remembered: bool) -> None:
    told = survival(turn("repeat", 7.0, answer, is_right=False), [(8.5, 11.0)], answer)
    assert (told.is_right, told.is_remembered) == (False, is_remembered)


def test_memory_of_an_order_that_was_not_understood_is_not_judged() -> None:
    order = turn("order", 3.0, "a mocha is that right", is_right=False)
    told = survival(turn("yes", 7.0, CONFIRMED.text), [(8.5, 11.0)], CONFIRMED.text, order=order)
    assert (told.is_understood, told.is_remembered) == (False, None)


def test_a_call_that_ended_with_its_worker_was_never_heard_again() -> None:
    told = survival(None, [])
    assert (told.heard_after_s, told.answered_after_s, told.question) == (None, None, "")
    assert told.is_remembered is False


def test_turns_in_an_outage_lie_wholly_inside() -> None:
    turns = [turn("yes", start_s, "") for start_s in (1.0, 5.0, 9.0, 9.5)]
    assert turns_between(turns, 5.0, 10.0) == turns[1:3]


def test_only_the_first_line_counts_as_a_greeting() -> None:
    sound = channel([(0.3, 2.0), (4.0, 5.0)], 6.0)
    assert greets(sound, KnowingJudge(GREETED))
    assert not greets(sound, KnowingJudge(OKAY.text))
    assert not greets(np.zeros(48_000, np.float32), KnowingJudge())


def test_a_line_that_was_lost_before_the_order_has_remembered_nothing() -> None:
    outcome = CallOutcome(0, "", 4.0, GREETED, True, 0.3, [])
    told = survival_of(outcome, channel([(0.3, 2.0)], 4.0), DIED_S, KnowingJudge())
    assert (told.read_back, told.is_understood, told.is_remembered, told.answer) == ("", False, None, "")
