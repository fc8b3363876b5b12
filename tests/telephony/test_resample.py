"""The resampler: exact length, no seams, short wait, clean spectrum."""

import numpy as np
import pytest

from telephony.errors import SettingsError
from telephony.resample import WAIT_S, StreamResampler
from tests.signals import fit_tone, noise, tone

MODEL_HZ = 24_000
PAIRS = [(rate, MODEL_HZ) for rate in (8_000, 16_000, 48_000)] + [
    (MODEL_HZ, rate) for rate in (8_000, 16_000, 48_000)
]


@pytest.mark.parametrize("chunk", [1, 7, 160, 1921, 8000])
@pytest.mark.parametrize(("in_hz", "out_hz"), PAIRS)
def test_chunk_size_does_not_change_the_output(in_hz: int, out_hz: int, chunk: int) -> None:
    pcm = noise(0.5, in_hz)
    whole = StreamResampler(in_hz, out_hz).push(pcm)
    stream = StreamResampler(in_hz, out_hz)
    parts = [stream.push(pcm[i : i + chunk]) for i in range(0, len(pcm), chunk)]
    assert len(whole) == out_hz // 2
    assert whole.dtype == np.float32
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)


@pytest.mark.parametrize(("in_hz", "out_hz"), PAIRS)
def test_a_20_ms_chunk_always_gives_20_ms(in_hz: int, out_hz: int) -> None:
    stream = StreamResampler(in_hz, out_hz)
    lengths = {len(stream.push(np.zeros(in_hz // 50, np.float32))) for _ in range(20)}
    assert lengths == {out_hz // 50}


@pytest.mark.parametrize(("in_hz", "out_hz"), PAIRS)
def test_a_click_waits_two_milliseconds_at_most(in_hz: int, out_hz: int) -> None:
    click = np.zeros(in_hz // 10, np.float32)
    click[240 * in_hz // MODEL_HZ] = 1.0  # at 10 ms
    out = StreamResampler(in_hz, out_hz).push(click)
    wait_s = int(np.argmax(np.abs(out))) / out_hz - 0.010
    assert wait_s == pytest.approx(WAIT_S, abs=0.5 / out_hz)
    assert WAIT_S <= 0.002


@pytest.mark.parametrize("hz", [300, 1000, 2000, 3000])
def test_raising_telephone_sound_leaves_no_image_above_minus_80_db(hz: int) -> None:
    out = StreamResampler(8_000, MODEL_HZ).push(tone(hz, 1.0, 8_000))
    found = fit_tone(out[480:-480], hz, MODEL_HZ)
    assert found.snr_db >= 80
    assert found.amplitude == pytest.approx(0.5, rel=0.001)  # 0.01 dB


@pytest.mark.parametrize("hz", [5000, 6000, 8000, 11_000])
def test_what_the_telephone_cannot_carry_does_not_fold_back(hz: int) -> None:
    out = StreamResampler(MODEL_HZ, 8_000).push(tone(hz, 1.0, MODEL_HZ))[160:-160]
    assert 20 * np.log10(np.sqrt(np.mean(out**2)) / (0.5 / np.sqrt(2))) <= -80


@pytest.mark.parametrize(("in_hz", "out_hz"), [pair for pair in PAIRS if 8_000 not in pair])
@pytest.mark.parametrize("hz", [300, 3400, 6000, 7000])
def test_wideband_passes_whole(in_hz: int, out_hz: int, hz: int) -> None:
    found = fit_tone(StreamResampler(in_hz, out_hz).push(tone(hz, 1.0, in_hz))[480:-480], hz, out_hz)
    assert found.snr_db >= 80
    assert found.amplitude == pytest.approx(0.5, rel=0.001)


def test_the_past_does_not_change_when_the_future_does() -> None:
    pcm = noise(0.2, 8_000)
    other = pcm.copy()
    other[800:] *= -1
    first, second = (StreamResampler(8_000, MODEL_HZ).push(x) for x in (pcm, other))
    np.testing.assert_array_equal(first[:2400], second[:2400])


def test_reset_forgets() -> None:
    stream = StreamResampler(MODEL_HZ, 8_000)
    first = stream.push(noise(0.1, MODEL_HZ))
    stream.push(noise(0.0101, MODEL_HZ, seed=1))
    stream.reset()
    np.testing.assert_array_equal(stream.push(noise(0.1, MODEL_HZ)), first)


def test_a_rate_we_do_not_serve_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"44100 Hz; choose from .*8000"):
        StreamResampler(44_100, MODEL_HZ)
