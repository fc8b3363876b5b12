"""Caller frames between the I/O thread, which puts them in, and the engine thread, which collects a batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.wire import FRAME_SAMPLES, CallerFrame
from telephony.audio import to_float

DEPTH = 2  # the frame that is due, and the one that came late before it


@dataclass(frozen=True, slots=True)
class Batch:
    """The input of one step."""

    pcm: NDArray[np.float32]  # [S, 1920]; zeros in idle rows
    active: NDArray[np.bool_]  # [S]
    frames: dict[int, CallerFrame]  # by slot, the active rows' frames

    @classmethod
    def of(cls, frames: dict[int, CallerFrame], num_slots: int) -> Batch:
        """Lay the frames into their rows."""
        pcm = np.zeros((num_slots, FRAME_SAMPLES), np.float32)
        active = np.zeros(num_slots, np.bool_)
        for slot, frame in frames.items():
            pcm[slot] = to_float(frame.pcm)
            active[slot] = True
        return cls(pcm, active, frames)

    def within(self, live: Mapping[int, int]) -> Batch:
        """The same input without rows that are no longer live."""
        left = {slot: frame for slot, frame in self.frames.items() if slot in live}
        return self if len(left) == len(self.frames) else Batch.of(left, len(self.active))

    def only(self, slot: int) -> Batch:
        """The same input with every other row idle."""
        return Batch.of({slot: self.frames[slot]}, len(self.active))


class Inbox:
    """At most two frames per slot; a third pushes the oldest out, which is counted."""

    def __init__(self, num_slots: int) -> None:
        self._num_slots = num_slots
        self._frames: list[deque[CallerFrame]] = [deque() for _ in range(num_slots)]
        self._lock = threading.Lock()
        self.num_dropped = 0

    def put(self, frame: CallerFrame) -> None:
        """Add a caller's newest frame. I/O thread."""
        with self._lock:
            waiting = self._frames[frame.slot]
            waiting.append(frame)
            if len(waiting) > DEPTH:
                waiting.popleft()
                self.num_dropped += 1

    def lacks_any(self, claims: Mapping[int, int]) -> bool:
        """Whether one of these (slot -> generation) has no frame waiting. Engine thread."""
        with self._lock:
            return any(
                all(frame.generation != generation for frame in self._frames[slot])
                for slot, generation in claims.items()
            )

    def holds_two(self, live: Mapping[int, int]) -> bool:
        """Whether two frames of one of these wait, which are two steps. Engine thread."""
        with self._lock:
            return any(
                sum(frame.generation == generation for frame in self._frames[slot]) == DEPTH
                for slot, generation in live.items()
            )

    def collect(self, live: Mapping[int, int], *, may_catch_up: bool) -> list[Batch]:
        """Take all frames of the live slots (slot -> generation): at most two steps' input, oldest first.

        Where two frames wait and `may_catch_up` is false, the older is dropped and counted. Engine thread.
        """
        first: dict[int, CallerFrame] = {}
        second: dict[int, CallerFrame] = {}
        with self._lock:
            for slot, generation in live.items():
                frames = [frame for frame in self._frames[slot] if frame.generation == generation]
                self._frames[slot].clear()
                if len(frames) == DEPTH and not may_catch_up:
                    frames = frames[1:]
                    self.num_dropped += 1
                if frames:
                    first[slot] = frames[0]
                if len(frames) == DEPTH:
                    second[slot] = frames[1]
        return [Batch.of(frames, self._num_slots) for frames in (first, second) if frames]
