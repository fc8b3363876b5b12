"""Caps on calls by whatever name they share: a source, a line, a trunk. No I/O here; one thread.

limiter = CallLimiter()
over = limiter.enter("call 1", [CallCap("source:192.0.2.7", max_calls=10, calls_per_s=1.0)])
if over is None:
    ...                     # the call goes on
    limiter.leave("call 1")
else:
    ...                     # `over` is the first cap that refused; the others have taken nothing
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from telephony.errors import SettingsError

KEPT_RATES = 10_000  # names whose rate is remembered; then the one used longest ago is forgotten
BURST_S = 10.0  # a name that was quiet may begin what its rate allows in so long, at once


@dataclass(frozen=True, slots=True)
class CallLimitSettings:
    """Caps that hold for every source and every line alike; 0 sets none."""

    calls_per_source: int = 0  # live calls of one SIP source address
    new_calls_per_source_s: float = 0.0  # calls a second that one source may begin, in the long run
    calls_per_line: int = 0  # live calls to one called user

    def __post_init__(self) -> None:
        for name in ("calls_per_source", "new_calls_per_source_s", "calls_per_line"):
            if getattr(self, name) < 0:
                raise SettingsError(f"limits {name} is negative; 0 means without a limit")


@dataclass(frozen=True, slots=True)
class CallCap:
    """What calls of one name may do together; 0 is no limit."""

    name: str
    max_calls: int = 0
    calls_per_s: float = 0.0


class CallLimiter:
    """Counts the live calls of each name, and how fast new ones come."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._names: dict[str, list[str]] = {}  # of each live call
        self._live: dict[str, int] = {}
        self._rates: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens left, and when

    def enter(self, call_id: str, caps: Sequence[CallCap]) -> CallCap | None:
        """Let the call begin, or tell which cap forbids it; a refused call has used up nothing."""
        over = next((cap for cap in caps if self._is_over(cap)), None)
        if over is not None:
            return over
        for cap in caps:
            self._take(cap)
            self._live[cap.name] = self._live.get(cap.name, 0) + 1
        self._names[call_id] = [cap.name for cap in caps]
        return None

    def leave(self, call_id: str) -> None:
        """The call is over. Harmless twice, and for one that was refused."""
        for name in self._names.pop(call_id, ()):
            self._live[name] -= 1
            if not self._live[name]:
                del self._live[name]

    def num_live(self, name: str) -> int:
        """Live calls of this name."""
        return self._live.get(name, 0)

    def _is_over(self, cap: CallCap) -> bool:
        if cap.max_calls and self.num_live(cap.name) >= cap.max_calls:
            return True
        return bool(cap.calls_per_s) and self._tokens(cap) < 1

    def _tokens(self, cap: CallCap) -> float:
        burst = max(1.0, cap.calls_per_s * BURST_S)
        tokens, at_s = self._rates.get(cap.name, (burst, self._now()))
        return min(burst, tokens + (self._now() - at_s) * cap.calls_per_s)

    def _take(self, cap: CallCap) -> None:
        if not cap.calls_per_s:
            return
        self._rates[cap.name] = (self._tokens(cap) - 1, self._now())
        self._rates.move_to_end(cap.name)
        if len(self._rates) > KEPT_RATES:
            self._rates.popitem(last=False)
