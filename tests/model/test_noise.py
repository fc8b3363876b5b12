"""Each sound is what it is called, of the length and level that are promised."""

import numpy as np
import pytest

from model.noise import STEADY, Pcm, babble, cough, lasting, steady, throat_clearing, unit_rms

RATE_HZ = 24_000


def _share(pcm: Pcm, low_hz: float, high_hz: float) -> float:
    """Of the power that lies in a band."""
    power = np.abs(np.fft.rfft(pcm)) ** 2
    hz = np.fft.rfftfreq(len(pcm), 1 / RATE_HZ)
    return float(power[(hz >= low_hz) & (hz < high_hz)].sum() / power.sum())


@pytest.mark.parametrize("kind", STEADY)
@pytest.mark.parametrize("num_samples", [1, 4001, 2 * RATE_HZ])
def test_length_and_level(kind: str, num_samples: int) -> None:
    sound = steady(kind, num_samples, RATE_HZ, np.random.default_rng(0))
    assert sound.shape == (num_samples,) and sound.dtype == np.float32
    assert np.sqrt(np.mean(np.square(sound))) == pytest.approx(1, rel=1e-3)
    np.testing.assert_array_equal(sound, steady(kind, num_samples, RATE_HZ, np.random.default_rng(0)))


def test_each_kind_has_its_spectrum() -> None:
    rng = np.random.default_rng(1)
    made = {kind: steady(kind, 4 * RATE_HZ, RATE_HZ, rng) for kind in STEADY}
    assert _share(made["white"], 0, 6000) == pytest.approx(0.5, abs=0.03)
    octaves = [_share(made["pink"], hz, 2 * hz) for hz in (500, 1000, 2000)]
    assert max(octaves) / min(octaves) < 1.3, "pink noise has one power in each octave"
    assert _share(made["rumble"], 0, 300) > 0.6
    assert max(_share(made["hum"], hz - 3, hz + 3) for hz in (100, 120)) > 0.1
    assert _share(made["murmur"], 300, 2300) > 1.2 * _share(made["pink"], 300, 2300)


def test_unit_rms_leaves_silence_alone() -> None:
    assert not unit_rms(np.zeros(10)).any()
    assert unit_rms(np.zeros(0)).shape == (0,)


def test_recordings_last_as_long_as_wanted() -> None:
    sounds = [np.arange(100, dtype=np.float32), -np.arange(50, dtype=np.float32)]
    lasted = lasting(sounds, 1000, np.random.default_rng(0))
    assert lasted.shape == (1000,)
    steps = np.diff(np.abs(lasted))
    assert np.isin(steps[steps > 0], [1]).all(), "pieces are whole but for the first and the last"


def test_babble_is_several_at_once() -> None:
    rng = np.random.default_rng(0)
    on_off = [
        np.repeat(rng.random(40) < 0.3, 600).astype(np.float32) * rng.normal(0, 1, 24_000) for _ in range(8)
    ]
    speech = [np.asarray(x, np.float32) for x in on_off]
    alone, together = unit_rms(speech[0]), babble(speech, 24_000, rng)

    def pauses(pcm: Pcm) -> float:
        return float(np.mean(np.square(pcm).reshape(-1, 600).mean(1) < 0.05))

    assert pauses(alone) > 0.5
    assert pauses(together) < 0.25


@pytest.mark.parametrize("make", [cough, throat_clearing])
def test_throats_are_short_loud_and_never_twice_the_same(make: object) -> None:
    sounds = [make(RATE_HZ, np.random.default_rng(n)) for n in range(5)]  # type: ignore[operator]
    for sound in sounds:
        assert 0.25 < len(sound) / RATE_HZ < 2.5
        assert np.abs(sound).max() == pytest.approx(1)
        assert 0.3 < _share(sound, 300, 3400), "a telephone lets it through"
    assert len({len(sound) for sound in sounds}) == 5
