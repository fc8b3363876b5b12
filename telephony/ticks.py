"""The one clock of all calls, for whoever wants to follow it. asyncio thread only."""

import asyncio
import os
from collections.abc import Callable

import offhook_pjsua2 as pj

Listener = Callable[[], None]


class TickFeed:
    """Tells every subscriber of each tick, within the event loop's turn in which the clock's signal is read.

    When the loop was busy for several ticks it tells once: a subscriber fetches all that is there.
    """

    def __init__(self, clock: pj.TickClock) -> None:
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: dict[Listener, None] = {}  # in the order in which they came

    @property
    def tick(self) -> int:
        """Number of the latest tick (20 ms); frames of phase p end where tick % 4 == p."""
        return int(self._clock.tick())

    @property
    def tick_at_s(self) -> float:
        """time.monotonic() of that tick."""
        return float(self._clock.tickTime())

    def start(self) -> None:
        """Begin to tell, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._clock.fd(), self._on_signal)

    def stop(self) -> None:
        """Tell no more. Harmless twice."""
        if self._loop is not None:
            self._loop.remove_reader(self._clock.fd())
            self._loop = None

    def subscribe(self, listener: Listener) -> None:
        """Call this at each tick; it must not raise, and must be quick."""
        self._listeners[listener] = None

    def unsubscribe(self, listener: Listener) -> None:
        """Call it no more. Harmless twice, also from within a tick."""
        self._listeners.pop(listener, None)

    def _on_signal(self) -> None:
        os.eventfd_read(self._clock.fd())
        for listener in tuple(self._listeners):
            listener()
