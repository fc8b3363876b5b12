"""Music has pitch, goes on as long as it should, and has drums where the style has."""

import numpy as np
import pytest

from model.music import STYLES, music

RATE_HZ = 16_000


@pytest.mark.parametrize("style", STYLES)
def test_tones_stand_out(style: str) -> None:
    sound = music(style, 4 * RATE_HZ, RATE_HZ, np.random.default_rng(3))
    assert sound.shape == (4 * RATE_HZ,)
    assert np.sqrt(np.mean(np.square(sound))) == pytest.approx(1, rel=1e-3)
    spectrum = np.abs(np.fft.rfft(sound)) ** 2
    loudest = np.sort(spectrum)[::-1]
    assert loudest[: len(loudest) // 50].sum() > 0.7 * spectrum.sum(), (
        "few frequencies hold most of the power"
    )
    seconds = np.square(sound).reshape(4, -1).mean(1)
    assert seconds.min() > 0.05, "it does not stop"


def test_styles_and_seeds_differ() -> None:
    made = [music(style, RATE_HZ, RATE_HZ, np.random.default_rng(n)) for style in STYLES for n in (0, 1)]
    alike = np.abs(np.corrcoef(np.stack(made)))
    assert alike[~np.eye(len(made), dtype=bool)].max() < 0.8
    np.testing.assert_array_equal(made[0], music(STYLES[0], RATE_HZ, RATE_HZ, np.random.default_rng(0)))


def test_a_beat_has_onsets() -> None:
    def crest(style: str) -> float:
        sound = music(style, 4 * RATE_HZ, RATE_HZ, np.random.default_rng(1))
        high = np.diff(sound, n=2)
        power = np.square(high[: len(high) // 160 * 160]).reshape(-1, 160).mean(1)
        return float(power.max() / np.median(power))

    assert crest("beat") > 5 * crest("chords")
