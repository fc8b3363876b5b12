"""One call's times: turns as the floor tracker measured them, and the bridge's share in every frame. No I/O.

Turns lie on the call's audio clock. The bridge is measured with the monotonic clock that both processes share
(or that the worker link translated): *up* from the packet that holds a frame's last sample to the worker's
collect, *down* from the worker's deliver to the packet that holds its first sample. The 80 ms that a frame
takes to fill are in neither.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from agent import metrics
from agent.floor import FloorEvent, FloorEventKind
from telephony.endpoint import SAMPLE_RATE_HZ, TICK_S, HeardFrame, path_samples

MAX_KEPT = 10_000  # of each figure in one call; later ones are still observed as metrics


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0..1) of them do not exceed; NaN for none."""
    if not values:
        return math.nan
    rank = max(1, math.ceil(share * len(values)))
    return sorted(values)[rank - 1]


@dataclass(slots=True)
class TurnTimes:
    """What the floor tracker found in one call; each figure is also a metric."""

    transport: str = "sip"
    gaps_s: list[float] = field(default_factory=list)
    stops_s: list[float] = field(default_factory=list)
    events: list[FloorEvent] = field(default_factory=list)
    counts: Counter[FloorEventKind] = field(default_factory=Counter)

    def note(self, event: FloorEvent, line_delay_s: float = 0.0) -> None:
        """Count one event and observe its time, as the caller hears it: `line_delay_s` later than we do."""
        if event.kind in (FloorEventKind.RESPONSE, FloorEventKind.BARGE_IN_STOP):
            event = replace(event, value_s=event.value_s + line_delay_s)
        self.counts[event.kind] += 1
        if len(self.events) < MAX_KEPT:
            self.events.append(event)
        if event.kind is FloorEventKind.RESPONSE:
            metrics.RESPONSE_GAP_SECONDS.labels(self.transport).observe(max(0.0, event.value_s))
            self._keep(self.gaps_s, event.value_s)
        elif event.kind is FloorEventKind.BARGE_IN_STOP:
            metrics.BARGE_IN_STOP_SECONDS.observe(event.value_s)
            self._keep(self.stops_s, event.value_s)

    def as_json(self) -> dict[str, object]:
        """For a recording's sidecar."""
        return {
            "response_gaps_s": [round(gap, 3) for gap in self.gaps_s],
            "barge_in_stops_s": [round(stop, 3) for stop in self.stops_s],
            "counts": {kind.value: self.counts[kind] for kind in FloorEventKind},
            "events": [
                {"kind": event.kind.value, "at_s": round(event.at_s, 3), "value_s": round(event.value_s, 3)}
                for event in self.events
            ],
        }

    @staticmethod
    def _keep(values: list[float], value: float) -> None:
        if len(values) < MAX_KEPT:
            values.append(value)


def line_delay_s(codec: str, jitter_buffer_s: float) -> float:
    """By how much a time measured at our bridge is longer at the caller's ear.

    A codec's path lies in each direction, and a jitter buffer at each end: the far one is taken to hold the
    one packet that is the least, and ours is known with the packet being played, which is as long. Measured
    on loopback against the callers' own tapes: docs/log.md.
    """
    return 2 * path_samples(codec) / SAMPLE_RATE_HZ + jitter_buffer_s


def up_delay_s(heard: HeardFrame, jitter_buffer_s: float, collected_s: float) -> float:
    """Packet with the frame's last sample -> the worker's collect."""
    return max(0.0, collected_s - heard.at_s) + jitter_buffer_s


def down_delay_s(heard: HeardFrame, delivered_s: float, sent_s: float, queued_samples: int) -> float:
    """The worker's deliver -> packet with the first sample; `heard` tells when the shared clock ticks.

    `queued_samples` stood in the queue when the frame was sent at `sent_s`.
    """
    to_next_tick_s = (heard.at_s - sent_s) % TICK_S
    return max(0.0, sent_s - delivered_s) + to_next_tick_s + queued_samples / SAMPLE_RATE_HZ


class BridgeTimes:
    """One call's bridge delays, observed as metrics and kept for the record."""

    def __init__(self) -> None:
        self.up_s: list[float] = []
        self.down_s: list[float] = []
        self._up = metrics.BRIDGE_DELAY_SECONDS.labels("up")
        self._down = metrics.BRIDGE_DELAY_SECONDS.labels("down")

    def note(self, up_s: float, down_s: float) -> None:
        """Take one frame's two delays."""
        self._up.observe(up_s)
        self._down.observe(down_s)
        if len(self.up_s) < MAX_KEPT:
            self.up_s.append(up_s)
            self.down_s.append(down_s)

    def as_json(self) -> dict[str, float | None]:
        """Medians and 95th percentiles in seconds."""
        named = {"up": self.up_s, "down": self.down_s}
        shares = {"p50": 0.5, "p95": 0.95}
        return {
            f"{side}_{name}_s": round(percentile(values, share), 4) if values else None
            for side, values in named.items()
            for name, share in shares.items()
        }
