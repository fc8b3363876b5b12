"""How loud sound is to a listener: integrated loudness after ITU-R BS.1770."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def loudness_lufs(mono: NDArray[np.floating], rate_hz: int) -> float:
    """Integrated loudness of mono sound [T]; -inf if it is silent or shorter than one block.

    Source: ITU-R BS.1770-4, annex 1: K-weighting, blocks of 0.4 s overlapping by three quarters, gates at -70
    LUFS and 10 LU below the rest.
    """
    from scipy.signal import lfilter  # slow to load, and needed by operators' own voices alone

    weighted = np.asarray(mono, dtype=np.float64)
    for b, a in k_weighting(rate_hz):
        weighted = lfilter(b, a, weighted)
    block, hop = round(0.4 * rate_hz), round(0.1 * rate_hz)
    if len(weighted) < block:
        return -math.inf
    energy = np.concatenate([[0.0], np.cumsum(weighted**2)])
    power = (energy[block:] - energy[:-block])[::hop] / block
    for gate in (10 ** ((-70 + 0.691) / 10), None):
        kept = power[power > (0.1 * power.mean() if gate is None else gate)]
        if not len(kept):
            return -math.inf
        power = kept
    return float(-0.691 + 10 * np.log10(power.mean()))


def k_weighting(rate_hz: int) -> Iterator[tuple[list[float], list[float]]]:
    """The two filters of K-weighting (numerator, denominator) at any rate: a shelf for the head, a high pass.

    BS.1770 gives them for 48 kHz alone; these are the analogue filters behind those numbers, turned digital
    by the bilinear transform, which gives the same numbers at 48 kHz.
    """
    k = math.tan(math.pi * 1681.974450955533 / rate_hz)
    q, high = 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    band, norm = high**0.4996667741545416, 1 + k / q + k * k
    shelf = [high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k]
    yield [value / norm for value in shelf], [1.0, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm]
    k, q = math.tan(math.pi * 38.13547087602444 / rate_hz), 0.5003270373238773
    norm = 1 + k / q + k * k
    yield [1.0, -2.0, 1.0], [1.0, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm]
