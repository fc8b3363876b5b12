"""What a live call shows to whoever watches: levels of both sides, words as they come. No I/O here.

Read-only, for any endpoint. A session notes frames and words; watchers ask by number for what came since they
last looked, so that one call serves any number of them and keeps nothing for each.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from agent.store import SessionRecord
from agent.transcript import TimedWord
from telephony.audio import Pcm
from telephony.endpoint import HeardFrame

KEPT_LEVELS = 160  # frames of 80 ms: what a watcher who comes late sees
KEPT_WORDS = 60
FLOOR_DBFS = -90

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Look:
    """What came since the numbers asked for, the older first; the next numbers to ask for."""

    caller_dbfs: list[int]
    agent_dbfs: list[int]
    words: list[TimedWord]
    num_frames: int
    num_words: int


class LiveView:
    """One call's recent levels and words, numbered from 0 in the order they came."""

    def __init__(self) -> None:
        self.num_frames = 0
        self.num_words = 0
        self._levels: deque[tuple[int, int]] = deque(maxlen=KEPT_LEVELS)  # dBFS: caller, agent
        self._words: deque[TimedWord] = deque(maxlen=KEPT_WORDS)

    def note_frame(self, heard: HeardFrame) -> None:
        """Take one frame of both channels."""
        self._levels.append((_dbfs(heard.pcm), _dbfs(heard.played)))
        self.num_frames += 1

    def note_word(self, word: TimedWord) -> None:
        """Take one word of either side."""
        self._words.append(word)
        self.num_words += 1

    def since(self, num_frames: int = 0, num_words: int = 0) -> Look:
        """What came after so many frames and words, as far as it is kept."""
        levels = _last(self._levels, self.num_frames - num_frames)
        return Look(
            [caller for caller, _ in levels],
            [agent for _, agent in levels],
            _last(self._words, self.num_words - num_words),
            self.num_frames,
            self.num_words,
        )

    def latest(self, share: float) -> Look:
        """The latest of all that is kept: this share (0 to 1) of it when it is full."""
        frames, words = int(share * KEPT_LEVELS), int(share * KEPT_WORDS)
        return self.since(self.num_frames - frames, self.num_words - words)


@dataclass(frozen=True, slots=True)
class LiveCall:
    """One live call as the console asks for it."""

    record: SessionRecord
    view: LiveView
    holder: str  # whose turn it is: nobody, caller, agent, both
    audio_s: float
    last_gap_s: float | None
    num_turns: int = 0
    is_held: bool = False
    num_recoveries: int = 0
    recording_id: str | None = None


def _last(kept: deque[T], count: int) -> list[T]:
    count = max(0, min(count, len(kept)))
    return [kept[index] for index in range(len(kept) - count, len(kept))]


def _dbfs(pcm: Pcm) -> int:
    """As `telephony.audio.dbfs`, to the whole dB that a meter shows."""
    power = float(np.dot(pcm, pcm)) / max(1, len(pcm))
    return max(FLOOR_DBFS, round(10 * math.log10(power))) if power > 0 else FLOOR_DBFS
