"""The floor tracker on scenes whose truth is known."""

import numpy as np
import pytest

from agent.energy_gate import Pcm
from agent.evaluation.scores import response_gap
from agent.evaluation.segments import CallerTurn, speech_segments
from agent.floor import FloorEvent, FloorEventKind, FloorTracker, Holder

RATE = 24_000
Spans = list[tuple[float, float]]


def channel(spans: Spans, seconds: float) -> Pcm:
    times = np.arange(round(seconds * RATE)) / RATE
    pcm = np.zeros(len(times), np.float32)
    for start, end in spans:
        inside = (times >= start) & (times < end)
        pcm[inside] = 0.2 * np.sin(2 * np.pi * 220 * times[inside])
    return pcm


def scene(caller: Spans, agent: Spans, seconds: float = 10.0, chunk: int = 1920) -> list[FloorEvent]:
    heard, said = channel(caller, seconds), channel(agent, seconds)
    tracker = FloorTracker()
    events: list[FloorEvent] = []
    for at in range(0, len(heard), chunk):
        events += tracker.push(heard[at : at + chunk], said[at : at + chunk])
    return events + tracker.finish()


def values(events: list[FloorEvent], kind: FloorEventKind) -> list[float]:
    return [event.value_s for event in events if event.kind is kind]


RESPONSE, STOP = FloorEventKind.RESPONSE, FloorEventKind.BARGE_IN_STOP


@pytest.mark.parametrize("gap", [0.08, 0.3, 0.7, 2.5])
def test_the_gap_is_from_the_callers_end_to_the_agents_start(gap: float) -> None:
    events = scene([(1.0, 2.5)], [(2.5 + gap, 4.5 + gap)])
    assert values(events, RESPONSE) == pytest.approx([gap], abs=0.021)
    assert events[0].at_s == pytest.approx(2.5, abs=0.021)


def test_a_pause_inside_the_callers_turn_is_no_end_of_it() -> None:
    events = scene([(1.0, 2.0), (2.6, 3.4)], [(3.7, 5.5)])
    assert values(events, RESPONSE) == pytest.approx([0.3], abs=0.021)


def test_a_greeting_and_an_answer_that_pauses_give_one_gap_per_turn() -> None:
    events = scene([(3.0, 4.0), (8.0, 8.5)], [(0.1, 2.0), (4.4, 5.6), (6.0, 7.5), (8.9, 10.0)], 11.0)
    assert values(events, RESPONSE) == pytest.approx([0.4, 0.4], abs=0.021)


def test_a_short_sound_is_an_answer_only_if_nothing_else_is_said() -> None:
    events = scene([(1.0, 2.0)], [(2.2, 2.6), (3.2, 4.5)])
    assert values(events, RESPONSE) == pytest.approx([1.2], abs=0.021)
    assert values(scene([(1.0, 2.0)], [(2.2, 2.6)], 5.0), RESPONSE) == pytest.approx([0.2], abs=0.021)
    asked_again = scene([(1.0, 2.0), (5.0, 6.0)], [(2.2, 2.6), (6.3, 8.0)])
    assert values(asked_again, RESPONSE) == pytest.approx([0.2, 0.3], abs=0.021)


def test_a_talk_may_pause_for_less_than_half_a_second() -> None:
    events = scene([(1.0, 2.0)], [(2.2, 2.6), (3.0, 4.5)])
    assert values(events, RESPONSE) == pytest.approx([0.2], abs=0.021)


def test_a_backchannel_in_the_callers_pause_answers_nothing() -> None:
    events = scene([(1.0, 2.0), (2.8, 4.0)], [(2.2, 2.5), (4.3, 6.0)])
    assert values(events, RESPONSE) == pytest.approx([0.3], abs=0.021)


def test_starting_before_the_callers_end_is_signed_or_early() -> None:
    assert values(scene([(1.0, 3.0)], [(2.9, 5.0)]), RESPONSE) == pytest.approx([-0.1], abs=0.021)
    events = scene([(1.0, 3.0)], [(2.2, 5.0)])
    assert values(events, RESPONSE) == []
    assert values(events, FloorEventKind.EARLY_START) == pytest.approx([0.8], abs=0.021)


def test_nothing_within_five_seconds_is_no_answer() -> None:
    assert values(scene([(1.0, 2.0)], [(8.0, 9.5)], 11.0), RESPONSE) == []


def test_a_barge_in_stops_where_the_agent_falls_silent_and_is_then_answered() -> None:
    events = scene([(3.0, 4.5)], [(1.0, 3.42), (4.8, 6.5)])
    assert values(events, STOP) == pytest.approx([0.42], abs=0.021)
    assert values(events, RESPONSE) == pytest.approx([0.3], abs=0.021)
    assert values(events, FloorEventKind.OVERLAP) == pytest.approx([0.42], abs=0.021)


def test_a_pause_of_the_agents_own_is_no_stop() -> None:
    events = scene([(3.0, 5.5)], [(1.0, 3.3), (3.7, 4.6)])
    assert values(events, STOP) == values(events, FloorEventKind.BARGE_IN_FAILED) == []
    spoke_on = scene([(3.0, 5.5)], [(1.0, 3.3), (3.7, 7.0)])
    assert values(spoke_on, STOP) == []
    assert values(spoke_on, FloorEventKind.BARGE_IN_FAILED) == [0.0]


def test_speaking_on_through_a_long_interruption_is_a_failure_and_through_a_short_one_is_not() -> None:
    failed = scene([(3.0, 5.0)], [(1.0, 8.0)])
    assert values(failed, FloorEventKind.BARGE_IN_FAILED) == [0.0]
    brief = scene([(3.0, 3.4)], [(1.0, 8.0)])
    assert values(brief, FloorEventKind.BARGE_IN_FAILED) == []
    assert values(brief, FloorEventKind.BACKCHANNEL) == pytest.approx([0.4], abs=0.021)
    assert values(brief, RESPONSE) == values(failed, RESPONSE) == []


def test_an_agent_that_goes_on_after_a_backchannel_answered_nothing() -> None:
    events = scene([(3.0, 3.4)], [(1.0, 6.0), (6.4, 8.0)])
    assert values(events, RESPONSE) == []


@pytest.mark.parametrize("chunk", [240, 480, 7000])
def test_chunks_do_not_show(chunk: int) -> None:
    args = ([(3.0, 4.5), (7.0, 7.3)], [(1.0, 3.42), (4.8, 9.5)], 10.0)
    expected = sorted(scene(*args), key=lambda event: (event.at_s, event.kind))
    found = sorted(scene(*args, chunk=chunk), key=lambda event: (event.at_s, event.kind))
    assert [(event.kind, event.at_s) for event in found] == [(event.kind, event.at_s) for event in expected]


def test_the_holder_follows_both_sides() -> None:
    caller, agent = channel([(1.0, 3.0)], 4.0), channel([(2.0, 3.5)], 4.0)
    tracker = FloorTracker()
    seen: list[Holder] = []
    for at in range(0, len(caller), 480):
        tracker.push(caller[at : at + 480], agent[at : at + 480])
        if not seen or seen[-1] is not tracker.holder:
            seen.append(tracker.holder)
    assert seen == [Holder.NOBODY, Holder.CALLER, Holder.BOTH, Holder.AGENT, Holder.NOBODY]


def test_the_agents_echo_does_not_hold_the_callers_turn_open() -> None:
    """An echo at -50 dBFS, above a quiet caller's tail, of an agent that answers at once."""
    agent, caller = channel([(0.2, 2.0), (5.1, 8.0)], 9.0), 0.4 * channel([(3.5, 5.0)], 9.0)
    caller = np.asarray(caller + 0.0225 * agent, np.float32)
    tracker = FloorTracker()
    events: list[FloorEvent] = []
    for at in range(0, len(caller), 1920):
        events += tracker.push(caller[at : at + 1920], agent[at : at + 1920])
    (gap_s,) = values(events + tracker.finish(), RESPONSE)
    assert -0.2 <= gap_s <= 0.12  # what its first moments add to the caller's turn is no early start


def test_live_gaps_agree_with_the_offline_scorer() -> None:
    rng = np.random.default_rng(5)
    caller: Spans = []
    agent: Spans = [(0.2, 2.0)]
    at = 2.5
    for _ in range(8):
        end = at + rng.uniform(0.6, 2.5)
        start = end + rng.uniform(-0.15, 1.5)
        caller.append((at, end))
        agent.append((start, start + rng.uniform(1.1, 3.0)))
        at = agent[-1][1] + rng.uniform(0.2, 1.0)
    seconds = at + 1.0
    live = values(scene(caller, agent, seconds), RESPONSE)
    said = speech_segments(channel(agent, seconds))
    turns = [CallerTurn(*span) for span in caller]
    ends = [turn.start_s for turn in turns[1:]] + [seconds]
    offline = [response_gap(turn, said, end) for turn, end in zip(turns, ends, strict=True)]
    assert live == pytest.approx(offline, abs=0.021)
