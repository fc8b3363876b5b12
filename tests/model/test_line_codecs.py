"""What goes through a codec comes out in time, of its length, and as well as the codec is known to be."""

import numpy as np
import pytest

from model import line_codecs
from model.line_codecs import RATES_HZ, Codec, Pcm, available, g722, opus, through
from model.voices import Voice, synthesize


def _speech(rate_hz: int) -> Pcm:
    from model.channel import resample

    said = synthesize("a large latte with soy milk please", Voice("flite", "slt")).pcm
    return resample(0.4 * said, 24_000, rate_hz)


def snr_db(heard: Pcm, said: Pcm) -> float:
    return float(10 * np.log10(np.square(said).mean() / np.square(heard - said).mean()))


@pytest.mark.parametrize(
    ("codec", "least_db", "most_db"), [("pcmu", 33, 40), ("pcma", 33, 40), ("g722", 28, 45), ("opus", 6, 30)]
)
def test_delay_is_removed_and_quality_is_the_codecs(codec: Codec, least_db: float, most_db: float) -> None:
    said = _speech(RATES_HZ[codec])
    for some in (said, said[:-1], said[:777]):
        assert through(some, codec, np.random.default_rng(0)).shape == some.shape
    heard = through(said, codec, np.random.default_rng(0))
    assert heard.dtype == np.float32
    assert least_db < snr_db(heard, said) < most_db


def test_opus_gets_better_with_its_bit_rate() -> None:
    said = _speech(24_000)
    low, high = (snr_db(opus(said, bitrate), said) for bitrate in (8_000, 64_000))
    assert high > low + 1
    assert opus(said[:0], 24_000).shape == (0,)


def test_without_the_package_g722_is_approximated_on_the_worse_side(monkeypatch: pytest.MonkeyPatch) -> None:
    said = _speech(16_000)
    real = snr_db(g722(said, np.random.default_rng(0)), said)
    monkeypatch.setattr(line_codecs, "find_spec", lambda name: None)
    approximated = snr_db(g722(said, np.random.default_rng(0)), said)
    assert 0 < real - approximated < 12
    assert approximated == pytest.approx(30.5, abs=1)


def test_opus_is_there_only_with_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(available()) == set(RATES_HZ)
    monkeypatch.setattr(line_codecs, "find_spec", lambda name: None)
    assert available() == ("pcmu", "pcma", "g722")
