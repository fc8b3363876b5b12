"""As many packets are lost as asked, in bursts as long as asked, and hiding them is better than not."""

import numpy as np
import pytest

from model.packet_loss import PACKET_S, Concealment, Loss, Pcm, conceal, draw_lost

RATE_HZ = 8_000
SIZE = round(PACKET_S * RATE_HZ)


def _buzz(seconds: float) -> Pcm:
    times_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    wave = sum(np.sin(2 * np.pi * 137 * n * times_s) / n for n in range(1, 12))
    return np.asarray(0.1 * wave, np.float32)


@pytest.mark.parametrize(("rate", "burst"), [(0.01, 1.0), (0.05, 3.0), (0.2, 1.5)])
def test_rate_and_bursts_are_as_asked(rate: float, burst: float) -> None:
    lost = draw_lost(200_000, Loss(rate, burst), np.random.default_rng(0))
    assert lost.mean() == pytest.approx(rate, rel=0.1)
    num_bursts = np.count_nonzero(np.diff(lost.astype(int)) == 1) + lost[0]
    assert lost.sum() / num_bursts == pytest.approx(burst, rel=0.1)


def test_no_loss_and_all_lost() -> None:
    rng = np.random.default_rng(0)
    assert not draw_lost(1000, Loss(0.0), rng).any()
    assert draw_lost(1000, Loss(1.0), rng).mean() > 0.3


def test_what_arrived_is_untouched() -> None:
    pcm = _buzz(1.0)[:-37]
    lost = np.zeros(50, bool)
    lost[[10, 11, 30, 49]] = True
    kinds: tuple[Concealment, ...] = ("silence", "repeat", "waveform")
    for kind in kinds:
        heard = conceal(pcm, RATE_HZ, lost, kind)
        assert heard.shape == pcm.shape
        changed = np.flatnonzero(heard != pcm) // SIZE
        assert set(changed) == {10, 11, 12, 30, 31, 49}
        assert np.flatnonzero(heard != pcm)[np.flatnonzero(changed == 12)].max() < 12.25 * SIZE


def _error_db(kind: Concealment, lost: np.ndarray) -> float:
    pcm = _buzz(1.0)
    gone = np.repeat(lost, SIZE)
    error = conceal(pcm, RATE_HZ, lost, kind) - pcm
    return float(10 * np.log10(np.square(error[gone]).mean() / np.square(pcm[gone]).mean()))


def test_a_receiver_that_looks_for_the_pitch_hides_best() -> None:
    lost = np.zeros(50, bool)
    lost[[10, 20, 30, 40]] = True
    silence, repeated, found = (_error_db(kind, lost) for kind in ("silence", "repeat", "waveform"))
    assert silence == pytest.approx(0, abs=0.1)
    assert found < -12
    assert found < repeated - 6


def test_a_long_gap_fades_to_silence() -> None:
    lost = np.zeros(50, bool)
    lost[20:30] = True
    kinds: tuple[Concealment, ...] = ("repeat", "waveform")
    for kind in kinds:
        heard = conceal(_buzz(1.0), RATE_HZ, lost, kind)
        first, last = heard[20 * SIZE : 21 * SIZE], heard[25 * SIZE : 30 * SIZE]
        assert np.square(first).mean() > 0.5 * np.square(_buzz(1.0)).mean()
        assert not last.any()
