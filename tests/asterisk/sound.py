"""A sound that tells which of its seconds one hears, and what of it came back. No I/O here.

Every second has a tone of its own, so that a second that is missing, repeated or somebody else's is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from telephony.endpoint import SAMPLE_RATE_HZ
from tests.signals import Pcm, find_tone, fit_tone

LADDER_HZ: Final = (450, 650, 850, 550, 750, 950, 1050, 1150)  # whole periods in a second: no click between
AMPLITUDE: Final = 0.3
MILLIWATT_HZ: Final = 1004
PIECES: Final = 10  # in a second
NEEDED_PIECES: Final = 7  # one lies across two seconds, and jitter buffers at both ends may skip 20 ms each
TOLERANCE_HZ: Final = 6.0
MIN_SNR_DB: Final = 8.0
MIN_AMPLITUDE: Final = 0.03
LEVEL_RATIO: Final = 1.42  # 3 dB
MAX_LAG_PIECES: Final = 15
MAX_SLIP_PIECES: Final = 1  # from one second to the next, as jitter buffers find their depth

Heard = tuple[float, float]  # Hz and amplitude of one piece; 0 Hz: no tone


def ladder(start: int, count: int) -> Pcm:
    """Samples `start` to `start + count` of the sound, float32 [count] at 24 kHz."""
    at = np.arange(start, start + count)
    hz = np.take(LADDER_HZ, at // SAMPLE_RATE_HZ % len(LADDER_HZ))
    return np.asarray(AMPLITUDE * np.sin(2 * np.pi * hz * (at % SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ), np.float32)


def judge_ladder(heard: Pcm, num_seconds: int) -> list[bool]:
    """Of each of so many seconds of the sound, sent from the start of float32 [T], whether it was heard."""
    pieces = pieces_of(heard, SAMPLE_RATE_HZ)

    def hits(second: int, lag: int) -> int:
        start = lag + second * PIECES
        return sum(_is_rung(piece, second) for piece in pieces[start : start + PIECES])

    first = min(num_seconds, 4)
    lags = range(MAX_LAG_PIECES + 1)
    lag = max(lags, key=lambda one: sum(hits(second, one) for second in range(first)))
    found: list[bool] = []
    for second in range(num_seconds):
        near = range(max(0, lag - MAX_SLIP_PIECES), lag + MAX_SLIP_PIECES + 1)
        best = _best(hits, second, near, lag)
        found.append(hits(second, best) >= NEEDED_PIECES)
        # A longer jump is heard, and makes this second wrong; those after it are judged from where it led.
        lag = best if found[-1] else _best(hits, second, lags, lag)
    return found


def _best(hits: Callable[[int, int], int], second: int, lags: range, lag: int) -> int:
    """The lag at which a second is heard best; of equal ones the nearest to `lag`."""
    return max(lags, key=lambda one: (hits(second, one), -abs(one - lag)))


def judge_tone(heard: Pcm, rate: int, hz: float = MILLIWATT_HZ) -> list[bool]:
    """Of each whole second of float32 [T] whether it is that tone."""
    return _by_seconds(heard, rate, lambda piece: abs(piece[0] - hz) <= TOLERANCE_HZ)


def judge_silence(heard: Pcm, rate: int) -> list[bool]:
    """Of each whole second of float32 [T] whether nothing is in it."""
    whole = heard[: len(heard) // rate * rate].reshape(-1, rate)
    return [bool(np.abs(second).max() < MIN_AMPLITUDE) for second in whole]


def pieces_of(heard: Pcm, rate: int) -> list[Heard]:
    """The tone of each tenth of a second."""
    size = rate // PIECES
    return [_tone_of(piece, rate) for piece in heard[: len(heard) // size * size].reshape(-1, size)]


def _tone_of(piece: Pcm, rate: int) -> Heard:
    if np.abs(piece).max() < MIN_AMPLITUDE:
        return 0.0, 0.0
    hz = find_tone(piece, rate)
    tone = fit_tone(piece, hz, rate)
    return (hz, tone.amplitude) if tone.snr_db >= MIN_SNR_DB else (0.0, 0.0)


def _is_rung(piece: Heard, second: int) -> bool:
    hz, amplitude = piece
    is_level = AMPLITUDE / LEVEL_RATIO <= amplitude <= AMPLITUDE * LEVEL_RATIO
    return is_level and abs(hz - LADDER_HZ[second % len(LADDER_HZ)]) <= TOLERANCE_HZ


def _by_seconds(heard: Pcm, rate: int, is_right: Callable[[Heard], bool]) -> list[bool]:
    right = [is_right(piece) for piece in pieces_of(heard, rate)]
    whole = len(right) // PIECES
    return [sum(right[n * PIECES : (n + 1) * PIECES]) >= NEEDED_PIECES for n in range(whole)]
