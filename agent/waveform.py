"""A recording's outline: the least and the greatest sample of each stretch, per channel. Blocking; no torch.

Drawn so, an hour and a second look right at any width, and a click of one sample is not lost.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from agent.errors import AudioFileError
from agent.sealed import Keyring
from agent.sealed_audio import SUFFIX, SealedAudio
from telephony.endpoint import SAMPLE_RATE_HZ

STRETCHES_PER_S = 25  # 40 ms: fine enough for a word
MIN_STRETCHES, MAX_STRETCHES = 400, 12_000
BLOCK_STRETCHES = 512
MAX_KEPT = 64  # outlines, of at most 48 KB each


@dataclass(frozen=True, eq=False)
class Outline:
    """int8 [C, N, 2]: for channel and stretch the least and the greatest sample, -127..127 at full scale."""

    seconds: float
    peaks: NDArray[np.int8]

    def as_json(self) -> dict[str, Any]:
        """For the API: one list of 2N numbers, least and greatest in turn, for each side."""
        sides = self.peaks.reshape(len(self.peaks), -1).tolist()
        names = ("caller", "agent")
        return {"seconds": round(self.seconds, 3), **dict(zip(names, sides, strict=False))}


def outline_of(path: Path, keys: Keyring | None = None) -> Outline:
    """Read a file once, block by block. Raises AudioFileError if it is no audio, SealError."""
    if path.suffix == SUFFIX and keys is not None:
        return _sealed_outline(path, keys)
    try:
        with soundfile.SoundFile(str(path)) as file:
            seconds = file.frames / file.samplerate
            num = int(min(MAX_STRETCHES, max(MIN_STRETCHES, seconds * STRETCHES_PER_S)))
            length = max(1, -(-file.frames // num))
            blocks = file.blocks(blocksize=length * BLOCK_STRETCHES, dtype="int16", always_2d=True)
            parts = [_peaks(block, length) for block in blocks]
            empty = np.zeros((file.channels, 0, 2), np.int8)
    except (OSError, RuntimeError) as error:
        raise AudioFileError(f"{path.name} cannot be read: {type(error).__name__}") from None
    return Outline(seconds, np.concatenate([empty, *parts], axis=1))


def _sealed_outline(path: Path, keys: Keyring) -> Outline:
    """One stretch is a whole part of a second: cells are seconds."""
    with SealedAudio(path, keys) as audio:
        seconds = audio.num_samples / SAMPLE_RATE_HZ
        wanted = MAX_STRETCHES / max(seconds, 1.0)
        per_s = max(1, *(n for n in (1, 2, 3, 5, 6, 8, 10, 12, 16, STRETCHES_PER_S) if n <= wanted))
        parts = [_peaks(cell, SAMPLE_RATE_HZ // per_s) for cell in audio.cells() if len(cell)]
    return Outline(seconds, np.concatenate([np.zeros((2, 0, 2), np.int8), *parts], axis=1))


def _peaks(block: NDArray[np.int16], length: int) -> NDArray[np.int8]:
    """int16 [T, C] -> int8 [C, ceil(T / length), 2]."""
    short = -len(block) % length
    padded = np.pad(block, ((0, short), (0, 0)), mode="edge")
    rows = padded.T.reshape(block.shape[1], -1, length)
    pair = np.stack([rows.min(axis=2), rows.max(axis=2)], axis=-1)
    return np.clip(np.rint(pair / 258.0), -127, 127).astype(np.int8)


class OutlineCache:
    """Outlines that were computed, the latest used ones; a file that changed is read again."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Path, tuple[tuple[int, int], Outline]] = OrderedDict()
        self._lock = threading.Lock()  # of the table; two threads may read the same file once each

    def get(self, path: Path, keys: Keyring | None = None) -> Outline:
        """The outline of this file. Raises AudioFileError if it is no audio, or has gone; SealError."""
        try:
            found = path.stat()
        except OSError:
            raise AudioFileError(f"{path.name} has gone") from None
        stamp = (found.st_mtime_ns, found.st_size)
        with self._lock:
            kept = self._kept.get(path)
            if kept is not None and kept[0] == stamp:
                self._kept.move_to_end(path)
                return kept[1]
        outline = outline_of(path, keys)
        with self._lock:
            self._kept[path] = (stamp, outline)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return outline
