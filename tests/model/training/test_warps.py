"""A recording at another speed: what is said lies where the truth has it, a tone moves with the speed."""

import random

import numpy as np
import pytest

from model.order_line import Intent, Request
from model.training.bank import SAMPLE_RATE_HZ, Stem, Turn
from model.training.warps import draw_speed, warp_stem, warp_turn
from model.voices_phones import TimedPhone, TimedWord


def _tone(hz: float = 500.0) -> Turn:
    """A second of sound, in it a tone from 0.3 to 0.7 s, which is a word."""
    times = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    pcm = np.where((times >= 0.3) & (times < 0.7), 0.3 * np.sin(2 * np.pi * hz * times), 0).astype(np.float32)
    words, phones = [TimedWord("oh", 0.3, 0.7)], [TimedPhone("ow", 0.3, 0.7)]
    return Turn(Request(Intent.OTHER, "oh"), pcm, words, phones, ((0.8, 0.9),), clip="made/oh")


@pytest.mark.parametrize("speed", [0.85, 1.15])
def test_sound_and_times_move_together(speed: float) -> None:
    turn = warp_turn(_tone(), speed)
    assert turn.pcm.dtype == np.float32
    assert len(turn.pcm) == pytest.approx(SAMPLE_RATE_HZ / speed, abs=1)
    loud = np.flatnonzero(np.abs(turn.pcm) > 0.05) / SAMPLE_RATE_HZ
    assert (loud[0], loud[-1]) == pytest.approx((turn.words[0].start_s, turn.words[0].end_s), abs=0.002)
    assert (turn.phones[0].start_s, turn.phones[0].end_s) == (turn.words[0].start_s, turn.words[0].end_s)
    assert turn.pauses[0] == pytest.approx((0.8 / speed, 0.9 / speed))
    spectrum = np.abs(np.fft.rfft(turn.pcm))
    assert np.argmax(spectrum) * SAMPLE_RATE_HZ / len(turn.pcm) == pytest.approx(500 * speed, abs=2)
    assert turn.clip == "made/oh" and turn.request == _tone().request


def test_at_its_own_speed_a_turn_stays_as_it_is() -> None:
    turn = _tone()
    assert warp_turn(turn, 1.0) is turn


def test_speeds_spread_around_the_recorded_one() -> None:
    speeds = [draw_speed(random.Random(n)) for n in range(300)]
    assert (min(speeds), max(speeds)) == (0.85, 1.15)
    assert sum(speeds) / 300 == pytest.approx(1.0, abs=0.02)


def test_a_speaker_has_one_speed() -> None:
    stem = Stem("recorded/made", [_tone()] * 6)
    warped = warp_stem(stem, random.Random(3), 4)
    assert warped.voice == stem.voice and len(warped.turns) == 4
    assert len({len(turn.pcm) for turn in warped.turns}) == 1
    assert len(warped.turns[0].pcm) != SAMPLE_RATE_HZ
    assert len(warp_stem(stem, random.Random(3)).turns) == 6
    assert len(warp_stem(Stem("one", [_tone()]), random.Random(3), 4).turns) == 1
