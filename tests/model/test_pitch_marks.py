"""F0 and its marks against tones and glides whose truth is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from model.pitch_marks import HOP_S, UNVOICED_SPACING_S, mark, track_f0
from model.voices_phones import TimedPhone

RATE_HZ = 24_000


def _buzz(f0_hz: NDArray[np.float64]) -> NDArray[np.float32]:
    """Pulses with a decay, one a period."""
    phase = np.cumsum(f0_hz) / RATE_HZ
    pulses = np.diff(np.floor(phase), prepend=0.0)
    decay = np.exp(-np.arange(200) / 40) * np.cos(2 * np.pi * 600 * np.arange(200) / RATE_HZ)
    return np.asarray(np.convolve(pulses, decay)[: len(f0_hz)], np.float32)


@pytest.mark.parametrize(("start_hz", "end_hz"), [(80, 80), (110, 190), (300, 180), (400, 400)])
def test_f0_is_found_and_marks_are_a_period_apart(start_hz: float, end_hz: float) -> None:
    truth = np.linspace(start_hz, end_hz, RATE_HZ // 2)
    sound = _buzz(truth)
    f0 = track_f0(sound, RATE_HZ, [TimedPhone("aa", 0.0, 0.5)])
    inside = slice(5, -5)
    wanted = truth[:: round(HOP_S * RATE_HZ)][: len(f0)]
    assert np.abs(f0[inside] / wanted[inside] - 1).max() < 0.06
    marks = mark(sound, RATE_HZ, f0)
    periods = np.diff(marks)[8:-4]
    assert np.abs(periods / (RATE_HZ / truth[marks[8:-5]]) - 1).max() < 0.1


def test_without_voice_there_is_no_f0_and_marks_are_even() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, RATE_HZ // 2).astype(np.float32)
    for sound in (noise, np.zeros_like(noise), _buzz(np.full(RATE_HZ // 2, 120.0))):
        f0 = track_f0(sound, RATE_HZ, [TimedPhone("s", 0.0, 0.5)])
        assert not f0.any()
    assert set(np.diff(mark(noise, RATE_HZ, f0))) == {round(UNVOICED_SPACING_S * RATE_HZ)}
