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
    scaled = pcm * np.float32(_FULL_SCALE)
    np.rint(scaled, out=scaled)
    np.minimum(scaled, np.float32(_FULL_SCALE - 1), out=scaled)
    np.maximum(scaled, np.float32(-_FULL_SCALE), out=scaled)
    if np.isnan(np.add.reduce(scaled)):  # clipped already, so that only a NaN makes one
        np.nan_to_num(scaled, copy=False)
    return scaled.astype(np.int16)


def dbfs(pcm: Pcm) -> float:
    """RMS level in dB below a square wave of full scale (a full sine is -3.01); nothing is SILENCE_DBFS."""
    if not len(pcm):
        return SILENCE_DBFS
    power = float(np.mean(np.square(pcm, dtype=np.float64)))
    return max(SILENCE_DBFS, 10.0 * float(np.log10(power))) if power > 0 else SILENCE_DBFS
