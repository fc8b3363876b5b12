"""Work that must not run on the engine's thread: given to a lane, its results taken some ticks later.

A lane does one piece of work after another and keeps their order. ThreadLane does it on a thread of its own;
VirtualLane does it at once and holds each result back for as long as making it took, so that a call without a
clock (`agent.evaluation.offline`) hears the same delays.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
ItemIn = TypeVar("ItemIn", contravariant=True)


class Lane(Protocol[ItemIn, Result]):
    """Serial work elsewhere; every method returns at once."""

    def give(self, item: ItemIn, now_s: float) -> None:
        """Queue a piece of work; a full queue drops its oldest and counts it."""

    def take(self, now_s: float) -> list[Result]:
        """What is done by now, in order. Raises what the work raised, once."""

    def clear(self) -> None:
        """Forget what is queued and what is done; work in progress will not be heard of."""

    def close(self) -> None:
        """No more work."""


class ThreadLane(Generic[Item, Result]):
    """A lane on a thread of its own."""

    def __init__(self, work: Callable[[Item], Iterator[Result]], name: str, max_queued: int) -> None:
        self._work, self._max_queued = work, max_queued
        self._changed = threading.Condition()
        self._items: deque[Item] = deque()
        self._results: deque[Result] = deque()
        self._failure: Exception | None = None
        self._epoch = 0  # counts clears; what was begun before one is dropped
        self._is_closing = False
        self.num_dropped = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def give(self, item: Item, now_s: float) -> None:
        """Queue a piece of work; a full queue drops its oldest and counts it."""
        with self._changed:
            if len(self._items) >= self._max_queued:
                self._items.popleft()
                self.num_dropped += 1
            self._items.append(item)
            self._changed.notify()

    def take(self, now_s: float) -> list[Result]:
        """What is done by now, in order. Raises what the work raised, once."""
        with self._changed:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            results = list(self._results)
            self._results.clear()
        return results

    def clear(self) -> None:
        """Forget what is queued and what is done; work in progress will not be heard of."""
        with self._changed:
            self._items.clear()
            self._results.clear()
            self._failure = None
            self._epoch += 1

    def close(self) -> None:
        """End the thread after the piece of work that it is at."""
        with self._changed:
            self._is_closing = True
            self._epoch += 1
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._is_closing)
                if self._is_closing:
                    return
                item, epoch = self._items.popleft(), self._epoch
            self._do(item, epoch)

    def _do(self, item: Item, epoch: int) -> None:
        try:
            for result in self._work(item):
                with self._changed:
                    if epoch != self._epoch:
                        return
                    self._results.append(result)
        except Exception as error:  # whoever takes is told
            with self._changed:
                if epoch == self._epoch:
                    self._failure = error


class VirtualLane(Generic[Item, Result]):
    """A lane in the caller's thread: `timer` tells how long work took, and its result is held so long."""

    def __init__(self, work: Callable[[Item], Iterator[Result]], timer: Callable[[], float]) -> None:
        self._work, self._timer = work, timer
        self._results: deque[tuple[float, Result]] = deque()  # done at, result
        self._busy_until_s = 0.0

    def give(self, item: Item, now_s: float) -> None:
        """Do the work now; it counts as begun when the work before it was done."""
        done_s = max(self._busy_until_s, now_s)
        began_s = self._timer()
        for result in self._work(item):
            self._results.append((done_s + self._timer() - began_s, result))
        self._busy_until_s = done_s + self._timer() - began_s

    def take(self, now_s: float) -> list[Result]:
        """What is done by now, in order."""
        results = []
        while self._results and self._results[0][0] <= now_s:
            results.append(self._results.popleft()[1])
        return results

    def clear(self) -> None:
        """Forget what is done; a call begins at time 0."""
        self._results.clear()
        self._busy_until_s = 0.0

    def close(self) -> None:
        """There is nothing to end."""
