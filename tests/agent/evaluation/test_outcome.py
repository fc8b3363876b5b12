"""One call's turns are placed to the sample, and its answers held against what the caller asked."""

import numpy as np
import pytest

from agent.energy_gate import Pcm, Segment
from agent.errors import AgentError
from agent.evaluation.judge import Judge, Verdict
from agent.evaluation.outcome import PlacedTurn, expected_lines, judge_call, line_seconds, place_turns
from agent.evaluation.placed_call import AHEAD_SAMPLES
from agent.evaluation.script import Manner, SaidTurn, SpokenStep, Step
from agent.evaluation.segments import CallerTurn
from model.order_line import (
    ASK_DRINK,
    CONFIRMED,
    DELEGATE,
    GREETING,
    HOURS,
    MM_HM,
    NOBODY,
    NUMBER_TAKEN,
    OKAY,
    TRANSFER,
    UNKNOWN,
    Change,
    Intent,
    Order,
    Request,
    Tone,
    in_tone,
    readback,
)
from model.voices import AGENT_VOICE, synthesize
from telephony.endpoint import FRAME_SAMPLES

RATE_HZ = 24_000
LATTE = Order("latte", "large", "soy milk")
ORDER = Request(Intent.ORDER, "a large latte with soy milk", LATTE)
YES, NO = Request(Intent.YES, "yes"), Request(Intent.NO, "no")


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


def test_right_answers_follow_from_what_was_heard() -> None:
    asked = Verdict("a large latte with soy milk is that right", LATTE)
    done = Verdict("great it will be ready in ten minutes anything else")
    assert expected_lines(ORDER, Verdict("")) == (readback(LATTE).text,)
    assert expected_lines(YES, asked) == (CONFIRMED.text,)
    assert expected_lines(YES, done) == ("Sure. What would you like?",)
    assert expected_lines(NO, done) == ("Thank you for calling. Goodbye.",)
    assert expected_lines(YES, Verdict("")) == (OKAY.text,)
    assert expected_lines(Request(Intent.REPEAT, "pardon"), asked) == (asked.words,)
    assert {TRANSFER.text, NOBODY.text} <= set(expected_lines(Request(Intent.PERSON, "a human"), asked))
    change = Request(Intent.CHANGE, "no milk", change=Change(without=("milk",)))
    assert expected_lines(change, asked) == ("A large latte. Is that right?",)
    assert expected_lines(change, done, LATTE) == ("A large latte. Is that right?",)
    assert expected_lines(change, done) == (ASK_DRINK.text,)
    number = Verdict("five five five one two three four is that right", number="5551234")
    assert expected_lines(YES, number) == (NUMBER_TAKEN.text,)
    hurried = Request(Intent.YES, "yes", tone=Tone.HURRIED)
    assert expected_lines(hurried, asked) == (in_tone(CONFIRMED, Tone.HURRIED).text,)
    assert expected_lines(None, asked)[0] == "Are you still there?"


def said(pcm: Pcm, frame: int, manner: Manner = Manner.REPLY) -> SaidTurn:
    length_s = len(pcm) / RATE_HZ
    return SaidTurn(SpokenStep(Step(YES, manner), pcm, 0.1, length_s - 0.1, (Segment(0.3, 0.5),), 0.0), frame)


def test_turns_are_placed_to_the_sample() -> None:
    pcm = np.random.default_rng(0).normal(0, 0.1, 30_000).astype(np.float32)
    tape = np.zeros(200_000, np.float32)
    at = 20 * FRAME_SAMPLES + AHEAD_SAMPLES + 777
    tape[at : at + len(pcm)] = pcm
    (placed,) = place_turns([said(pcm, 20)], tape)
    assert placed.turn.start_s == pytest.approx(at / RATE_HZ + 0.1, abs=1e-6)
    assert placed.turn.pauses[0].start_s == pytest.approx(at / RATE_HZ + 0.3, abs=1e-6)
    assert place_turns([said(pcm, 20)], tape[: at + 9000]) == []  # the call ended in the middle of it
    holes = tape.copy()
    holes[at + 3000 : at + 27_000] = 0
    with pytest.raises(AgentError, match="too busy"):
        place_turns([said(pcm, 20)], holes)


def test_placed_turns_survive_json() -> None:
    turn = PlacedTurn(ORDER, Manner.CUT_IN, CallerTurn(1.0, 3.0, (Segment(1.5, 2.0),)))
    assert PlacedTurn.from_json(turn.as_json()) == turn
    silent = PlacedTurn(None, Manner.SILENCE, CallerTurn(1.0, 1.0))
    assert PlacedTurn.from_json(silent.as_json()) == silent


def agent_says(*lines: tuple[float, str], seconds: float) -> Pcm:
    """The agent's channel: each line from a time on."""
    pcm = np.zeros(round(seconds * RATE_HZ), np.float32)
    for at_s, text in lines:
        line = synthesize(text, AGENT_VOICE)
        start = round((at_s - line.lead_s) * RATE_HZ)
        pcm[start : start + len(line.pcm)] = line.pcm
    return pcm


def test_a_call_is_judged_turn_by_turn(judge: Judge) -> None:
    hours = Request(Intent.HOURS, "when are you open")
    pcm = agent_says(
        (0.5, GREETING.text),
        (6.3, readback(LATTE).text),
        (11.4, CONFIRMED.text),
        (17.3, HOURS.text),
        seconds=22.0,
    )
    pcm[round(13.4 * RATE_HZ) : round(17.0 * RATE_HZ)] = 0  # it yields to the third turn
    placed = [
        PlacedTurn(ORDER, Manner.REPLY, CallerTurn(4.0, 6.0)),
        PlacedTurn(YES, Manner.REPLY, CallerTurn(10.5, 11.0)),
        PlacedTurn(hours, Manner.CUT_IN, CallerTurn(13.0, 17.0)),
    ]
    outcome = judge_call(3, "voice", placed, pcm, judge)
    assert outcome.is_greeting_right and outcome.number == 3
    first, second, third = outcome.turns
    assert first.is_right and first.gap_s == pytest.approx(0.3, abs=0.05)
    assert not second.is_judged and second.gap_s == pytest.approx(0.4, abs=0.05)
    assert third.is_right and third.barge_in is not None
    assert third.barge_in["stop_s"] == pytest.approx(0.4, abs=0.05)
    assert outcome.as_json()["turns"][0]["heard"] == "a large latte with soy milk is that right"


def test_a_hum_before_the_answer_is_no_part_of_it(judge: Judge) -> None:
    pcm = agent_says((0.5, GREETING.text), (5.3, MM_HM.text), (6.3, readback(LATTE).text), seconds=10.0)
    (only,) = judge_call(
        0, "voice", [PlacedTurn(ORDER, Manner.REPLY, CallerTurn(4.0, 6.0))], pcm, judge
    ).turns
    assert only.is_right and only.early_starts == [] and only.gap_s == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("looked_up_s", [9.2, 12.5])
def test_a_short_line_is_an_answer_though_more_follows(judge: Judge, looked_up_s: float) -> None:
    """What was looked up comes within 5 s, or later than a gap is waited for."""
    status = Request(Intent.STATUS, "is my order ready")
    pcm = agent_says((0.5, GREETING.text), (6.4, DELEGATE.text), (looked_up_s, UNKNOWN.text), seconds=16.0)
    placed = [PlacedTurn(status, Manner.REPLY, CallerTurn(4.0, 6.0))]
    (only,) = judge_call(0, "voice", placed, pcm, judge).turns
    assert only.is_right and only.heard == "one moment" and not only.is_miss
    assert only.gap_s == pytest.approx(0.4, abs=0.05)
    placed = [PlacedTurn(ORDER, Manner.REPLY, CallerTurn(4.0, 6.0))]
    (only,) = judge_call(0, "voice", placed, pcm, judge).turns
    assert not only.is_right and only.gap_s != pytest.approx(0.4, abs=0.05), "to an order it is none"


def test_a_short_line_after_five_seconds_is_none(judge: Judge) -> None:
    pcm = agent_says((0.5, GREETING.text), (11.4, DELEGATE.text), seconds=16.0)
    status = Request(Intent.STATUS, "is my order ready")
    placed = [PlacedTurn(status, Manner.REPLY, CallerTurn(4.0, 6.0))]
    (only,) = judge_call(0, "voice", placed, pcm, judge).turns
    assert only.is_miss and only.gap_s is None


def test_an_agent_that_finishes_another_line_has_not_yielded(judge: Judge) -> None:
    """It was to tell the hours, said something else, and was spoken into."""
    hours = Request(Intent.HOURS, "when are you open")
    pcm = agent_says((0.5, GREETING.text), (6.3, NOBODY.text), seconds=16.0)
    placed = [
        PlacedTurn(hours, Manner.REPLY, CallerTurn(4.0, 6.0)),
        PlacedTurn(hours, Manner.CUT_IN, CallerTurn(8.0, 9.9)),
    ]
    broken_off = pcm.copy()
    broken_off[round(8.5 * RATE_HZ) :] = 0
    trials = [judge_call(0, "voice", placed, one, judge).turns[1].barge_in for one in (pcm, broken_off)]
    told = [(trial["is_eligible"], trial["why_not"]) for trial in trials if trial]
    assert told == [(False, "another line was said to its end"), (True, "")]


def test_a_wrong_drink_and_a_missing_answer_are_wrong(judge: Judge) -> None:
    mocha = Order("mocha", "large", "soy milk")
    pcm = agent_says((0.5, GREETING.text), (6.3, readback(mocha).text), seconds=20.0)
    placed = [
        PlacedTurn(ORDER, Manner.REPLY, CallerTurn(4.0, 6.0)),
        PlacedTurn(Request(Intent.HOURS, "hours"), Manner.REPLY, CallerTurn(11.0, 12.0)),
    ]
    first, second = judge_call(0, "voice", placed, pcm, judge).turns
    assert first.heard == "a large mocha with soy milk is that right" and not first.is_right
    assert second.is_miss and not second.is_right and second.gap_s is None


def test_a_call_without_a_word_is_judged(judge: Judge) -> None:
    outcome = judge_call(0, "voice", [], np.zeros(RATE_HZ, np.float32), judge)
    assert not outcome.is_greeting_right and outcome.turns == [] and outcome.greeting_after_s is None


def test_a_line_takes_its_time() -> None:
    assert 1.5 < line_seconds(GREETING.text) < 3.5
