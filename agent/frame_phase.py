"""On which of the four bridge ticks a frame ends, so that it reaches the worker just before its tick.

All calls of a gateway share one 20 ms clock, so the answer holds for every call on the same worker; it is
worked out anew for each call, because the two clocks drift.
"""

from telephony.endpoint import TICK_S, TICKS_PER_FRAME

TRAVEL_S = 0.006  # bridge tick -> event loop -> stream -> worker's inbox, with room for a busy machine


def frame_phase(tick: int, tick_at_s: float, worker_tick_s: float, travel_s: float = TRAVEL_S) -> int:
    """The phase (0..3) whose ticks lie closest before the worker's, `travel_s` left to travel.

    `tick` of the bridge was at `tick_at_s`; some tick of the worker is at `worker_tick_s`, on the same clock.
    """
    last = tick + (worker_tick_s - travel_s - tick_at_s) // TICK_S
    return int(last) % TICKS_PER_FRAME
