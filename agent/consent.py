"""Whether a call may be recorded, as the call goes on: told first, then a while to say no. No I/O here.

    ANNOUNCING -> WAITING -> RECORDING        the announcement was said to its end, and nobody said no
         |           |           |
         +-----------+-----------+--> REFUSED  the digit was pressed: nothing is kept

Without an announcement a call is recorded from its beginning. An announcement that was not said to its end
(the caller spoke over it and the agent stopped, its worker died) was not said: no recording. Until RECORDING
not one sample or word of the caller is kept; what has been kept is deleted at REFUSED.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from agent.clock import Now


class Consent(StrEnum):
    """Where a call stands."""

    ANNOUNCING = "announcing"
    WAITING = "waiting"
    RECORDING = "recording"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ConsentRules:
    """What the operator wants."""

    announcement: str = ""
    opt_out_digit: str = ""
    window_s: float = 3.0


class ConsentGate:
    """One call's consent; `on_change` is told of each new state."""

    def __init__(self, rules: ConsentRules, now: Now, on_change: Callable[[Consent], None]) -> None:
        self._rules, self._now, self._on_change = rules, now, on_change
        self.state = Consent.ANNOUNCING if rules.announcement else Consent.RECORDING
        self._announced_s: float | None = None

    @property
    def may_record(self) -> bool:
        """Whether what is heard now may be kept."""
        return self.state is Consent.RECORDING

    def announced(self) -> None:
        """The announcement has been said to its end."""
        if self.state is Consent.ANNOUNCING:
            self._announced_s = self._now()
            self._go(Consent.WAITING)

    def pressed(self, digit: str) -> None:
        """The caller pressed a digit."""
        if digit == self._rules.opt_out_digit and self.state is not Consent.REFUSED:
            self._go(Consent.REFUSED)

    def tick(self) -> None:
        """Time has passed."""
        if self.state is Consent.WAITING and self._announced_s is not None:
            if self._now() - self._announced_s >= self._rules.window_s:
                self._go(Consent.RECORDING)

    def _go(self, state: Consent) -> None:
        self.state = state
        self._on_change(state)
