"""A bad network in user space, for benches: packets lost and packets held back, the same for each seed."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Impairment:
    """What a network does to each media packet, each way, for so long; signalling passes."""

    loss: float = 0.0  # share of packets, independently
    jitter_s: float = 0.0  # each is held back by 0 to this, evenly; queues keep the order
    lasts_s: float = math.inf

    @property
    def name(self) -> str:
        """For a table."""
        parts = [f"{100 * self.loss:g} % loss"] if self.loss else []
        parts += [f"{1e3 * self.jitter_s:g} ms jitter"] if self.jitter_s else []
        return ", ".join(parts) or "clean"


class Network:
    """One way of one call through such a network."""

    def __init__(self, impairment: Impairment, seed: int) -> None:
        self._impairment = impairment
        self._random = random.Random(seed)
        self._began_s: float | None = None
        self._free_s = 0.0

    def delivery_s(self, now_s: float) -> float | None:
        """When a packet that is sent now arrives, by the same clock; None if it never does."""
        if self._began_s is None:
            self._began_s = now_s
        impairment = self._impairment
        is_over = now_s - self._began_s > impairment.lasts_s
        # Drawn in any case, so that the rest of a seed's fate does not hang on the settings.
        luck, wait = self._random.random(), self._random.random()
        if not is_over and luck < impairment.loss:
            return None
        due_s = now_s + (0.0 if is_over else wait * impairment.jitter_s)
        self._free_s = max(self._free_s, due_s)
        return self._free_s
