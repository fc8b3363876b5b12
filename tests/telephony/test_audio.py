"""Samples survive the way between their two forms."""

import numpy as np
import pytest

from telephony.audio import SILENCE_DBFS, dbfs, to_float, to_int16
from tests.signals import tone


def test_every_16_bit_sample_comes_back_exactly() -> None:
    samples = np.arange(-32_768, 32_768).astype(np.int16)
    np.testing.assert_array_equal(to_int16(to_float(samples)), samples)


def test_too_loud_is_clipped_and_not_wrapped() -> None:
    loud = np.array([1.0, 7.0, -1.0, -7.0, np.inf, -np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(to_int16(loud), [32767, 32767, -32768, -32768, 32767, -32768, 0])


def test_rounding_is_to_the_nearest_sample() -> None:
    np.testing.assert_array_equal(
        to_int16(np.array([0.6, -0.6, 0.4], np.float32) / np.float32(32_768)), [1, -1, 0]
    )


@pytest.mark.parametrize(("amplitude", "level"), [(1.0, -3.01), (0.5, -9.03), (0.001, -63.01)])
def test_level_of_a_sine(amplitude: float, level: float) -> None:
    assert dbfs(tone(1000, 1.0, 24_000, amplitude)) == pytest.approx(level, abs=0.01)


def test_silence_has_a_level_too() -> None:
    assert dbfs(np.zeros(1920, np.float32)) == SILENCE_DBFS
    assert dbfs(np.zeros(0, np.float32)) == SILENCE_DBFS
    assert dbfs(np.full(10, 1e-9, np.float32)) == SILENCE_DBFS
