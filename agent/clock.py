"""Time for durations and deadlines: the machine's monotonic clock, or one that a test moves by hand.

All timestamps in agent are seconds of CLOCK_MONOTONIC, which every process of one machine shares. Wall-clock
time belongs in records only. Code that measures takes `now: Now`; code that also waits takes a `Clock`.
"""

import threading
import time
from collections.abc import Callable
from typing import Protocol

Now = Callable[[], float]


def now() -> float:
    """Seconds on this machine's monotonic clock."""
    return time.monotonic()


class Clock(Protocol):
    """What a thread with deadlines needs."""

    def now(self) -> float:
        """Seconds on the monotonic clock."""

    def sleep_until(self, deadline_s: float) -> None:
        """Block this thread until the clock shows `deadline_s`; return at once if it is past."""


class SystemClock:
    """The real clock; sleeping blocks the calling thread, so never use it on an event loop."""

    def now(self) -> float:
        """Seconds on this machine's monotonic clock."""
        return time.monotonic()

    def sleep_until(self, deadline_s: float) -> None:
        """Block until `deadline_s`; the kernel's wake-up is typically 0.1 ms late."""
        while (left_s := deadline_s - time.monotonic()) > 0:
            time.sleep(left_s)


class ManualClock:
    """A clock for tests: it moves only by `advance`, and sleeping moves it to the deadline at once."""

    def __init__(self, start_s: float = 1000.0) -> None:
        self._now_s = start_s
        self._lock = threading.Lock()  # a test may advance while the engine thread sleeps

    def now(self) -> float:
        """The time it was moved to, in seconds."""
        return self._now_s

    def __call__(self) -> float:
        """The same, so that an instance also serves as a `Now`."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move forward; time never goes back."""
        assert seconds >= 0, seconds
        with self._lock:
            self._now_s += seconds

    def sleep_until(self, deadline_s: float) -> None:
        """Jump to `deadline_s` unless it is past."""
        with self._lock:
            self._now_s = max(self._now_s, deadline_s)
