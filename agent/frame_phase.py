"""Lining up two clocks: the bridge, which ticks every 20 ms, and a worker, which steps every 80 ms.

All calls of a gateway share the bridge's clock, so a frame can end on any of four ticks. The gateway starts
its own workers so that they step shortly after a bridge tick, and lets each call's frames end on the tick
just before its worker's. A worker that somebody else started steps when it likes: up to 20 ms are lost.
"""

from collections import deque

from telephony.endpoint import TICK_S, TICKS_PER_FRAME

TRAVEL_S = 0.005  # bridge tick -> event loop -> stream -> worker's inbox
SLACK_S = (
    0.003  # by how much our workers step later than that, for ticks and steps that are not to the millisecond
)
KEPT_TICKS = 50


class BridgeClock:
    """Where the bridge's ticks lie, from sightings of single ticks, which may be late and are never early."""

    def __init__(self) -> None:
        self._origins_s: deque[float] = deque(maxlen=KEPT_TICKS)

    def note(self, tick: int, at_s: float) -> None:
        """Tick number `tick` was seen at `at_s` of the monotonic clock."""
        self._origins_s.append(at_s - tick * TICK_S)

    @property
    def origin_s(self) -> float:
        """When tick 0 was, or would have been."""
        return min(self._origins_s)

    @property
    def worker_phase_s(self) -> float:
        """On which phase of time.monotonic() a worker of ours should step, modulo a tick."""
        return (self.origin_s + TRAVEL_S + SLACK_S) % TICK_S

    def frame_phase(self, worker_tick_s: float) -> int:
        """The phase (0..3) whose ticks come closest before a worker's, like that at `worker_tick_s`."""
        tick = (worker_tick_s - TRAVEL_S - self.origin_s) // TICK_S
        return int(tick) % TICKS_PER_FRAME
