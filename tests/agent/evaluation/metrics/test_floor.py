"""Who takes, keeps and leaves the floor, on scenes with known truth; the fine ones from sound."""

import pytest

from agent.energy_gate import Segment
from agent.evaluation.metrics.floor import (
    agent_interruptions,
    backchannels_given,
    breaks_per_s,
    dead_air,
    pause_trials,
    post_interrupt_response,
    self_stop,
    stutters,
)
from agent.evaluation.scores import score_barge_in
from agent.evaluation.segments import CallerTurn, speech_segments
from tests.agent.evaluation.scenes import channel, spoken

TURN = CallerTurn(2.0, 8.0, (Segment(3.0, 3.7), Segment(5.0, 5.3)))


def test_a_pause_is_taken_only_by_a_long_talk_that_starts_in_it() -> None:
    first, second = pause_trials(TURN, spoken((3.3, 4.9)))
    assert first.is_taken and first.is_in_rate and first.length_s == pytest.approx(0.7)
    assert not second.is_taken and not second.is_in_rate  # 0.3 s is no pause of the published sets
    assert not pause_trials(TURN, spoken((3.3, 3.9)))[0].is_taken  # a backchannel
    assert pause_trials(TURN, spoken((3.8, 5.5)))[0].is_taken  # begun in it, the line brought it late
    assert not pause_trials(TURN, spoken((4.0, 5.5)))[0].is_taken  # after it


def test_complete_points_stand_apart_and_a_talking_agent_cannot_take() -> None:
    trials = pause_trials(TURN, spoken((6.1, 9.0)), complete=[Segment(6.0, 6.8)])
    assert [trial.is_complete for trial in trials] == [False, False, True]
    assert trials[2].is_taken and not trials[2].is_in_rate
    busy = pause_trials(TURN, spoken((1.0, 3.2), (3.5, 6.0)))[0]
    assert not busy.is_eligible and not busy.is_taken and not busy.is_in_rate


def test_the_answer_after_an_interruption_needs_a_stop() -> None:
    cut = Segment(3.0, 4.2)
    agent = spoken((1.0, 3.4), (4.6, 7.0))
    assert post_interrupt_response(cut, agent, score_barge_in(3.0, agent)) == pytest.approx(0.4)
    stubborn = spoken((1.0, 6.0), (6.5, 8.0))
    assert post_interrupt_response(cut, stubborn, score_barge_in(3.0, stubborn)) is None
    late = spoken((1.0, 3.4), (9.3, 11.0))
    assert post_interrupt_response(cut, late, score_barge_in(3.0, late)) is None
    hasty = spoken((1.0, 3.2), (4.0, 6.0))
    assert post_interrupt_response(cut, hasty, score_barge_in(3.0, hasty)) == pytest.approx(-0.2)


def test_stutters_are_found_in_sound_beside_a_callers_event() -> None:
    agent = speech_segments(channel([(1.0, 3.2), (3.35, 5.0), (5.12, 6.0), (6.4, 9.0)], 10.0), split_s=0.06)
    events = [Segment(3.0, 3.4), Segment(7.0, 7.3), Segment(9.5, 9.8)]
    hit, steady, silent = stutters(events, agent)
    assert hit.silences_s == pytest.approx((0.15,), abs=0.021)
    assert steady.is_eligible and steady.silences_s == ()
    assert not silent.is_eligible
    assert breaks_per_s(events, agent) == pytest.approx(1 / (8.0 - 2.0), abs=0.01)  # the one at 5.0 s
    assert len(speech_segments(channel([(1.0, 3.2), (3.35, 5.0)], 6.0))) == 1  # the usual gate hides it


def test_an_agent_that_its_echo_stops() -> None:
    line = Segment(1.0, 5.0)
    assert self_stop(line, spoken((1.0, 2.5))) == 2.5
    assert self_stop(line, spoken((1.0, 2.5), (2.9, 5.0))) == 2.5
    assert self_stop(line, spoken((1.0, 2.5), (2.75, 4.8))) is None
    assert self_stop(line, spoken((1.0, 2.5)), caller=spoken((2.0, 3.0))) is None  # a caller's doing
    assert self_stop(line, []) is None


def test_backchannels_given_per_minute_of_the_callers_speech() -> None:
    given = backchannels_given([TURN], spoken((3.2, 3.6), (4.9, 5.2), (6.0, 7.5)))
    assert given.num == 2 and given.caller_speech_s == pytest.approx(5.0)
    assert given.per_minute == pytest.approx(24.0)
    assert given.offsets_s == pytest.approx((0.2, -0.1))
    assert backchannels_given([], []).per_minute == 0


def test_interruptions_of_the_caller_and_dead_air() -> None:
    agent = spoken((3.2, 4.5), (4.6, 4.9), (6.0, 7.5))
    assert agent_interruptions([TURN], spoken((3.2, 4.4), (6.0, 7.5))) == 1
    assert agent_interruptions([TURN], spoken((6.0, 6.8))) == 0
    assert dead_air(spoken((2.0, 8.0)), [*agent, Segment(10.5, 12.0)]) == spoken((8.0, 10.5))
