"""Two-channel recording of a call: caller left, agent right, on the clock of the call's own frames.

The agent's channel is what left for the caller, the caller's what arrived, both cut from the same ticks. On
the wire these lie a codec's path apart (`telephony.endpoint.path_samples`); the agent's channel is written so
much later, so that both stand on the wire's one time line and overlap is as it was there. A thread writes as
the call goes on. Nothing that goes wrong here (folder gone, disk full) touches the call: the recording ends,
`failure` says why. File names hold a time and a random word only.
"""

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from agent.private_files import make_private_folder, private
from agent.recording_files import remove, sidecar_path, write_sidecar
from agent.sealed import SealKey
from agent.sealed_audio import FRAME_BYTES, SUFFIX, SealedSink, wav_header
from telephony.endpoint import SAMPLE_RATE_HZ, TICK_SAMPLES, HeardFrame

QUEUE_FRAMES = 250  # 20 s of a disk that stands still; then frames are dropped, counted, and left silent
JOIN_TIMEOUT_S = 5.0
MAX_GAP_SAMPLES = 60 * SAMPLE_RATE_HZ  # no fault of ours makes a longer hole; bounds what one jump may write
SYNC_SAMPLES = SAMPLE_RATE_HZ  # what a crash may lose

AudioFormat = Literal["flac", "wav"]
Stereo = NDArray[np.int16]  # [T, 2]


class AudioSink(Protocol):
    """An open audio file."""

    def write(self, stereo: Stereo) -> None:
        """Append int16 [T, 2]. Raises OSError or RuntimeError when the disk does not take it."""

    def sync(self) -> None:
        """Make what was written readable to others, should we die now."""

    def close(self) -> None:
        """Finish the file."""


class WavSink:
    """RIFF WAVE, 16 bits, two channels; the header is kept true while the file grows."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "xb", opener=private)
        self._bytes = 0
        self._file.write(self._header())

    def write(self, stereo: Stereo) -> None:
        """Append int16 [T, 2]."""
        raw = np.ascontiguousarray(stereo, "<i2").tobytes()
        self._file.write(raw)
        self._bytes += len(raw)

    def sync(self) -> None:
        """Rewrite the header's two lengths and hand everything to the kernel."""
        self._file.seek(0)
        self._file.write(self._header())
        self._file.seek(0, os.SEEK_END)
        self._file.flush()

    def close(self) -> None:
        """Finish the file."""
        try:
            self.sync()
        finally:
            self._file.close()

    def _header(self) -> bytes:
        return wav_header(self._bytes // FRAME_BYTES)


class FlacSink:
    """FLAC by libsndfile, 16 bits, two channels; frames reach the disk as they fill."""

    def __init__(self, path: Path) -> None:
        with open(path, "xb", opener=private):
            pass
        self._file = soundfile.SoundFile(
            str(path), "w", samplerate=SAMPLE_RATE_HZ, channels=2, format="FLAC", subtype="PCM_16"
        )

    def write(self, stereo: Stereo) -> None:
        """Append int16 [T, 2]."""
        self._file.write(stereo)

    def sync(self) -> None:
        """Hand everything that is encoded to the kernel."""
        self._file.flush()

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


def open_sink(path: Path) -> AudioSink:
    """A new file at `path`, whose suffix is its format; an existing one is never overwritten."""
    return FlacSink(path) if path.suffix == ".flac" else WavSink(path)


class Recorder:
    """One call's recording: `push` from the event loop, written by a thread, over with `close`."""

    def __init__(
        self,
        folder: Path,
        word: str,
        form: AudioFormat,
        sink: Callable[[Path], AudioSink] = open_sink,
        key: SealKey | None = None,
    ) -> None:
        """With a `key` sound and words are sealed, whatever `form` is; `sink` is then not used."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self.path = folder / f"{stamp}-{word}{f'.{form}' if key is None else SUFFIX}"
        self._key = key
        self.failure = ""  # written by the thread, read by the event loop
        self.frames_dropped = 0
        self._open_sink = sink if key is None else lambda path: SealedSink(path, key)
        self._is_unwanted = False  # written by the event loop, read by the thread at the end
        self._has_file = False  # written by the thread; a file that it did not open is another call's
        self._queue: queue.Queue[HeardFrame | Mapping[str, object] | None] = queue.Queue(QUEUE_FRAMES)
        self._lag_samples: int | None = None  # of the agent's channel, set before the first frame is queued
        self._first_tick: int | None = None  # thread only, like all below
        self._agent_tail = np.zeros(0, np.int16)  # of the agent's channel, still to be written
        self._written = 0
        self._unsynced = 0
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    @property
    def sidecar_path(self) -> Path:
        """The JSON file next to the audio."""
        return sidecar_path(self.path)

    def push(self, frame: HeardFrame, agent_lag_samples: int = 0) -> None:
        """Queue one frame of both channels; when the disk is too slow it is dropped and counted.

        The first frame's lag holds for the whole recording: a codec that changes in mid-call moves nothing.
        """
        if self.failure:
            return
        if self._lag_samples is None:
            self._lag_samples = agent_lag_samples
        try:
            self._queue.put_nowait(frame)
        except queue.Full:
            self.frames_dropped += 1

    def note(self, sidecar: Mapping[str, object]) -> None:
        """Let the JSON next to the audio say this, replacing what it said before."""
        if not self.failure and self._queue.qsize() < QUEUE_FRAMES // 2:
            self._queue.put_nowait(sidecar)

    def close(self, sidecar: Mapping[str, object]) -> None:
        """Write what is queued and the last sidecar; blocks for as long as the disk needs, 5 s at most."""
        for last in (sidecar, None):
            try:
                self._queue.put(last, timeout=JOIN_TIMEOUT_S)
            except queue.Full:
                self.failure = self.failure or "the disk did not take the recording's end in time"
                self._cut_short()
                return
        self._thread.join(JOIN_TIMEOUT_S)

    def _cut_short(self) -> None:
        """Let the thread end once the disk is back, at the cost of what waits longest."""
        with contextlib.suppress(queue.Empty):
            self._queue.get_nowait()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)

    def discard(self) -> None:
        """End the recording and delete what there is of it; blocks as `close`."""
        self._is_unwanted = True
        self.close({})
        if self._has_file and not self._thread.is_alive():  # it may have failed before it was unwanted
            self._remove()

    def _run(self) -> None:
        try:
            make_private_folder(self.path.parent)
            sink = self._open_sink(self.path)
            self._has_file = True
        except (OSError, RuntimeError) as error:
            self._fail(error)
            return
        try:
            self._write_all(sink)
        except (OSError, RuntimeError, AssertionError) as error:  # soundfile asserts that all was written
            self._fail(error)
        finally:
            self._close_sink(sink)
            if self._is_unwanted:
                self._remove()

    def _write_all(self, sink: AudioSink) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, HeardFrame):
                self._write_frame(sink, item)
            else:
                self._write_sidecar(item)

    def _write_frame(self, sink: AudioSink, frame: HeardFrame) -> None:
        length = len(frame.pcm)
        if self._first_tick is None:
            self._first_tick = frame.tick - length // TICK_SAMPLES
            self._agent_tail = np.zeros(self._lag_samples or 0, np.int16)
        place = (frame.tick - self._first_tick) * TICK_SAMPLES - length
        missing = min(place - self._written, MAX_GAP_SAMPLES)
        repeated, lost = (
            max(0, -missing),
            max(0, missing),
        )  # frames lost on the way keep their place as silence
        heard = np.stack([frame.pcm, frame.played], axis=1)[repeated:]
        heard = np.pad(heard, ((lost, 0), (0, 0)))
        stereo = np.round(np.clip(heard, -1.0, 32767 / 32768) * 32768).astype(np.int16)
        self._delay_agent(stereo)
        sink.write(stereo)
        self._written += len(stereo)
        self._unsynced += len(stereo)
        if self._unsynced >= SYNC_SAMPLES:
            sink.sync()
            self._unsynced = 0

    def _delay_agent(self, stereo: Stereo) -> None:
        """Move the agent's channel back by the lag; what is pushed out waits, at the end for nothing."""
        delayed = np.concatenate([self._agent_tail, stereo[:, 1]])
        stereo[:, 1] = delayed[: len(stereo)]
        self._agent_tail = delayed[len(stereo) :]

    def _write_sidecar(self, sidecar: Mapping[str, object]) -> None:
        write_sidecar(self.path, dict(sidecar), self._key)

    def _close_sink(self, sink: AudioSink) -> None:
        try:
            sink.close()
        except (OSError, RuntimeError) as error:
            self._fail(error)

    def _remove(self) -> None:
        try:
            remove(self.path.parent, self.path.stem)
        except OSError as error:
            self.failure = f"what may not be kept could not be deleted: {type(error).__name__}: {error}"

    def _fail(self, error: Exception) -> None:
        self.failure = self.failure or f"{type(error).__name__}: {error}"
        while True:  # free what waits: nobody will write it
            try:
                self._queue.get_nowait()
            except queue.Empty:
                return
