"""The agent's sentences as sound: the decoder learns the voice, the language model the lines."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.order_line import AGENT_LINES, caller_vocabulary, every_order, readback
from model.voices import AGENT_VOICE, TimedPhone, TimedWord, synthesize

LEVEL = 0.35  # peak of the agent's voice


@dataclass(frozen=True)
class AgentSentence:
    """One sentence in the agent's voice: float32 [T] at 24 kHz, words and phones timed from its start."""

    text: str
    pcm: NDArray[np.float32]
    words: list[TimedWord]
    phones: list[TimedPhone]


def speak(text: str) -> AgentSentence:
    """A sentence with the silence before its first and after its last word cut to 40 ms and 120 ms."""
    speech = synthesize(text, AGENT_VOICE, rate=1.0)
    head_s = max(0.0, speech.words[0].start_s - 0.04)
    start, end = round(24_000 * head_s), round(24_000 * (speech.words[-1].end_s + 0.12))
    peak = float(np.abs(speech.pcm).max())
    pcm = (speech.pcm[start:end] * (LEVEL / peak)).astype(np.float32)
    words = [TimedWord(w.text, w.start_s - head_s, w.end_s - head_s) for w in speech.words]
    phones = [TimedPhone(p.phone, p.start_s - head_s, p.end_s - head_s) for p in speech.phones]
    return AgentSentence(text, pcm, words, phones)


def line_texts() -> list[str]:
    """Everything the agent can be asked to say on the order line."""
    return [line.text for line in AGENT_LINES] + [readback(order).text for order in every_order()]


def other_texts(count: int, seed: int) -> list[str]:
    """Word strings off the order line, so that the decoder hears every phone in other company."""
    rng = random.Random(seed)
    words = caller_vocabulary()
    return [" ".join(rng.choices(words, k=rng.randint(4, 9))).capitalize() + "." for _ in range(count)]
