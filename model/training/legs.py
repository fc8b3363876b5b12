"""A leg is some minutes of whatever is due: a run that ends in time and tells what is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


class LegOver(Exception):
    """The leg's time is up between two pieces of a stage; everything done is kept."""


class Leg:
    """A run's time; without minutes it never ends."""

    def __init__(self, minutes: float | None = None, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._end_s = None if minutes is None else now_s() + 60 * minutes

    @property
    def is_over(self) -> bool:
        """Whether the next piece must wait for another leg."""
        return self._end_s is not None and self._now_s() >= self._end_s

    def check(self) -> None:
        """Raise LegOver if the time is up."""
        if self.is_over:
            raise LegOver


@dataclass(frozen=True, slots=True)
class StageState:
    """How far a stage is: of so many units, this many are done."""

    name: str
    done: float
    total: float
    unit: str

    @property
    def is_done(self) -> bool:
        return self.done >= self.total

    def __str__(self) -> str:
        if self.is_done:
            return (
                f"{self.name}: done ({self.total:g} {self.unit})" if self.total else f"{self.name}: nothing"
            )
        return f"{self.name}: {self.done:.3g} of {self.total:g} {self.unit}"


def what_is_left(states: Sequence[StageState]) -> str:
    """One line for the end of a leg."""
    left = [str(state) for state in states if not state.is_done]
    return "left: " + ("; ".join(left) if left else "nothing")
