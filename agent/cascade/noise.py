"""Less noise before the recogniser: a Wiener filter whose picture of the noise is made while nobody speaks.

Frames of 32 ms overlap by half, so sound comes out 16 ms later. A quiet line passes unchanged: there the
filter costs more words than it saves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIZE = 512  # 32 ms at 16 kHz
HOP = SIZE // 2
_NOISE_KEPT = 0.92  # of the noise's picture, from one silent frame to the next
_GAIN_KEPT = 0.6  # of the last frame's estimate of speech (decision-directed)
_FLOOR = 0.25
_QUIET_DBFS = -52.0  # noise below this is left alone
_EXCESS = 1.5  # the picture is a mean; noise is often more


class NoiseFilter:
    """One stream at 16 kHz; chunks of any multiple of HOP samples."""

    def __init__(self) -> None:
        self._window = np.sqrt(np.hanning(SIZE + 1)[:SIZE]).astype(np.float32)
        self._before = np.zeros(HOP, np.float32)
        self._tail = np.zeros(HOP, np.float32)
        self._noise: NDArray[np.float32] | None = None  # power [SIZE // 2 + 1]
        self._level = 0.0  # its mean square
        self._speech = np.zeros(SIZE // 2 + 1, np.float32)

    def push(self, pcm: NDArray[np.float32], *, is_silent: bool) -> NDArray[np.float32]:
        """The next float32 [T], filtered, 16 ms late; `is_silent`: nobody speaks in it."""
        assert len(pcm) % HOP == 0, len(pcm)
        return np.concatenate([self._hop(hop, is_silent) for hop in pcm.reshape(-1, HOP)])

    def _hop(self, hop: NDArray[np.float32], is_silent: bool) -> NDArray[np.float32]:
        spectrum = np.fft.rfft(self._window * np.concatenate([self._before, hop]))
        self._before = hop
        power = np.square(np.abs(spectrum)).astype(np.float32) + np.float32(1e-9)
        if self._noise is None or is_silent:
            kept = 0.0 if self._noise is None else _NOISE_KEPT
            self._noise = power if self._noise is None else kept * self._noise + (1 - kept) * power
            self._level = kept * self._level + (1 - kept) * float(np.mean(np.square(hop)))
        excess = np.maximum(power / (_EXCESS * self._noise) - 1, 0)
        ratio = _GAIN_KEPT * self._speech / self._noise + (1 - _GAIN_KEPT) * excess
        is_loud = self._level > 10 ** (_QUIET_DBFS / 10)
        gain = np.maximum(ratio / (1 + ratio), _FLOOR) if is_loud else np.ones_like(ratio)
        self._speech = np.square(gain) * power
        sound = self._window * np.fft.irfft(gain * spectrum).astype(np.float32)
        out = self._tail + sound[:HOP]
        self._tail = sound[HOP:]
        return out.astype(np.float32)
