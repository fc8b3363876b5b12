"""Digits that a caller sends as sound (ITU-T Q.23), for far ends that know no other way. No I/O here.

Two tones count as a digit when both stand clear of their neighbours, of each other's level (twist), of their
second harmonics and of everything else in the window: speech and music do not (talk-off).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ: Final = 24_000
WINDOW: Final = 640  # samples: 26.7 ms, which tells 697 from 770 Hz
HOP: Final = 320
ROWS_HZ: Final = (697.0, 770.0, 852.0, 941.0)
COLUMNS_HZ: Final = (1209.0, 1336.0, 1477.0, 1633.0)
DIGITS: Final = ("123A", "456B", "789C", "*0#D")
MIN_POWER: Final = 10 ** (-36 / 10)  # of each tone, against full scale; Q.24 asks for -25 dBm and softer
MAX_TWIST: Final = 10 ** (8 / 10)
MIN_OVER_NEIGHBOUR: Final = 10 ** (8 / 10)
MIN_OVER_HARMONIC: Final = 10 ** (12 / 10)
MIN_SHARE: Final = 0.8  # of the window's power
HITS: Final = 2  # windows in a row: a tone of 40 ms fills two
MISSES: Final = 2  # in a row, before the same digit may begin again


def _probe(frequencies_hz: tuple[float, ...]) -> NDArray[np.complex64]:
    """complex64 [WINDOW, frequencies]: a Hann window at each; a tone of amplitude a gives a."""
    time_s = np.arange(WINDOW) / SAMPLE_RATE_HZ
    window = np.hanning(WINDOW)
    waves = np.exp(-2j * np.pi * np.outer(time_s, frequencies_hz)) * (2 * window / window.sum())[:, None]
    return np.asarray(waves, np.complex64)


_FREQUENCIES: Final = ROWS_HZ + COLUMNS_HZ
_PROBE: Final = np.concatenate([_probe(_FREQUENCIES), _probe(tuple(2 * hz for hz in _FREQUENCIES))], axis=1)
_WINDOW_POWER: Final = (np.hanning(WINDOW) ** 2 / np.sum(np.hanning(WINDOW) ** 2)).astype(np.float32)


class InbandDigits:
    """Hears one caller; each digit is told once, when it has lasted for 40 ms."""

    def __init__(self) -> None:
        self._kept = np.zeros(0, np.float32)
        self._candidate, self._num_hits = "", 0
        self._held, self._num_misses = "", 0

    def push(self, pcm: NDArray[np.float32]) -> str:
        """The digits that became certain within float32 [T] at 24 kHz, in order; mostly none."""
        sound = np.concatenate([self._kept, pcm])
        count = max(0, (len(sound) - WINDOW) // HOP + 1)
        self._kept = sound[count * HOP :]
        if not count:
            return ""
        windows = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[
            : count * HOP : HOP
        ]  # [count, WINDOW]
        powers = np.abs(windows @ _PROBE) ** 2 / 2  # float32 [count, 16]
        totals = windows**2 @ _WINDOW_POWER
        return "".join(self._follow(_digit_of(*one)) for one in zip(powers, totals, strict=True))

    def _follow(self, digit: str) -> str:
        """The digit if this window makes it certain, else ""."""
        self._num_hits = self._num_hits + 1 if digit and digit == self._candidate else int(bool(digit))
        self._candidate = digit
        if digit == self._held:
            self._num_misses = 0
        elif self._held:
            self._num_misses += 1
            if self._num_misses >= MISSES:
                self._held, self._num_misses = "", 0
        if digit and self._num_hits >= HITS and digit != self._held:
            self._held, self._num_misses = digit, 0
            return digit
        return ""


def _digit_of(powers: NDArray[np.float32], total: np.float32) -> str:
    """What one window holds, "" if it is no digit; float32 [16] powers of tones, then of their harmonics."""
    rows, columns = powers[:4], powers[4:8]
    row, column = int(np.argmax(rows)), int(np.argmax(columns))
    low, high = float(rows[row]), float(columns[column])
    if min(low, high) < MIN_POWER or low + high < MIN_SHARE * float(total):
        return ""
    if max(low, high) > MAX_TWIST * min(low, high):
        return ""
    neighbours = max(low / _next(rows, row), high / _next(columns, column), key=lambda ratio: -ratio)
    harmonics = max(float(powers[8 + row]) / low, float(powers[12 + column]) / high)
    if neighbours < MIN_OVER_NEIGHBOUR or harmonics * MIN_OVER_HARMONIC > 1:
        return ""
    return DIGITS[row][column]


def _next(group: NDArray[np.float32], best: int) -> float:
    """The strongest of the others, never 0."""
    return max(float(np.max(np.delete(group, best))), 1e-12)
