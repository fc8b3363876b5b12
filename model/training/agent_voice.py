"""The agent's sentences as sound: the decoder learns the voice, the language model the lines."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from model.order_line import AGENT_LINES, Order, caller_vocabulary, every_order, readback
from model.voices import AGENT_VOICE, TimedPhone, TimedWord, synthesize

LEVEL = 0.35  # peak of the agent's voice
RATE_HZ = 24_000
FADE_SAMPLES = 120


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


def _part(sentence: AgentSentence, first: int, stop: int) -> AgentSentence:
    """The stretch from the start of word `first` to the start of word `stop` (or the sentence's end)."""
    start_s = sentence.words[first].start_s if first else 0.0
    end_s = sentence.words[stop].start_s if stop < len(sentence.words) else len(sentence.pcm) / RATE_HZ
    start, end = round(start_s * RATE_HZ), round(end_s * RATE_HZ)
    pcm = sentence.pcm[start:end].copy()
    ramp = np.linspace(0, 1, FADE_SAMPLES, dtype=np.float32)
    pcm[:FADE_SAMPLES] *= ramp
    pcm[-FADE_SAMPLES:] *= ramp[::-1]
    words = [TimedWord(w.text, w.start_s - start_s, w.end_s - start_s) for w in sentence.words[first:stop]]
    phones = [
        TimedPhone(p.phone, max(0.0, p.start_s - start_s), min(p.end_s, end_s) - start_s)
        for p in sentence.phones
        if p.end_s > start_s and p.start_s < end_s
    ]
    return AgentSentence(" ".join(w.text for w in words), pcm, words, phones)


@cache
def _head(article: str, size: str | None) -> AgentSentence:
    drink = "latte" if article == "A" else "americano"
    sentence = speak(f"{article} {f'{size} ' if size else ''}{drink} with milk. Is that right?")
    return _part(sentence, 0, 2 if size else 1)


@cache
def _drink(drink: str) -> AgentSentence:
    return _part(speak(f"A large {drink} with milk. Is that right?"), 2, 2 + len(drink.split()))


@cache
def _milk(milk: str) -> AgentSentence:
    return _part(speak(f"A large latte with {milk}. Is that right?"), 3, 4 + len(milk.split()))


@cache
def _question() -> AgentSentence:
    return _part(speak("A large latte with milk. Is that right?"), 5, 99)


def speak_readback(order: Order) -> AgentSentence:
    """A read-back whose sound up to any word is the same whatever follows."""
    text = readback(order).text
    parts = [_head(text.split()[0], order.size), _drink(order.drink)]
    parts += [_milk(order.milk)] if order.milk else []
    parts.append(_question())
    words, phones, at_s = [], [], 0.0
    for part in parts:
        words += [TimedWord(w.text, w.start_s + at_s, w.end_s + at_s) for w in part.words]
        phones += [TimedPhone(p.phone, p.start_s + at_s, p.end_s + at_s) for p in part.phones]
        at_s += len(part.pcm) / RATE_HZ
    return AgentSentence(text, np.concatenate([part.pcm for part in parts]), words, phones)


def line_sentences() -> list[AgentSentence]:
    """Everything that the agent can be asked to say on the order line."""
    return [speak(line.text) for line in AGENT_LINES] + [speak_readback(order) for order in every_order()]


def other_texts(count: int, seed: int) -> list[str]:
    """Word strings off the order line, so that the decoder hears every phone in other company."""
    rng = random.Random(seed)
    words = caller_vocabulary()
    return [" ".join(rng.choices(words, k=rng.randint(4, 9))).capitalize() + "." for _ in range(count)]
