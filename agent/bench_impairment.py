"""A bad network in user space, for benches: packets lost, late and out of order, the same for each seed."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Impairment:
    """What a network does to each media packet, each way, for so long; signalling passes.

    Losses come in bursts of `burst` packets on average (the model of Gilbert: a packet is lost while the
    network is bad, and each packet may turn it good or bad); 1: each packet is lost or not by itself.
    """

    loss: float = 0.0  # share of packets
    burst: float = 1.0  # packets
    jitter_s: float = 0.0  # each is held back by 0 to this, evenly; queues keep the order
    reordered: float = 0.0  # share of packets that others overtake
    reorder_s: float = 0.03  # by so much are these late
    outage_at_s: float = math.inf  # nothing passes from here on
    outage_s: float = 0.0  # for so long
    lasts_s: float = math.inf

    def __post_init__(self) -> None:
        assert 0 <= self.loss <= 1 and self.burst >= 1 and 0 <= self.reordered <= 1, self

    @property
    def name(self) -> str:
        """For a table."""
        bursts = f" in bursts of {self.burst:g}" if self.burst > 1 else ""
        parts = [f"{100 * self.loss:g} % loss{bursts}"] if self.loss else []
        parts += [f"{1e3 * self.jitter_s:g} ms jitter"] if self.jitter_s else []
        parts += [f"{100 * self.reordered:g} % overtaken"] if self.reordered else []
        parts += [f"{self.outage_s:g} s outage"] if self.outage_s else []
        return ", ".join(parts) or "clean"


class Network:
    """One way of one call through such a network."""

    def __init__(self, impairment: Impairment, seed: int) -> None:
        self._impairment = impairment
        self._random = random.Random(seed)
        self._began_s: float | None = None
        self._free_s = 0.0
        self._is_bad = False

    def delivery_s(self, now_s: float) -> float | None:
        """When a packet that is sent now arrives, by the same clock; None if it never does."""
        if self._began_s is None:
            self._began_s = now_s
        impairment, age_s = self._impairment, now_s - self._began_s
        # Drawn in any case, so that the rest of a seed's fate does not hang on the settings.
        luck, wait, haste = (self._random.random() for _ in range(3))
        is_out = 0 <= age_s - impairment.outage_at_s < impairment.outage_s
        is_over = age_s > impairment.lasts_s
        if is_out or (not is_over and self._is_lost(luck)):
            return None
        due_s = now_s + (0.0 if is_over else wait * impairment.jitter_s)
        self._free_s = max(self._free_s, due_s)
        is_overtaken = not is_over and haste < impairment.reordered
        return self._free_s + impairment.reorder_s if is_overtaken else self._free_s

    def _is_lost(self, luck: float) -> bool:
        """Step from good to bad or back; the share of bad packets is `loss`, their runs' mean `burst`."""
        loss, burst = self._impairment.loss, self._impairment.burst
        if burst == 1:
            return luck < loss
        turns_good, turns_bad = 1 / burst, 1.0 if loss == 1 else loss / ((1 - loss) * burst)
        self._is_bad = luck >= turns_good if self._is_bad else luck < turns_bad
        return self._is_bad
