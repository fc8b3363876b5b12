"""What a telephone line does to a caller's voice, for training and evaluation. Whole signals, no state.

24 kHz in, 24 kHz out, of the same length and not delayed (but for the band filter's fraction of a ms): band
limits, level, room noise, G.711 or a wideband codec, and the way back up as the bridge goes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, firwin, sosfilt, upfirdn

from model.line_codecs import RATES_HZ, Codec, g711, through
from model.noise import steady

__all__ = [
    "Codec", "Line", "Noise", "Pcm", "active_rms", "band", "draw_line", "fit", "g711", "resample",
    "telephone",
]  # fmt: skip

Pcm = NDArray[np.float32]
Noise = Literal["none", "white", "pink", "babble"]

_MODEL_RATE_HZ = 24_000
_HALF_WIDTH = 16  # of the bridge's resampler, in samples of the lower rate
_KAISER_BETA = 8.5  # 86 dB of stop band
_SILENT_RMS = 1e-5


@dataclass(frozen=True, slots=True)
class Line:
    """The condition of one call; it stays for the whole of it. Levels are RMS of the active speech."""

    codec: Codec = "pcmu"
    low_hz: float = 300.0
    high_hz: float = 3400.0
    level_dbfs: float = -26.0
    noise: Noise = "none"
    snr_db: float = 30.0

    @property
    def rate_hz(self) -> int:
        """Sampling rate of the wire's sound."""
        return RATES_HZ[self.codec]


def draw_line(rng: np.random.Generator, *, wideband_share: float = 0.15, quiet_share: float = 0.25) -> Line:
    """A random line: mostly G.711, levels spread about -26 dBFS, noise 10-45 dB below the speech or none."""
    wideband = rng.random() < wideband_share
    kinds: tuple[Noise, ...] = ("white", "pink", "pink", "babble")
    return Line(
        codec="g722" if wideband else ("pcmu" if rng.random() < 0.6 else "pcma"),
        low_hz=float(rng.uniform(50, 200) if wideband else rng.uniform(80, 350)),
        high_hz=float(rng.uniform(6000, 7200) if wideband else rng.uniform(3100, 3800)),
        level_dbfs=float(rng.uniform(-29, -21) + rng.uniform(-9, 3)),
        noise="none" if rng.random() < quiet_share else kinds[int(rng.integers(len(kinds)))],
        snr_db=float(rng.uniform(10, 45)),
    )


def telephone(pcm: Pcm, rng: np.random.Generator, line: Line | None = None) -> Pcm:
    """Sound as it reaches the model over `line` (a random one if None): float32 [T] at 24 kHz -> the same.

    The active speech in `pcm` is brought to the line's level; noise fills its pauses too.
    """
    line = line or draw_line(rng)
    assert pcm.ndim == 1, pcm.shape
    sound = band(resample(np.asarray(pcm, np.float32), _MODEL_RATE_HZ, line.rate_hz), line)
    if (rms := active_rms(sound, line.rate_hz)) > _SILENT_RMS:
        sound = sound * np.float32(10 ** (line.level_dbfs / 20) / rms)
    if line.noise != "none":
        sound = sound + _noise(line, len(sound), rng)
    heard = through(sound, line.codec, rng)
    return fit(resample(heard, line.rate_hz, _MODEL_RATE_HZ), len(pcm))


def active_rms(pcm: Pcm, rate_hz: int) -> float:
    """RMS of float32 [T] over its active 20 ms frames (those within 25 dB of the loudest)."""
    size = rate_hz // 50
    power = np.square(pcm[: len(pcm) // size * size], dtype=np.float64).reshape(-1, size).mean(1)
    if not len(power) or power.max() <= 0:
        return 0.0
    return float(np.sqrt(power[power > power.max() * 10**-2.5].mean()))


def fit(pcm: Pcm, num_samples: int) -> Pcm:
    """Cut or zero-padded at the end to `num_samples`."""
    return np.pad(pcm[:num_samples], (0, max(0, num_samples - len(pcm))))


def resample(pcm: Pcm, from_hz: float, to_hz: float) -> Pcm:
    """float32 [T] from one rate to another by the bridge's filter, delay removed; ratios to 1/400 exact."""
    ratio = Fraction(to_hz / from_hz).limit_denominator(400)
    up, down = ratio.numerator, ratio.denominator
    if up == down:
        return pcm
    taps = _taps(up, down)
    skip = (len(taps) - 1) // 2 // down
    return np.asarray(upfirdn(taps, pcm, up, down)[skip : skip + round(len(pcm) * up / down)], np.float32)


@cache
def _taps(up: int, down: int) -> NDArray[np.float32]:
    """Low-pass at the lower rate's Nyquist, of odd length; its delay is a whole number of output samples."""
    half = down * -(-_HALF_WIDTH * max(up, down) // down)
    low_pass = firwin(2 * half + 1, 1 / max(up, down), window=("kaiser", _KAISER_BETA))
    return np.asarray(up * low_pass, np.float32)


def band(pcm: Pcm, line: Line) -> Pcm:
    """Sound at the line's rate, float32 [T], within its band."""
    edges = (line.low_hz, min(line.high_hz, 0.49 * line.rate_hz))
    return np.asarray(sosfilt(_band_filter(edges, line.rate_hz), pcm), np.float32)


def _band_filter(edges: tuple[float, float], rate_hz: int) -> NDArray[np.float64]:
    low = butter(2, edges[0], "highpass", fs=rate_hz, output="sos")
    high = butter(4, edges[1], "lowpass", fs=rate_hz, output="sos")
    return np.asarray(np.concatenate([low, high]), np.float64)


def _noise(line: Line, num_samples: int, rng: np.random.Generator) -> Pcm:
    """Noise of the line's kind, float32 [num_samples] at its rate, `snr_db` below the speech level."""
    kind = "murmur" if line.noise == "babble" else line.noise
    return steady(kind, num_samples, line.rate_hz, rng) * np.float32(
        10 ** ((line.level_dbfs - line.snr_db) / 20)
    )
