"""Sounds around a caller: steady noise, babble, music, coughs, all synthesised at any rate; no I/O.

Real recordings of noise and of other speakers come in through `SoundPool`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Pcm = NDArray[np.float32]

STEADY = ("white", "pink", "rumble", "hum", "murmur")
_BABBLE_VOICES = 6
_MURMUR_VOICES = 6


@dataclass(frozen=True)
class SoundPool:
    """Recordings to draw from, float32 [T] at 24 kHz each: noises, and speech of others than the caller."""

    noises: Sequence[Pcm] = ()
    speech: Sequence[Pcm] = ()


def steady(kind: str, num_samples: int, rate_hz: int, rng: np.random.Generator) -> Pcm:
    """Noise of a kind of `STEADY`: float32 [num_samples], RMS 1."""
    makers: dict[str, Callable[[], NDArray[np.float64]]] = {
        "white": lambda: rng.standard_normal(num_samples),
        "pink": lambda: pink(num_samples, rng),
        "rumble": lambda: _rumble(num_samples, rate_hz, rng),
        "hum": lambda: _hum(num_samples, rate_hz, rng),
        "murmur": lambda: np.sum([murmur(num_samples, rate_hz, rng) for _ in range(_MURMUR_VOICES)], axis=0),
    }
    return unit_rms(makers[kind]())


def unit_rms(sound: NDArray[np.floating]) -> Pcm:
    """The sound at RMS 1, silence as it is."""
    rms = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) if len(sound) else 0.0
    return np.asarray(sound / rms if rms > 1e-9 else sound, np.float32)


def pink(num_samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise that falls 3 dB per octave (Kellet's three-pole approximation)."""
    poles = ((0.99765, 0.0990460), (0.96300, 0.2965164), (0.57000, 1.0526913))
    white = rng.standard_normal(num_samples)
    sound = 0.1848 * white
    for pole, gain in poles:
        sound = sound + lfilter([gain], [1, -pole], white)
    return np.asarray(sound, np.float64)


def _rumble(num_samples: int, rate_hz: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A road or an engine: noise that falls 6 dB per octave from 150 Hz, swelling every few seconds."""
    pole = float(np.exp(-2 * np.pi * 150 / rate_hz))
    sound = lfilter([1 - pole], [1, -pole], rng.standard_normal(num_samples))
    num_swells = num_samples // (2 * rate_hz) + 2
    swell = np.interp(
        np.arange(num_samples) / (2 * rate_hz), np.arange(num_swells), rng.uniform(0.3, 1, num_swells)
    )
    return np.asarray(sound * swell)


def _hum(num_samples: int, rate_hz: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Mains hum with its harmonics, over a little hiss."""
    hz = float(rng.choice((50.0, 60.0)))
    times_s = np.arange(num_samples) / rate_hz
    sound = 0.1 * rng.standard_normal(num_samples)
    for order in range(2, min(40, int(0.45 * rate_hz / hz))):
        sound = sound + rng.uniform(0, 1) / order * np.sin(2 * np.pi * (order * hz * times_s + rng.random()))
    return np.asarray(sound)


def resonate(
    sound: NDArray[np.float64], centre_hz: float, width_hz: float, rate_hz: int
) -> NDArray[np.float64]:
    """Through one formant."""
    radius = np.exp(-np.pi * width_hz / rate_hz)
    turn = 2 * np.pi * centre_hz / rate_hz
    return np.asarray(lfilter([1 - radius], [1, -2 * radius * np.cos(turn), radius**2], sound))


def murmur(num_samples: int, rate_hz: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """One distant speaker: pink noise through two formants, its loudness changing at 4 Hz."""
    sound = pink(num_samples, rng)
    for centre_hz, width_hz in ((rng.uniform(350, 750), 120.0), (rng.uniform(1000, 2200), 250.0)):
        sound = sound + resonate(sound, centre_hz, width_hz, rate_hz)
    num_syllables = num_samples * 4 // rate_hz + 2
    loudness = rng.uniform(0, 1, num_syllables) * (rng.random(num_syllables) < 0.75)
    return np.asarray(
        sound * np.interp(np.arange(num_samples) * 4 / rate_hz, np.arange(num_syllables), loudness)
    )


def lasting(sounds: Sequence[Pcm], num_samples: int, rng: np.random.Generator) -> Pcm:
    """Recordings end to end from a random place in the first: float32 [num_samples]."""
    parts: list[Pcm] = []
    missing = num_samples
    while missing > 0:
        sound = sounds[int(rng.integers(len(sounds)))]
        piece = sound[int(rng.integers(len(sound))) :] if not parts else sound
        parts.append(piece[:missing])
        missing -= len(parts[-1])
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def babble(speech: Sequence[Pcm], num_samples: int, rng: np.random.Generator) -> Pcm:
    """Several speakers at once, of recorded speech: float32 [num_samples], RMS 1."""
    voices = [unit_rms(lasting(speech, num_samples, rng)) for _ in range(_BABBLE_VOICES)]
    return unit_rms(np.sum(voices, axis=0))


def cough(rate_hz: int, rng: np.random.Generator) -> Pcm:
    """One to three coughs: a burst, a breath of noise and a voiced end, through a vocal tract. Peak 1."""
    parts = []
    for _ in range(int(rng.integers(1, 4))):
        length = round(rng.uniform(0.2, 0.4) * rate_hz)
        times_s = np.arange(length) / rate_hz
        burst = rng.standard_normal(length) * (np.exp(-times_s / 0.015) + 0.35 * np.exp(-times_s / 0.09))
        pitch_hz = rng.uniform(110, 320) * np.exp(-1.5 * times_s)
        voice = np.sin(2 * np.pi * np.cumsum(pitch_hz) / rate_hz) ** 5 * np.exp(
            -(((times_s - 0.16) / 0.07) ** 2)
        )
        parts += [
            _throat(burst + rng.uniform(0, 1.2) * voice, rate_hz, rng),
            np.zeros(round(rng.uniform(0.05, 0.3) * rate_hz)),
        ]
    return _peak_one(np.concatenate(parts))


def throat_clearing(rate_hz: int, rng: np.random.Generator) -> Pcm:
    """ "Ahem": rough voice that swells twice, through a vocal tract. Peak 1."""
    length = round(rng.uniform(0.5, 0.9) * rate_hz)
    place = np.linspace(0, 1, length)
    pitch_hz = rng.uniform(70, 140) * (
        1 + 0.15 * np.interp(place * 40, np.arange(41), rng.standard_normal(41))
    )
    voice = np.sign(np.sin(2 * np.pi * np.cumsum(pitch_hz) / rate_hz)) * rng.uniform(0.4, 1, length)
    shape = np.sin(np.pi * np.minimum(place / 0.4, 1)) + (place > 0.4) * np.sin(
        np.pi * np.clip((place - 0.4) / 0.6, 0, 1)
    )
    return _peak_one(_throat((voice + 0.7 * rng.standard_normal(length)) * shape, rate_hz, rng))


def _throat(sound: NDArray[np.float64], rate_hz: int, rng: np.random.Generator) -> NDArray[np.float64]:
    formants = (
        (rng.uniform(450, 850), 120.0),
        (rng.uniform(1000, 1700), 180.0),
        (rng.uniform(2200, 3200), 300.0),
    )
    return np.asarray(0.1 * sound + sum(resonate(sound, *formant, rate_hz) for formant in formants))


def _peak_one(sound: NDArray[np.float64]) -> Pcm:
    return np.asarray(sound / max(float(np.abs(sound).max(initial=0.0)), 1e-9), np.float32)
