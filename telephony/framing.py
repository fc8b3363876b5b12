"""Chunks of any length in, equal frames out. No I/O here."""

import numpy as np

from telephony.audio import Pcm

FRAME_SAMPLES = 1_920  # 80 ms at the model's 24 kHz


class Framer:
    """Cut a stream into equal frames; `fill_samples` counts what waits for the next one.

    The phase says when frames end: a fresh framer that starts with `fill_samples=n` pads its first
    frame with n samples of silence, so it ends n samples early.
    """

    def __init__(self, frame_samples: int = FRAME_SAMPLES, fill_samples: int = 0) -> None:
        assert frame_samples > 0, frame_samples
        self._frame = np.zeros(frame_samples, np.float32)
        self.fill_samples = 0
        self.align(fill_samples)

    def align(self, fill_samples: int) -> int:
        """Move the phase: what waits becomes `fill_samples` long; silence goes before it, or its oldest goes.

        Returns the samples put in (> 0) or lost (< 0), so that the stream's clock can follow.
        """
        size = len(self._frame)
        assert 0 <= fill_samples < size, (fill_samples, size)
        moved = fill_samples - self.fill_samples
        kept = min(fill_samples, self.fill_samples)
        waiting = self._frame[self.fill_samples - kept : self.fill_samples].copy()
        self._frame[: fill_samples - kept] = 0.0
        self._frame[fill_samples - kept : fill_samples] = waiting
        self.fill_samples = fill_samples
        return moved

    def push(self, pcm: Pcm) -> list[Pcm]:
        """Take the next chunk, float32 [T]; give the frames it completes, each float32 [frame_samples]."""
        frames: list[Pcm] = []
        size, start = len(self._frame), 0
        while start < len(pcm):
            take = min(size - self.fill_samples, len(pcm) - start)
            self._frame[self.fill_samples : self.fill_samples + take] = pcm[start : start + take]
            self.fill_samples += take
            start += take
            if self.fill_samples == size:
                frames.append(self._frame.copy())
                self.fill_samples = 0
        return frames
