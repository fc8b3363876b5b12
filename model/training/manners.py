"""The codes of how a caller speaks (`model.prosody`), and what of them the language model hears in training.

In training they are the truth, told as the listener tells it: not at once, not always, and only at its end
whether a sentence was calm or hurried. So the language model learns to answer by what it is told, and how
sure that is, is the listener's business.
"""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

from model.phrasings import Tone

NOBODY = 0  # speaks, or it cannot be told yet how
MANNERS = {tone: code for code, tone in enumerate(Tone, start=1)}
NUM_CODES = 1 + len(MANNERS)
# In logits, of the listener's: half of the utterances that it learns from are calm, of real callers most are.
CALM_FAVOUR = 1.0

FIRST_FRAMES = 6  # half a second of speech tells nothing
AFTER_FRAMES = 4  # that a manner is still told after the last word
SETTLED_FRAMES = 4  # before the last word: from then on it is what it will be
MISSED_SHARE = 0.1  # of frames
CONFUSED_SHARE = 0.25  # of frames before that: calm heard as hurried, and the other way round
_CONFUSED = {MANNERS[Tone.CALM]: MANNERS[Tone.HURRIED], MANNERS[Tone.HURRIED]: MANNERS[Tone.CALM]}
_ASIDE_SHARE = 0.5  # of sounds that are not for the agent, in which some manner is told


def heard_manner(manner: int | None, num_frames: int, rng: random.Random) -> NDArray[np.int64]:
    """What is told while a turn of so many frames lasts, and after it: int64 [num_frames + AFTER_FRAMES].

    None is a sound that is not for the agent: anything may be told of it.
    """
    if manner is None:
        manner = rng.choice(list(MANNERS.values())) if rng.random() < _ASIDE_SHARE else NOBODY
    draws = np.random.default_rng(rng.getrandbits(32))
    told = np.full(num_frames + AFTER_FRAMES, manner, np.int64)
    early = slice(0, max(0, num_frames - SETTLED_FRAMES))
    is_confused = draws.random(len(told[early])) < CONFUSED_SHARE
    told[early][is_confused] = _CONFUSED.get(manner, manner)
    told[draws.random(len(told)) < MISSED_SHARE] = NOBODY
    told[:FIRST_FRAMES] = NOBODY
    return told
