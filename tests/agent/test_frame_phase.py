"""Frames that end just before the worker's tick."""

import pytest

from agent.frame_phase import TRAVEL_S, frame_phase
from telephony.endpoint import TICK_S, TICKS_PER_FRAME


@pytest.mark.parametrize("offset_ms", range(-100, 100, 7))
@pytest.mark.parametrize("tick", [0, 5, 10_000])
def test_the_frame_waits_at_most_one_tick_beyond_its_travel(tick: int, offset_ms: int) -> None:
    worker_tick_s = 50.0 + offset_ms / 1000
    phase = frame_phase(tick, 50.0, worker_tick_s)
    ends = [50.0 + (n - tick) * TICK_S for n in range(tick - 40, tick + 40) if n % TICKS_PER_FRAME == phase]
    wait_s = min(worker_tick_s - end for end in ends if end <= worker_tick_s)
    assert TRAVEL_S - 1e-9 <= wait_s < TRAVEL_S + TICK_S + 1e-9
