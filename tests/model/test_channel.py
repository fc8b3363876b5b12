"""A telephone line leaves length and timing alone and does its worst to the rest."""

import numpy as np
import pytest

from model.channel import Line, Pcm, active_rms, draw_line, g711, resample, telephone

RATE_HZ = 24_000


def tone(hz: float, seconds: float = 1.0, level: float = 0.1) -> Pcm:
    return np.asarray(
        level * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ), np.float32
    )


def power_db(pcm: Pcm, low_hz: float, high_hz: float) -> float:
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm)))) ** 2
    hz = np.fft.rfftfreq(len(pcm), 1 / RATE_HZ)
    return 10 * float(np.log10(spectrum[(hz >= low_hz) & (hz < high_hz)].sum() + 1e-20))


@pytest.mark.parametrize("num_samples", [1920, 24_001, 50_000])
@pytest.mark.parametrize("codec", ["pcmu", "pcma", "g722"])
def test_length_and_timing_stay(codec: str, num_samples: int) -> None:
    rng = np.random.default_rng(0)
    pcm = np.zeros(num_samples, np.float32)
    pcm[960:] = tone(1000, 3)[: num_samples - 960]
    heard = telephone(pcm, rng, Line(codec=codec))  # type: ignore[arg-type]
    assert heard.shape == pcm.shape and heard.dtype == np.float32
    onset = int(np.argmax(np.abs(heard) > 0.3 * np.abs(heard).max()))
    assert abs(onset - 960) <= 24


@pytest.mark.parametrize("level_dbfs", [-35.0, -20.0])
def test_speech_comes_out_at_the_lines_level(level_dbfs: float) -> None:
    heard = telephone(tone(700), np.random.default_rng(0), Line(level_dbfs=level_dbfs))
    assert 20 * np.log10(active_rms(heard, RATE_HZ)) == pytest.approx(level_dbfs, abs=0.5)


def test_nothing_above_the_band_survives_or_is_made() -> None:
    rng = np.random.default_rng(0)
    heard = telephone(tone(1000) + tone(5000), rng, Line(codec="pcmu"))
    assert power_db(heard, 4200, 12_000) < power_db(heard, 900, 1100) - 45
    wide = telephone(tone(1000) + tone(5000), rng, Line(codec="g722", high_hz=7000, low_hz=80))
    assert power_db(wide, 4900, 5100) > power_db(wide, 900, 1100) - 3


@pytest.mark.parametrize("noise", ["white", "pink", "babble"])
@pytest.mark.parametrize("snr_db", [10.0, 30.0])
def test_noise_lies_at_its_ratio_in_the_pauses_too(noise: str, snr_db: float) -> None:
    pcm = np.concatenate([tone(700), np.zeros(3 * RATE_HZ, np.float32)])
    line = Line(codec="g722", noise=noise, snr_db=snr_db)  # type: ignore[arg-type]
    heard = telephone(pcm, np.random.default_rng(0), line)
    rms = float(np.sqrt(np.mean(np.square(heard[int(1.5 * RATE_HZ) :]))))
    assert line.level_dbfs - 20 * np.log10(rms) == pytest.approx(snr_db, abs=2.0)


def test_g711_gives_its_own_values_back() -> None:
    """Values of ITU-T G.711's decoder tables, 16-bit: the first steps, a change of segment, the last."""
    for codec, values in (("pcmu", [0, 8, 120, 132, 32_124]), ("pcma", [8, 24, 504, 528, 32_256])):
        pcm = np.array(values, np.float32) / 32_768
        np.testing.assert_array_equal(g711(pcm, codec), pcm)  # type: ignore[arg-type]
        np.testing.assert_array_equal(g711(-pcm, codec), -pcm)  # type: ignore[arg-type]
    assert g711(np.array([2.0, -2.0], np.float32), "pcmu").tolist() == [32_124 / 32_768, -32_124 / 32_768]
    speech = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    for codec in ("pcmu", "pcma"):
        error = g711(speech, codec) - speech  # type: ignore[arg-type]
        assert 36 < 10 * np.log10(np.mean(speech**2) / np.mean(error**2)) < 40


def test_silence_stays_silent_on_a_clean_line() -> None:
    assert not telephone(np.zeros(4800, np.float32), np.random.default_rng(0), Line()).any()


def test_drawn_lines_cover_what_is_promised() -> None:
    rng = np.random.default_rng(0)
    lines = [draw_line(rng) for _ in range(500)]
    assert {line.codec for line in lines} == {"pcmu", "pcma", "g722"}
    assert {line.noise for line in lines} == {"none", "white", "pink", "babble"}
    assert np.mean([line.codec == "g722" for line in lines]) == pytest.approx(0.15, abs=0.05)
    assert all(-38 <= line.level_dbfs <= -18 and 10 <= line.snr_db <= 45 for line in lines)


def test_resample_keeps_a_tone_in_place_at_odd_ratios() -> None:
    rate_hz = 22_050 * 0.88
    source = np.sin(2 * np.pi * 440 * np.arange(int(rate_hz)) / rate_hz).astype(np.float32)
    wanted = np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)
    heard = resample(source, rate_hz, RATE_HZ)
    np.testing.assert_allclose(heard[500:-500], wanted[500 : len(heard) - 500], atol=0.05)
