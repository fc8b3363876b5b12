"""tau-Voice's panel on calls whose events are known."""

import math

import pytest

from agent.energy_gate import Segment
from agent.evaluation.metrics.tau import Sound, UserSound, tau_events, tau_panel
from tests.agent.evaluation.scenes import spoken


def sounds(*spans: tuple[float, float, Sound]) -> list[UserSound]:
    return [UserSound(Segment(start_s, end_s), kind) for start_s, end_s, kind in spans]


TURN, TIC, BC, ND = Sound.TURN, Sound.VOCAL_TIC, Sound.BACKCHANNEL, Sound.NON_DIRECTED


def test_answers_in_steps_of_a_tick_and_a_turn_left_unanswered() -> None:
    user = sounds((1.0, 2.0, TURN), (5.0, 6.0, TURN), (8.0, 9.0, TURN), (12.0, 13.0, TURN))
    events = tau_events(user, spoken((2.45, 4.0), (9.0, 10.0)), 14.0)
    assert events.response_s == pytest.approx([0.4, 0.0])
    assert events.num_unanswered == 1  # the second; the call's end leaves the fourth open
    panel = tau_panel([events])
    assert panel.r_r.value == pytest.approx(2 / 3) and panel.l_r.value == pytest.approx(0.2)
    assert not panel.r_r.is_shown and math.isnan(panel.r_y.value)


def test_yielding_within_two_seconds() -> None:
    for stop_s, latency_s in ((3.4, 0.4), (5.0, 2.0), (5.4, None)):
        events = tau_events(sounds((3.0, 4.0, TURN)), spoken((1.0, stop_s)), 9.0)
        assert events.yield_s == ([] if latency_s is None else pytest.approx([latency_s]))
        assert events.num_not_yielded == (latency_s is None)
    cut_off = tau_events(sounds((3.0, 4.0, TURN)), spoken((1.0, 4.4)), 4.4)
    assert cut_off.yield_s == [] and cut_off.num_not_yielded == 0


def test_an_unresolved_interruption_awaits_no_answer() -> None:
    assert tau_panel([tau_events(sounds((3.0, 4.0, TURN)), spoken((1.0, 5.8)), 9.0)]).r_r.num_events == 0
    yielded = tau_events(sounds((3.0, 4.0, TURN)), spoken((1.0, 3.6), (4.6, 6.0)), 9.0)
    assert yielded.response_s == pytest.approx([0.6])


@pytest.mark.parametrize(
    ("kind", "agent", "is_right"),
    [
        (BC, spoken((1.0, 6.0)), True),
        (BC, spoken((1.0, 3.8)), False),
        (BC, spoken((1.0, 4.2)), True),  # stopped, but later than 1 s
        (TIC, spoken((1.0, 3.8)), False),
        (TIC, spoken((0.0, 1.0), (4.6, 6.0)), False),  # answered a cough
        (TIC, spoken((0.0, 1.0), (5.4, 6.0)), False),  # 2 s after its end
        (ND, spoken((0.0, 1.0), (5.7, 6.0)), True),
        (ND, spoken((0.0, 1.0)), True),
    ],
)
def test_selectivity(kind: Sound, agent: list[Segment], is_right: bool) -> None:
    events = tau_events(sounds((3.0, 3.4, kind)), agent, 9.0)
    assert events.selectivity[kind] == [is_right]
    assert events.num_unanswered == 0 and not events.yield_s


def test_a_backchannel_in_silence_is_no_event_and_kinds_have_an_order() -> None:
    assert tau_events(sounds((3.0, 3.4, BC)), [], 9.0).selectivity[BC] == []
    mixed = tau_events(sounds((3.0, 4.0, TURN), (3.5, 3.9, TIC)), spoken((1.0, 6.0)), 9.0)
    assert mixed.selectivity[TIC] == [True] and mixed.num_not_yielded == 0


def test_a_cough_within_a_turn_leaves_it_a_turn_to_answer() -> None:
    events = tau_events(sounds((3.0, 4.0, TURN), (3.5, 3.9, TIC)), spoken((4.6, 6.0)), 9.0)
    assert events.response_s == pytest.approx([0.6]) and events.selectivity[TIC] == [False]


def test_their_program_loses_a_turn_that_is_answered_at_once() -> None:
    call = sounds((1.0, 2.0, TURN)), spoken((2.05, 4.0)), 9.0
    assert tau_events(*call).response_s == [0.0]
    assert tau_events(*call, by_script=True).response_s == []


def test_their_program_counts_exactly_two_seconds_as_too_late() -> None:
    call = sounds((3.0, 4.0, TURN)), spoken((1.0, 5.0)), 9.0
    assert tau_events(*call).yield_s == pytest.approx([2.0])
    assert tau_events(*call, by_script=True).num_not_yielded == 1


def test_their_program_does_not_count_a_cough_rightly_talked_through() -> None:
    call = sounds((3.0, 3.4, TIC), (8.0, 8.4, BC)), spoken((1.0, 9.6)), 12.0
    assert tau_events(*call).selectivity[TIC] == [True]
    scripted = tau_events(*call, by_script=True)
    assert scripted.selectivity[TIC] == [] and scripted.selectivity[BC] == [True]


def test_their_program_takes_starting_together_for_interrupting() -> None:
    call = sounds((3.0, 4.0, TURN)), spoken((3.1, 5.0)), 9.0
    assert tau_events(*call).num_agent_interruptions == 0
    assert tau_events(*call, by_script=True).num_agent_interruptions == 1


def test_interruptions_of_the_user_per_turn() -> None:
    events = tau_events(
        sounds((1.0, 4.0, TURN), (8.0, 9.0, TURN)), spoken((2.0, 2.6), (3.0, 3.6), (4.4, 6.0)), 12.0
    )
    assert events.num_agent_interruptions == 2
    panel = tau_panel([events, events])
    assert panel.i_a.value == 2.0 and panel.i_a.num_events == 2


def test_the_panel_shows_what_ten_events_carry() -> None:
    call = tau_events(sounds((3.0, 3.4, BC), (5.0, 5.4, TIC), (7.0, 7.4, ND)), spoken((1.0, 7.4)), 12.0)
    panel = tau_panel([call] * 10)
    assert (panel.s_bc.value, panel.s_vt.value, panel.s_nd.value) == (1, 1, 0)
    assert panel.selectivity.value == pytest.approx(2 / 3) and panel.selectivity.is_shown
    assert not tau_panel([call] * 9).selectivity.is_shown
