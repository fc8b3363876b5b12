"""Two vowels as a caller and as the agent: what clips are made of."""

import numpy as np
from numpy.typing import NDArray

from model.order_line import Intent, Request
from model.training.agent_voice import AgentSentence
from model.training.bank import Stem, Turn
from model.voices import SILENCE, TimedPhone
from tests.signals import tone

RATE = 24_000
VOICED = [TimedPhone("aa", 0.0, 0.5), TimedPhone(SILENCE, 0.5, 0.7), TimedPhone("iy", 0.7, 1.0)]


def voice() -> NDArray[np.float32]:
    """A tone with a silence of 0.2 s."""
    pcm = tone(300, 1.0, RATE)
    pcm[12_000:16_800] = 0
    return pcm


def sentence() -> AgentSentence:
    """The agent's."""
    return AgentSentence("ah ee", voice(), [], VOICED)


def stem() -> Stem:
    """A caller who says it."""
    return Stem("tone", [Turn(Request(Intent.YES, "ah ee"), voice(), [], VOICED)])
