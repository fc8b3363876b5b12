"""Where a voice's pulses lie: F0 over time, and one mark for each period. Whole signals, no state.

For clean synthetic voices, whose voiced phones are known; noise and telephone come later.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from model.voices_phones import TimedPhone

LOWEST_F0_HZ, HIGHEST_F0_HZ = 60.0, 450.0
HOP_S = 0.01
UNVOICED_SPACING_S = 0.006  # between marks where there is no voice
_WINDOW_S = 0.04
_LEAST_PERIODICITY = 0.45  # normalised autocorrelation at the period
_OCTAVE_PENALTY = 0.12  # for each octave above the lowest F0 that the lag is long
VOICELESS = frozenset(("sil", "p", "t", "k", "ch", "f", "th", "s", "sh", "hh"))

Pcm = NDArray[np.float32]
Floats = NDArray[np.float64]


def track_f0(pcm: Pcm, rate_hz: int, phones: list[TimedPhone]) -> Floats:
    """F0 in Hz every `HOP_S`, 0 where the sound is not periodic or the phone has no voice: float64 [T]."""
    sound = _low_passed(pcm, rate_hz)
    size, hop = round(_WINDOW_S * rate_hz), round(HOP_S * rate_hz)
    padded = np.pad(sound, (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[: len(sound) : hop]
    frames = (frames - frames.mean(1, keepdims=True)) * np.hanning(size)
    spectrum = np.fft.rfft(frames, 2 * size)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:, :size] / _window_correlation(size)
    first, last = round(rate_hz / HIGHEST_F0_HZ), round(rate_hz / LOWEST_F0_HZ)
    lags = np.arange(first, min(last, size // 2 + size // 4))
    power = correlation[:, :1]
    strength = correlation[:, lags] / np.maximum(power, 1e-9)
    best = (strength - _OCTAVE_PENALTY * np.log2(lags / first)).argmax(1)
    periodic = strength[np.arange(len(best)), best] > _LEAST_PERIODICITY
    loud = power[:, 0] > 1e-4 * power.max(initial=1e-12)
    f0 = np.where(periodic & loud & _voiced(phones, len(best)), rate_hz / lags[best], 0.0)
    return _without_octave_jumps(f0)


def _low_passed(pcm: Pcm, rate_hz: int) -> Floats:
    return np.asarray(sosfiltfilt(butter(3, 900, "lowpass", fs=rate_hz, output="sos"), pcm), np.float64)


def _window_correlation(size: int) -> Floats:
    """What the window alone does to a correlation: its own, relative to lag 0."""
    own = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(size), 2 * size)) ** 2)[:size]
    return np.asarray(np.maximum(own / own[0], 0.05), np.float64)


def _voiced(phones: list[TimedPhone], num_frames: int) -> NDArray[np.bool_]:
    times_s = np.arange(num_frames) * HOP_S
    voiced = np.zeros(num_frames, bool)
    for phone in phones:
        if phone.phone not in VOICELESS:
            voiced |= (times_s >= phone.start_s - HOP_S) & (times_s < phone.end_s + HOP_S)
    return voiced


def _without_octave_jumps(f0: Floats) -> Floats:
    """What is an octave from the speaker's middle, and from no neighbour, moves into it."""
    heard = f0[f0 > 0]
    if not len(heard):
        return f0
    middle = float(np.median(heard))
    f0 = np.where(f0 > 1.75 * middle, f0 / 2, f0)
    return np.where((f0 > 0) & (f0 < 0.57 * middle), f0 * 2, f0)


def mark(pcm: Pcm, rate_hz: int, f0: Floats) -> NDArray[np.int64]:
    """Samples of the pulses, rising: one a period in voice, elsewhere evenly spaced. int64 [N].

    `f0` is what `track_f0` gives for this sound.
    """
    sound = _low_passed(pcm, rate_hz)
    if np.abs(sound.min(initial=0)) > sound.max(initial=0):
        sound = -sound
    marks: list[int] = []
    at = 0
    while at < len(sound):
        marks.append(at)
        here = f0[min(round(at / rate_hz / HOP_S), len(f0) - 1)]
        if here <= 0:
            at += round(UNVOICED_SPACING_S * rate_hz)
            continue
        period = rate_hz / here
        first = at + round(0.8 * period)
        window = sound[first : at + round(1.2 * period) + 1]
        at = first + int(window.argmax()) if len(window) else at + round(period)
    return np.array(marks, np.int64)
