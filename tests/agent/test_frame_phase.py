"""Frames that end just before the worker's tick."""

import pytest

from agent.frame_phase import KEPT_TICKS, SLACK_S, TRAVEL_S, BridgeClock
from telephony.endpoint import TICK_S, TICKS_PER_FRAME


def clock_with(tick: int, at_s: float) -> BridgeClock:
    clock = BridgeClock()
    clock.note(tick, at_s)
    return clock


def wait_s(clock: BridgeClock, worker_tick_s: float) -> float:
    """How long a complete frame waits for that tick of the worker."""
    phase = clock.frame_phase(worker_tick_s)
    first = int((worker_tick_s - clock.origin_s) / TICK_S)
    ends = [clock.origin_s + n * TICK_S for n in range(first - 9, first + 9) if n % TICKS_PER_FRAME == phase]
    return min(worker_tick_s - end for end in ends if end <= worker_tick_s)


@pytest.mark.parametrize("offset_ms", range(-100, 100, 7))
@pytest.mark.parametrize("tick", [0, 5, 10_000])
def test_a_frame_waits_at_most_one_tick_beyond_its_travel(tick: int, offset_ms: int) -> None:
    waited_s = wait_s(clock_with(tick, 5000.0), 5000.0 + offset_ms / 1000)
    assert TRAVEL_S - 1e-6 <= waited_s < TRAVEL_S + TICK_S + 1e-6


@pytest.mark.parametrize("at_s", [5000.0, 5000.0137, 5000.0199])
def test_a_worker_of_ours_takes_a_frame_as_soon_as_it_has_travelled(at_s: float) -> None:
    clock = clock_with(77, at_s)
    grid_s = 5000.0 // 0.08 * 0.08
    for step in range(4):  # workers are spread over the frame by whole ticks
        worker_tick_s = grid_s + 0.8 + step * TICK_S + clock.worker_phase_s
        assert wait_s(clock, worker_tick_s) == pytest.approx(TRAVEL_S + SLACK_S, abs=1e-4)


def test_late_sightings_do_not_move_the_clock_and_old_ones_are_forgotten() -> None:
    clock = clock_with(100, 50.0)
    clock.note(101, 50.0 + TICK_S + 0.007)
    assert clock.origin_s == pytest.approx(48.0)
    for number in range(KEPT_TICKS):  # the clock has drifted by 5 ms
        clock.note(1000 + number, 68.005 + number * TICK_S)
    assert clock.origin_s == pytest.approx(48.005)
