"""Scores on scenes whose truth is known, among them those that published scripts get wrong."""

import math

import pytest

from agent.energy_gate import Segment
from agent.evaluation.scores import (
    backchannels,
    early_starts,
    false_stop,
    response_gap,
    score_barge_in,
    score_turn,
    spread,
)
from agent.evaluation.segments import CallerTurn, speech_segments
from tests.agent.evaluation.scenes import channel, spoken

TURN = CallerTurn(2.0, 4.0)


@pytest.mark.parametrize("gap_s", [-0.15, 0.0, 0.3, 2.4])
def test_gap_is_signed_and_from_sound(gap_s: float) -> None:
    agent = speech_segments(channel([(0.2, 1.2), (4.0 + gap_s, 6.5 + gap_s)], 12.0))
    assert response_gap(TURN, agent, 12.0) == pytest.approx(gap_s, abs=0.021)
    score = score_turn(TURN, agent, 12.0)
    assert score.is_dead_air == (gap_s > 2) and not score.is_miss and not score.early_starts


def test_the_greeting_is_no_answer() -> None:
    assert response_gap(TURN, spoken((0.1, 1.8)), 12.0) is None


def test_a_short_sound_before_the_answer_is_not_the_answer() -> None:
    assert response_gap(TURN, spoken((4.2, 4.5), (5.2, 7.0)), 12.0) == pytest.approx(1.2)


def test_an_opening_word_belongs_to_its_sentence() -> None:
    assert response_gap(TURN, spoken((4.2, 4.6), (4.9, 6.0)), 12.0) == pytest.approx(0.2)


def test_a_short_answer_that_the_next_turn_or_the_file_ends_counts() -> None:
    assert response_gap(TURN, spoken((4.3, 4.9)), 12.0) == pytest.approx(0.3)
    assert response_gap(TURN, spoken((4.3, 4.9), (8.0, 9.9)), 6.0) == pytest.approx(0.3)


def test_a_miss_is_silence_for_five_seconds() -> None:
    assert score_turn(TURN, spoken((9.2, 11.0)), 20.0).is_miss
    assert score_turn(TURN, [], 9.0).is_miss
    unknown = score_turn(TURN, [], 6.0)  # the call ended before it could be known
    assert unknown.gap_s is None and not unknown.is_miss


def test_taking_over_in_a_pause_is_early_and_no_fast_answer() -> None:
    turn = CallerTurn(2.0, 5.0, (Segment(3.0, 3.9),))
    score = score_turn(turn, spoken((3.4, 5.6), (6.0, 7.5)), 12.0)
    assert score.early_starts == (3.4,) and score.gap_s is None


def test_a_backchannel_in_a_pause_is_not_early() -> None:
    turn = CallerTurn(2.0, 5.0, (Segment(3.0, 3.9),))
    agent = spoken((3.3, 3.8), (5.2, 7.0))
    assert early_starts(turn, agent) == []
    assert backchannels(turn, agent) == spoken((3.3, 3.8))
    assert score_turn(turn, agent, 12.0).gap_s == pytest.approx(0.2)


def test_starting_in_the_last_200_ms_is_an_answer() -> None:
    assert early_starts(TURN, spoken((3.85, 6.0))) == []
    assert early_starts(TURN, spoken((3.75, 6.0))) == [3.75]


def test_what_already_went_on_is_no_early_start() -> None:
    assert early_starts(TURN, spoken((1.0, 1.9), (2.2, 3.9))) == []


def test_stop_is_measured_from_sound() -> None:
    agent = speech_segments(channel([(1.0, 3.42), (5.0, 7.0)], 9.0))
    trial = score_barge_in(3.0, agent)
    assert trial.is_success and trial.stop_s == pytest.approx(0.42, abs=0.021)


def test_keeping_on_talking_is_a_failure_and_never_an_answer() -> None:
    agent = spoken((1.0, 8.0))
    trial = score_barge_in(2.0, agent)
    assert trial.is_eligible and not trial.is_success
    score = score_turn(TURN, agent, 12.0, trial)
    assert score.gap_s is None and not score.is_miss
    assert not score_barge_in(2.0, spoken((1.0, 3.0), (3.3, 8.0))).is_success


def test_a_stop_in_the_agents_own_pause_is_void() -> None:
    assert (
        score_barge_in(2.0, spoken((1.0, 2.3), (2.7, 3.2))).why_not == "it stopped after a pause of its own"
    )


def test_only_a_speaking_agent_can_be_interrupted() -> None:
    assert not score_barge_in(2.0, spoken((0.0, 1.9))).is_eligible
    assert not score_barge_in(2.0, spoken((1.0, 2.8)), due_end_s=2.8).is_eligible
    assert score_barge_in(2.0, spoken((1.0, 2.5)), due_end_s=4.5).is_success


def test_the_answer_after_a_stop_has_a_gap() -> None:
    agent = spoken((1.0, 2.4), (4.3, 6.0))
    score = score_turn(TURN, agent, 12.0, score_barge_in(2.0, agent))
    assert score.gap_s == pytest.approx(0.3)


def test_false_stop() -> None:
    cough = Segment(3.0, 3.3)
    assert false_stop(cough, spoken((1.0, 6.0))) is None
    assert false_stop(cough, spoken((1.0, 3.5), (3.7, 6.0))) is None
    assert false_stop(cough, spoken((1.0, 3.5), (4.3, 6.0))) == pytest.approx(0.8)
    assert false_stop(cough, spoken((1.0, 3.5))) == math.inf


def test_spread() -> None:
    one = spread([0.1 * i for i in range(1, 101)])
    assert [one.num, one.p50, one.p95] == pytest.approx([100, 5.05, 9.505])
    assert one.low < one.p50 < one.high
    assert spread([]).num == 0 and math.isnan(spread([]).p50)


def test_a_hum_that_the_answer_follows_at_once_makes_it_not_early() -> None:
    """ "Mm-hm" in the caller's last pause, the answer less than half a second after it."""
    hum_and_answer = spoken((3.5, 3.85), (4.2, 6.5))
    assert early_starts(TURN, hum_and_answer) == []
    assert backchannels(TURN, hum_and_answer) == spoken((3.5, 3.85))
    assert response_gap(TURN, hum_and_answer, 12.0) == pytest.approx(0.2, abs=0.021)
    score = score_turn(TURN, hum_and_answer, 12.0)
    assert score.gap_s is not None and score.early_starts == ()
    taken = spoken((2.5, 3.2), (3.5, 3.85), (4.2, 6.5))  # longer than 1 s before the caller had done
    assert early_starts(TURN, taken) == pytest.approx([2.5], abs=0.021)
