"""The one form of sound that crosses package borders, and its way to and from 16-bit samples."""

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.float32]  # [T], mono, -1..1
SILENCE_DBFS = -120.0  # what a frame of zeros is said to measure, instead of minus infinity
_FULL_SCALE = 32_768.0


def to_float(samples: NDArray[np.int16]) -> Pcm:
    """16-bit samples [T] as float32 [T] in -1..1; exact."""
    return samples.astype(np.float32) / np.float32(_FULL_SCALE)


def to_int16(pcm: Pcm) -> NDArray[np.int16]:
    """float32 [T] as 16-bit samples [T], rounded; beyond full scale it is clipped, NaN becomes 0."""
    scaled = np.clip(np.nan_to_num(pcm), -1.0, 1.0) * np.float32(_FULL_SCALE)
    samples: NDArray[np.int16] = np.minimum(np.rint(scaled), np.float32(_FULL_SCALE - 1)).astype(np.int16)
    return samples


def dbfs(pcm: Pcm) -> float:
    """RMS level in dB below a square wave of full scale (a full sine is -3.01); nothing is SILENCE_DBFS."""
    if not len(pcm):
        return SILENCE_DBFS
    power = float(np.mean(np.square(pcm, dtype=np.float64)))
    return max(SILENCE_DBFS, 10.0 * float(np.log10(power))) if power > 0 else SILENCE_DBFS
