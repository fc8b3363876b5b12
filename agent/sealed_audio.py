"""A sealed recording's sound: one second a cell, each cell FLAC by itself. Blocking.

So a crash loses a second at most, any second is found at once, and no sample is ever on disk in the clear.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from agent.errors import AudioFileError
from agent.private_files import private
from agent.sealed import Keyring, SealedReader, SealedWriter, SealError, SealKey
from telephony.endpoint import SAMPLE_RATE_HZ

SUFFIX = ".sealed"
CELL_SAMPLES = SAMPLE_RATE_HZ
FRAME_BYTES = 4  # two channels of 16 bits
WAV_HEADER_BYTES = 44

Stereo = NDArray[np.int16]  # [T, 2]


class SealedSink:
    """A recording that is being written; an `AudioSink`."""

    def __init__(self, path: Path, key: SealKey) -> None:
        self._file = open(path, "xb", opener=private)
        self._writer = SealedWriter(self._file, key)
        self._waiting: list[Stereo] = []
        self._num_waiting = 0

    def write(self, stereo: Stereo) -> None:
        """Append int16 [T, 2]; whole seconds are sealed."""
        self._waiting.append(np.array(stereo, np.int16))
        self._num_waiting += len(stereo)
        if self._num_waiting < CELL_SAMPLES:
            return
        whole = np.concatenate(self._waiting)
        while len(whole) >= CELL_SAMPLES:
            self._writer.write(_flac(whole[:CELL_SAMPLES]))
            whole = whole[CELL_SAMPLES:]
        self._waiting, self._num_waiting = [whole], len(whole)

    def sync(self) -> None:
        """Hand what is sealed to the kernel."""
        self._file.flush()

    def close(self) -> None:
        """Seal the rest, as the last cell."""
        rest = np.concatenate([np.zeros((0, 2), np.int16), *self._waiting])
        try:
            self._writer.write(_flac(rest), is_last=True)
        finally:
            self._file.close()


def _flac(stereo: Stereo) -> bytes:
    if not len(stereo):
        return b""
    out = io.BytesIO()
    soundfile.write(out, stereo, SAMPLE_RATE_HZ, subtype="PCM_16", format="FLAC")
    return out.getvalue()


class SealedAudio:
    """A sealed recording that is open for reading; a context manager."""

    def __init__(self, path: Path, keys: Keyring) -> None:
        """Raises SealError, or AudioFileError if it is not there."""
        self._name = path.name
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise AudioFileError(f"{path.name} cannot be read: {type(error).__name__}") from None
        try:
            self._reader = SealedReader(self._file, keys)
            last = self._cell(len(self._reader) - 1) if len(self._reader) else np.zeros((0, 2), np.int16)
        except BaseException:
            self._file.close()
            raise
        self.num_samples = max(0, len(self._reader) - 1) * CELL_SAMPLES + len(last)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def is_complete(self) -> bool:
        """Whether the recording ends where its call ended."""
        return self._reader.is_complete

    def cells(self) -> Iterator[Stereo]:
        """The sound, int16 [T, 2], a second at a time. Raises SealError if it was changed."""
        for number in range(len(self._reader)):
            yield self._cell(number)

    @property
    def num_wav_bytes(self) -> int:
        """How long it is as a WAV file."""
        return WAV_HEADER_BYTES + self.num_samples * FRAME_BYTES

    def wav(self, start: int, stop: int) -> Iterator[bytes]:
        """Bytes `start` to `stop` of the WAV file that it would be. Raises SealError if it was changed."""
        if start < WAV_HEADER_BYTES:
            yield wav_header(self.num_samples)[start:stop]
        cell_bytes = CELL_SAMPLES * FRAME_BYTES
        at, end = max(start - WAV_HEADER_BYTES, 0), stop - WAV_HEADER_BYTES
        while at < end:
            number = at // cell_bytes
            raw = np.ascontiguousarray(self._cell(number), "<i2").tobytes()
            first = number * cell_bytes
            part = raw[at - first : end - first]
            if not part:
                return
            yield part
            at += len(part)

    def _cell(self, number: int) -> Stereo:
        plain = self._reader.cell(number)
        if not plain:
            return np.zeros((0, 2), np.int16)
        try:
            sound, _ = soundfile.read(io.BytesIO(plain), dtype="int16", always_2d=True)
        except RuntimeError:
            raise SealError(f"second {number} of {self._name} is no sound") from None
        return np.asarray(sound, np.int16)


def wav_header(num_samples: int) -> bytes:
    """The 44 bytes before so many stereo samples of 16 bits."""
    length = num_samples * FRAME_BYTES
    form = struct.pack(
        "<IHHIIHH", 16, 1, 2, SAMPLE_RATE_HZ, SAMPLE_RATE_HZ * FRAME_BYTES, FRAME_BYTES, 8 * FRAME_BYTES // 2
    )
    return b"RIFF" + struct.pack("<I", 36 + length) + b"WAVEfmt " + form + b"data" + struct.pack("<I", length)
