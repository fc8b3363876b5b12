"""One recorded speaker heard as many: speed perturbation, which moves rate, F0 and formants together.

Source: T. Ko et al., "Audio augmentation for speech recognition", Interspeech 2015, with a wider spread,
for a few hours of recordings hold few voices.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import scipy.signal

from model.training.bank import Stem, Turn
from model.voices import TimedPhone, TimedWord

_STEPS = 20  # of resampling: a factor is a number of them over this, which keeps the filters short
_LEAST, _MOST = 17, 23  # 0.85 to 1.15 of the speed


def draw_speed(rng: random.Random) -> float:
    """How many times as fast a recording is played, 0.85 to 1.15."""
    return rng.randint(_LEAST, _MOST) / _STEPS


def warp_turn(turn: Turn, speed: float) -> Turn:
    """The turn played so many times as fast, with everything that is timed in it."""
    steps = round(_STEPS * speed)
    if steps == _STEPS:
        return turn
    speed = steps / _STEPS
    return replace(
        turn,
        pcm=scipy.signal.resample_poly(turn.pcm, _STEPS, steps).astype(np.float32),
        words=[TimedWord(w.text, w.start_s / speed, w.end_s / speed) for w in turn.words],
        phones=[TimedPhone(p.phone, p.start_s / speed, p.end_s / speed) for p in turn.phones],
        pauses=tuple((from_s / speed, to_s / speed) for from_s, to_s in turn.pauses),
    )


def warp_stem(stem: Stem, rng: random.Random, num_turns: int | None = None) -> Stem:
    """Another speaker's stem out of one: all its turns, or so many of them, at one speed."""
    speed = draw_speed(rng)
    turns = stem.turns if num_turns is None else rng.sample(stem.turns, min(num_turns, len(stem.turns)))
    return Stem(stem.voice, [warp_turn(turn, speed) for turn in turns])
