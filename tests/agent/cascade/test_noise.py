"""The filter takes noise away and speech not; without noise nothing changes but the time."""

import numpy as np
import pytest

from agent.cascade.noise import HOP, NoiseFilter
from agent.cascade.voice_activity import RATE_HZ
from tests.signals import tone


def filtered(pcm: np.ndarray, silent_s: float) -> np.ndarray:
    """Hop by hop; the first seconds are silent."""
    one = NoiseFilter()
    hops = pcm[: len(pcm) // HOP * HOP].reshape(-1, HOP)
    return np.concatenate(
        [one.push(hop, is_silent=at * HOP < silent_s * RATE_HZ) for at, hop in enumerate(hops)]
    )


def test_a_quiet_line_is_only_late() -> None:
    pcm = tone(700, 1.0, RATE_HZ, amplitude=0.2).astype(np.float32)
    pcm[: RATE_HZ // 4] = 0
    out = filtered(pcm, 0.2)
    assert out[HOP:] == pytest.approx(pcm[: len(out) - HOP], abs=1e-3)


def test_noise_becomes_less_and_speech_stays() -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, 2 * RATE_HZ).astype(np.float32)
    pcm = noise.copy()
    pcm[RATE_HZ:] += tone(700, 1.0, RATE_HZ, amplitude=0.3).astype(np.float32)
    out = filtered(pcm, 1.0)
    half = RATE_HZ // 2
    assert np.std(out[half:RATE_HZ]) < 0.4 * np.std(noise)
    assert np.std(out[RATE_HZ + half :]) == pytest.approx(np.std(pcm[RATE_HZ + half :]), rel=0.1)
