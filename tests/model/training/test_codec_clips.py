"""Clips tell the truth about what sounds in them, and batches hold as many as asked for."""

import random

import numpy as np
import pytest

from model.order_line import Intent, Request
from model.training.bank import Stem, Turn
from model.training.codec_clips import (
    CLIP_FRAMES,
    CLIP_SAMPLES,
    PHONE_DELAY_S,
    agent_clip,
    caller_clip,
    clip_batches,
    phone_times_s,
)
from model.training.feed import Share
from model.voices import PHONE_IDS, SILENCE, TimedPhone
from tests.model.training.clips import RATE, sentence, stem
from tests.signals import tone


def test_a_phone_is_asked_for_after_its_sound() -> None:
    times = phone_times_s(2)
    assert times.tolist() == pytest.approx([0.02 - PHONE_DELAY_S, 0.06 - PHONE_DELAY_S])


@pytest.mark.parametrize("seed", range(8))
def test_labels_of_an_agent_clip_lie_on_its_sound(seed: int) -> None:
    pcm, labels = agent_clip([sentence()], random.Random(seed))
    assert pcm.shape == (CLIP_SAMPLES,)
    assert labels.shape == (2 * CLIP_FRAMES,)
    times = phone_times_s(len(labels))
    for at_s, label in zip(times[2:], labels[2:], strict=True):
        around = pcm[max(0, round((at_s - 0.002) * RATE)) : round((at_s + 0.002) * RATE)]
        sounding = bool(np.abs(around).max() > 0.2)
        near_edge = np.abs(around).min() == 0 and sounding
        assert near_edge or sounding == (label != PHONE_IDS[SILENCE])


def test_the_end_of_a_long_turn_is_heard_too() -> None:
    long = [TimedPhone("aa", 0.0, 7.5), TimedPhone("iy", 7.5, 8.0)]
    caller = Stem("long", [Turn(Request(Intent.OTHER, "ah ee"), tone(300, 8.0, RATE), [], long)])
    rng, draws = random.Random(1), np.random.default_rng(1)
    ends = [PHONE_IDS["iy"] in caller_clip(caller, rng, draws)[1] for _ in range(40)]
    assert 5 < sum(ends) < 35


def test_a_caller_clip_has_turns_over_a_telephone() -> None:
    pcm, labels = caller_clip(stem(), random.Random(1), np.random.default_rng(1))
    assert pcm.dtype == np.float32
    assert np.abs(pcm).max() <= 1
    assert {PHONE_IDS["aa"], PHONE_IDS["iy"], PHONE_IDS[SILENCE]} == set(labels.tolist())
    steps = pcm.reshape(2 * CLIP_FRAMES, -1)[:-1]
    level = np.sqrt((steps**2).mean(1))
    voiced = labels[1:] != PHONE_IDS[SILENCE]  # asked for one step late
    assert np.median(level[voiced]) > 3 * np.median(level[~voiced])


def test_the_agents_clips_come_last() -> None:
    pcm, labels = next(clip_batches(lambda _: stem(), [sentence()], (2, 3), Share(0, 1, 4)))
    assert pcm.shape == (5, CLIP_SAMPLES) and labels.shape == (5, 2 * CLIP_FRAMES)
    has_digital_silence = [bool((clip == 0).any()) for clip in pcm]
    assert has_digital_silence == [False, False, True, True, True], "a line is never quite silent"
