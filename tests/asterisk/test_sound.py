"""The sound that the trial against Asterisk is judged by: what is right is found so, and nothing else."""

import numpy as np
import pytest

from telephony.endpoint import SAMPLE_RATE_HZ as RATE
from tests.asterisk.sound import judge_ladder, judge_silence, judge_tone, ladder
from tests.signals import Pcm, noise, tone

SECONDS = 6
TAIL = np.zeros(2 * RATE, np.float32)


def sent(seconds: int = SECONDS) -> Pcm:
    return np.concatenate([ladder(0, seconds * RATE), TAIL])


def late(pcm: Pcm, seconds: float) -> Pcm:
    return np.concatenate([np.zeros(round(seconds * RATE), np.float32), pcm])


def test_the_sound_is_the_same_in_any_pieces_and_has_no_clicks() -> None:
    whole = ladder(0, 3 * RATE)
    parts = [ladder(start, 1920) for start in range(0, 3 * RATE, 1920)]
    np.testing.assert_allclose(np.concatenate(parts)[: 3 * RATE], whole, atol=1e-6)
    assert np.abs(np.diff(whole)).max() < 0.3 * 2 * np.pi * 850 / RATE * 1.01


@pytest.mark.parametrize("lag_s", [0.0, 0.123, 0.98, 1.4])
def test_what_came_back_late_and_softer_is_right(lag_s: float) -> None:
    heard = late(sent() * 0.8, lag_s)
    assert judge_ladder(heard + noise(len(heard) / RATE, RATE, 0.005), SECONDS) == [True] * SECONDS


def test_jitter_buffers_may_move_it_by_and_by() -> None:
    pcm, moved = sent(30), []
    for second in range(30):  # 20 ms more in each second: 0.6 s in all
        moved += [np.zeros(480, np.float32), pcm[second * RATE : (second + 1) * RATE]]
    assert judge_ladder(np.concatenate([*moved, TAIL]), 30) == [True] * 30


def test_a_jump_is_wrong_once() -> None:
    pcm = sent(10)
    jumped = np.concatenate([pcm[: 4 * RATE], np.zeros(RATE // 2, np.float32), pcm[4 * RATE :]])
    assert judge_ladder(jumped, 10) == [second != 4 for second in range(10)]


def test_each_second_that_is_not_itself_is_found() -> None:
    pcm = sent(10)
    for second, wrong in (
        (2, np.zeros(RATE, np.float32)),
        (4, pcm[:RATE]),  # an earlier one again
        (6, pcm[6 * RATE : 7 * RATE] * 0.5),
        (8, noise(1.0, RATE, 0.2)),
    ):
        pcm[second * RATE : (second + 1) * RATE] = wrong
    assert judge_ladder(late(pcm, 1.4), 10) == [n not in (2, 4, 6, 8) for n in range(10)]


def test_what_was_never_heard_is_wrong() -> None:
    assert judge_ladder(np.zeros(0, np.float32), 2) == [False, False]
    assert judge_ladder(ladder(0, RATE), 3) == [True, False, False]


def test_a_tone_is_told_from_others_and_silence_from_sound() -> None:
    heard = np.concatenate([tone(1004, 2, 8000), tone(990, 1, 8000), np.zeros(8000, np.float32)])
    assert judge_tone(heard, 8000) == [True, True, False, False]
    assert judge_silence(heard, 8000) == [False, False, False, True]
