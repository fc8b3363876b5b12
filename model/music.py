"""Music as it plays behind callers, synthesised: chords, arpeggios, a beat, a waltz."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.noise import unit_rms

Pcm = NDArray[np.float32]

STYLES = ("chords", "arpeggio", "beat", "waltz")
_PROGRESSIONS = ((0, 5, 7, 0), (0, 9, 5, 7), (9, 5, 0, 7), (0, 3, 5, 10), (2, 7, 0, 9))
_MAJOR, _MINOR = (0, 4, 7), (0, 3, 7)


def music(style: str, num_samples: int, rate_hz: int, rng: np.random.Generator) -> Pcm:
    """Music of a style of `STYLES`: float32 [num_samples], RMS 1."""
    beat_s = 60 / rng.uniform(75, 140)
    beats_per_bar = 3 if style == "waltz" else 4
    sound = np.zeros(num_samples + 4 * rate_hz)
    key_hz = 110 * 2 ** (rng.integers(12) / 12)
    timbre = rng.uniform(0.2, 1, 6) / np.arange(1, 7) ** rng.uniform(0.8, 2)
    progression = _PROGRESSIONS[int(rng.integers(len(_PROGRESSIONS)))]
    third = _MAJOR if rng.random() < 0.6 else _MINOR
    for bar in range(int(num_samples / rate_hz / (beat_s * beats_per_bar)) + 1):
        root_hz = key_hz * 2 ** (progression[bar % len(progression)] / 12)
        for at_beats, interval, beats in _notes(style, third, rng):
            tone = _tone(root_hz * 2 ** (interval / 12), beats * beat_s, rate_hz, timbre)
            _add(sound, tone, (bar * beats_per_bar + at_beats) * beat_s, rate_hz)
        for at_beats, drum in _drums(style):
            _add(sound, _hit(drum, rate_hz, rng), (bar * beats_per_bar + at_beats) * beat_s, rate_hz)
    return unit_rms(sound[:num_samples])


def _notes(style: str, third: tuple[int, ...], rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """A bar: beat, semitones above the root, length in beats."""
    if style == "arpeggio":
        ladder = [*third, 12, *reversed(third), 12]
        return [(n / 2, ladder[n] + 12, 0.7) for n in range(8)]
    if style == "waltz":
        return [(0, -12, 1.0), *[(beat, note + 12, 0.6) for beat in (1, 2) for note in third]]
    melody = [(beat, third[int(rng.integers(3))] + 24.0, 0.8) for beat in range(4) if rng.random() < 0.7]
    held = [(0.0, note + 12.0, 3.8) for note in third] if style == "chords" else []
    stabs = [(n + 0.5, note + 12.0, 0.3) for n in range(4) for note in third] if style == "beat" else []
    return [(0, 0, 2.0), (2, 0, 2.0), *held, *stabs, *melody]


def _drums(style: str) -> list[tuple[float, str]]:
    if style == "beat":
        return [(0, "kick"), (1, "snare"), (2, "kick"), (3, "snare"), *[(n / 2, "hat") for n in range(8)]]
    return [(1, "hat"), (2, "hat")] if style == "waltz" else []


def _tone(hz: float, length_s: float, rate_hz: int, timbre: NDArray[np.float64]) -> NDArray[np.float64]:
    times_s = np.arange(round(length_s * rate_hz)) / rate_hz
    partials = [(n, level) for n, level in enumerate(timbre, start=1) if n * hz < 0.45 * rate_hz]
    wave = sum(
        (level * np.sin(2 * np.pi * n * hz * times_s) for n, level in partials), np.zeros(len(times_s))
    )
    shape = (
        np.minimum(times_s / 0.01, 1)
        * np.exp(-1.5 * times_s / length_s)
        * np.minimum((length_s - times_s) / 0.02, 1)
    )
    return np.asarray(wave * shape)


def _hit(drum: str, rate_hz: int, rng: np.random.Generator) -> NDArray[np.float64]:
    times_s = np.arange(round(0.2 * rate_hz)) / rate_hz
    hiss = rng.standard_normal(len(times_s))
    if drum == "kick":
        return np.asarray(2 * np.sin(2 * np.pi * 12 * np.exp(-25 * times_s)) * np.exp(-times_s / 0.06))
    if drum == "snare":
        return np.asarray(
            hiss * np.exp(-times_s / 0.05) + np.sin(2 * np.pi * 190 * times_s) * np.exp(-times_s / 0.04)
        )
    return np.asarray(0.4 * np.diff(hiss, prepend=0.0) * np.exp(-times_s / 0.02))


def _add(sound: NDArray[np.float64], piece: NDArray[np.float64], at_s: float, rate_hz: int) -> None:
    first = round(at_s * rate_hz)
    room = max(0, len(sound) - first)
    sound[first : first + len(piece)] += piece[:room]
