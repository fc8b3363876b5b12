"""Sounds with a known truth, and how to find them again."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tone:
    """The sine that fits a recording best, and how far it stands above all else."""

    amplitude: float
    snr_db: float


def tone(hz: float, seconds: float, rate: int, amplitude: float = 0.5) -> Pcm:
    """A sine, float32 [seconds * rate]."""
    t = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def noise(seconds: float, rate: int, amplitude: float = 0.1, seed: int = 0) -> Pcm:
    """White noise of this RMS, the same for the same seed."""
    samples = np.random.default_rng(seed).standard_normal(round(seconds * rate))
    return (amplitude * samples).astype(np.float32)


def fit_tone(pcm: Pcm, hz: float, rate: int) -> Tone:
    """The sine of `hz` in float32 [T], by least squares; the rest counts as noise."""
    t = np.arange(len(pcm)) / rate
    basis = np.stack([np.sin(2 * np.pi * hz * t), np.cos(2 * np.pi * hz * t)], axis=1)
    weights, *_ = np.linalg.lstsq(basis, pcm.astype(np.float64), rcond=None)
    rest = pcm - basis @ weights
    amplitude = float(np.hypot(*weights))
    power = max(float(np.mean(rest**2)), 1e-20)
    return Tone(amplitude, 10 * float(np.log10(max(amplitude**2 / 2, 1e-20) / power)))


def find_tone(pcm: Pcm, rate: int) -> float:
    """The strongest frequency in Hz, to a tenth of the spectrum's bin."""
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm)), 8 * len(pcm)))
    spectrum[:8] = 0  # a constant offset is no tone
    return float(np.argmax(spectrum)) * rate / (8 * len(pcm))


def snr_db(pcm: Pcm, truth: Pcm) -> float:
    """How well `pcm` is `truth` at the best gain: signal over the rest, both [T]."""
    gain = float(pcm @ truth) / max(float(truth @ truth), 1e-20)
    rest = pcm - gain * truth
    return 10 * float(np.log10(max(gain**2 * float(truth @ truth), 1e-20) / max(float(rest @ rest), 1e-20)))


def click_track(places: list[int], samples: int, height: float = 0.9) -> Pcm:
    """Silence of this length with one-sample clicks at these places."""
    pcm = np.zeros(samples, np.float32)
    pcm[places] = height
    return pcm


def find_clicks(pcm: Pcm, threshold: float = 0.1, apart: int = 240) -> list[int]:
    """Click places: the largest sample of each burst over `threshold`, at least `apart` samples apart."""
    loud = np.flatnonzero(np.abs(pcm) > threshold)
    if not len(loud):
        return []
    bursts = np.split(loud, np.flatnonzero(np.diff(loud) >= apart) + 1)
    return [int(burst[np.argmax(np.abs(pcm[burst]))]) for burst in bursts]
