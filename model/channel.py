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
from scipy.signal import butter, firwin, lfilter, sosfilt, upfirdn

Pcm = NDArray[np.float32]
Codec = Literal["pcmu", "pcma", "g722"]
Noise = Literal["none", "white", "pink", "babble"]

_MODEL_RATE_HZ = 24_000
_HALF_WIDTH = 16  # of the bridge's resampler, in samples of the lower rate
_KAISER_BETA = 8.5  # 86 dB of stop band
_BABBLE_VOICES = 6
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
        return 16_000 if self.codec == "g722" else 8_000


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
    sound = _band(resample(np.asarray(pcm, np.float32), _MODEL_RATE_HZ, line.rate_hz), line)
    if (rms := active_rms(sound, line.rate_hz)) > _SILENT_RMS:
        sound = sound * np.float32(10 ** (line.level_dbfs / 20) / rms)
    if line.noise != "none":
        sound = sound + _noise(line, len(sound), rng)
    heard = _wideband_codec(sound, rng) if line.codec == "g722" else g711(sound, line.codec)
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


def g711(pcm: Pcm, codec: Literal["pcmu", "pcma"]) -> Pcm:
    """Through G.711 and back: float32 -> the nearest of its 256 values (ITU-T G.711; clips at full scale)."""
    levels = _mu_law_levels() if codec == "pcmu" else _a_law_levels()
    index = np.searchsorted((levels[1:] + levels[:-1]) / 2, pcm)
    return np.asarray(levels[index], np.float32)


@cache
def _mu_law_levels() -> NDArray[np.float64]:
    """The decoder's output values, rising."""
    code = np.arange(128)
    magnitude = ((2 * (code & 15) + 33) << (code >> 4)) - 33
    return np.unique(np.concatenate([-magnitude, magnitude])) * 4 / 32768


@cache
def _a_law_levels() -> NDArray[np.float64]:
    code = np.arange(128)
    segment, step = code >> 4, code & 15
    magnitude = np.where(segment == 0, 2 * step + 1, (2 * step + 33) << np.maximum(segment - 1, 0))
    return np.sort(np.concatenate([-magnitude, magnitude])) * 8 / 32768


def _wideband_codec(pcm: Pcm, rng: np.random.Generator) -> Pcm:
    """Noise that follows the signal 30 dB below it, as sub-band ADPCM (G.722 at 64 kbit/s) leaves it."""
    size = 160
    level = np.sqrt(np.square(_pad(pcm, size), dtype=np.float64).reshape(-1, size).mean(1))
    envelope = np.repeat(level, size)[: len(pcm)]
    return np.asarray(pcm + 0.03 * envelope * rng.standard_normal(len(pcm)), np.float32).clip(-1, 1)


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


def _pad(pcm: Pcm, size: int) -> Pcm:
    return np.pad(pcm, (0, -len(pcm) % size))


def _band(pcm: Pcm, line: Line) -> Pcm:
    edges = (line.low_hz, min(line.high_hz, 0.49 * line.rate_hz))
    return np.asarray(sosfilt(_band_filter(edges, line.rate_hz), pcm), np.float32)


def _band_filter(edges: tuple[float, float], rate_hz: int) -> NDArray[np.float64]:
    low = butter(2, edges[0], "highpass", fs=rate_hz, output="sos")
    high = butter(4, edges[1], "lowpass", fs=rate_hz, output="sos")
    return np.asarray(np.concatenate([low, high]), np.float64)


def _noise(line: Line, num_samples: int, rng: np.random.Generator) -> Pcm:
    """Noise of the line's kind, float32 [num_samples] at its rate, `snr_db` below the speech level."""
    if line.noise == "white":
        sound = rng.standard_normal(num_samples)
    elif line.noise == "pink":
        sound = _pink(num_samples, rng)
    else:
        sound = np.sum([_murmur(num_samples, line.rate_hz, rng) for _ in range(_BABBLE_VOICES)], axis=0)
    rms = 10 ** ((line.level_dbfs - line.snr_db) / 20)
    return np.asarray(sound * (rms / max(float(np.sqrt(np.mean(np.square(sound)))), 1e-9)), np.float32)


def _pink(num_samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise that falls 3 dB per octave (Kellet's three-pole approximation)."""
    poles = ((0.99765, 0.0990460), (0.96300, 0.2965164), (0.57000, 1.0526913))
    white = rng.standard_normal(num_samples)
    sound = 0.1848 * white
    for pole, gain in poles:
        sound = sound + lfilter([gain], [1, -pole], white)
    return np.asarray(sound, np.float64)


def _murmur(num_samples: int, rate_hz: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """One distant speaker: pink noise through two formants, its loudness changing at 4 Hz."""
    sound = _pink(num_samples, rng)
    for centre_hz, width_hz in ((rng.uniform(350, 750), 120.0), (rng.uniform(1000, 2200), 250.0)):
        radius = np.exp(-np.pi * width_hz / rate_hz)
        sound = sound + lfilter(
            [1 - radius], [1, -2 * radius * np.cos(2 * np.pi * centre_hz / rate_hz), radius**2], sound
        )
    num_syllables = num_samples * 4 // rate_hz + 2
    loudness = rng.uniform(0, 1, num_syllables) * (rng.random(num_syllables) < 0.75)
    return np.asarray(
        sound * np.interp(np.arange(num_samples) * 4 / rate_hz, np.arange(num_syllables), loudness)
    )
