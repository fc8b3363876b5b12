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


def lag_samples(pcm: Pcm, reference: Pcm, most: int) -> int:
    """By how much `pcm` runs behind `reference`, -most..most, where they are most alike."""
    size = 1 << (len(pcm) + len(reference)).bit_length()
    product = np.fft.rfft(pcm, size) * np.conj(np.fft.rfft(reference, size))
    likeness = np.fft.irfft(product, size)
    lags = np.arange(-most, most + 1)
    return int(lags[np.argmax(likeness[lags])])


@dataclass(frozen=True, slots=True)
class Match:
    """Where a piece lies in a recording."""

    correlation: float  # normalised, -1..1
    gain: float
    place: int


def best_match(piece: Pcm, recording: Pcm) -> Match:
    """Find float32 [N] in float32 [T] by normalised cross-correlation."""
    if len(recording) < len(piece):
        return Match(0.0, 0.0, 0)
    size = len(recording) + len(piece)
    spectrum = np.fft.rfft(recording, size) * np.conj(np.fft.rfft(piece, size))
    products = np.fft.irfft(spectrum, size)[: len(recording) - len(piece) + 1]
    energy = np.concatenate([[0.0], np.cumsum(np.square(recording, dtype=np.float64))])
    windows = np.maximum(energy[len(piece) :] - energy[: -len(piece)], 1e-12)
    own = max(float(np.sum(np.square(piece, dtype=np.float64))), 1e-12)
    scores = products / np.sqrt(windows * own)
    scores[windows < 0.01 * own] = 0.0  # a level too low to mean anything
    place = int(np.argmax(scores))
    return Match(float(scores[place]), float(products[place]) / own, place)


def assert_crossed(said: Pcm, heard: Pcm, rate: int) -> None:
    """What was said is in what was heard, whole and at its level; float32 [T] each, at the same rate.

    Quarter second by quarter second, and one in four may fail: a jitter buffer that finds its depth leaves
    out or repeats 10 ms now and then, which spoils the piece it happens in and no other.
    """
    size = rate // 4
    pieces = [said[start : start + size] for start in range(0, len(said) - size, size)]
    matches = [best_match(piece, heard) for piece in pieces if np.sqrt(np.mean(piece**2)) > 0.02]
    assert len(matches) >= 8, f"only {len(matches)} pieces of sound in what was said"
    good = [match for match in matches if match.correlation > 0.95]
    assert len(good) >= 0.75 * len(matches), matches
    gain = float(np.median([match.gain for match in good]))
    assert 0.9 < gain < 1.1, gain


def speech_like(seconds: float, rate: int, seed: int = 0) -> Pcm:
    """Syllables of a gliding voice with pauses: never the same twice, so that a match has one place only."""
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.31 * t) + 20 * np.sin(2 * np.pi * 1.13 * t + 1)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    shape = [random.uniform(0.2, 1.0) / (1 + 0.15 * k) for k in range(1, 24)]
    voice = sum(weight * np.sin(k * phase + k * k) for k, weight in enumerate(shape, 1))
    syllables = np.clip(np.sin(2 * np.pi * 2.3 * t + 2 * np.sin(2 * np.pi * 0.37 * t)), 0, 1)
    pcm = np.asarray(voice) * syllables + 0.05 * random.standard_normal(len(t)) * syllables
    return np.asarray(0.5 * pcm / np.max(np.abs(pcm)), np.float32)
