"""Loudness after BS.1770: its filters, its reference tone, and its gates."""

import math

import numpy as np
import pytest

from model.loudness import k_weighting, loudness_lufs


def _tone(hz: float, seconds: float, rate_hz: int, peak: float = 1.0) -> np.ndarray:
    return peak * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)


def test_the_filters_at_48_khz_are_the_recommendations() -> None:
    """ITU-R BS.1770-4, annex 1, tables 1 and 2."""
    (shelf_b, shelf_a), (high_b, high_a) = k_weighting(48_000)
    assert shelf_b == pytest.approx([1.53512485958697, -2.69169618940638, 1.19839281085285], abs=1e-9)
    assert shelf_a == pytest.approx([1.0, -1.69065929318241, 0.73248077421585], abs=1e-9)
    assert high_b == pytest.approx([1.0, -2.0, 1.0])
    assert high_a == pytest.approx([1.0, -1.99004745483398, 0.99007225036621], abs=1e-9)


@pytest.mark.parametrize("rate_hz", [24_000, 48_000])
def test_a_full_scale_tone_in_one_channel_reads_minus_three(rate_hz: int) -> None:
    assert loudness_lufs(_tone(997, 3.0, rate_hz), rate_hz) == pytest.approx(-3.01, abs=0.05)


def test_half_the_amplitude_is_six_less() -> None:
    loud, quiet = _tone(440, 2.0, 24_000), _tone(440, 2.0, 24_000, peak=0.5)
    assert loudness_lufs(loud, 24_000) - loudness_lufs(quiet, 24_000) == pytest.approx(6.02, abs=0.01)


def test_pauses_do_not_make_speech_quieter() -> None:
    tone = _tone(440, 2.0, 24_000, peak=0.2)
    paused = np.concatenate([tone, 0.001 * np.ones(48_000), tone])
    assert loudness_lufs(paused, 24_000) == pytest.approx(loudness_lufs(tone, 24_000), abs=0.4)


def test_silence_and_scraps_have_no_loudness() -> None:
    assert loudness_lufs(np.zeros(48_000), 24_000) == -math.inf
    assert loudness_lufs(_tone(440, 0.39, 24_000), 24_000) == -math.inf
