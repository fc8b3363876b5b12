"""The cascade's voice: a sentence in, sound with the times of its words out; float32 at 24 kHz."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.voices import AGENT_VOICE, SAMPLE_RATE_HZ, Voice, synthesize

ESPEAK_VOICE = Voice("espeak", "en-us")
LEAD_S = 0.03  # kept of the silence before a sentence's first word: it would lengthen every gap
_ENGINES = threading.Lock()  # they keep global state
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence as sound, float32 [T] at 24 kHz, and when each of its words begins."""

    text: str
    pcm: NDArray[np.float32]
    words: tuple[tuple[str, float], ...]  # word, start in seconds


def sentences(text: str) -> list[str]:
    """The sentences of a text, as they can be said one after another."""
    return [part for part in _SENTENCE_END.split(" ".join(text.split())) if any(map(str.isalnum, part))]


def whole_sentences(parts: Iterator[str]) -> Iterator[str]:
    """Sentences out of a text that comes in pieces, each as soon as it is whole."""
    rest = ""
    for part in parts:
        *whole, rest = _SENTENCE_END.split(rest + part)
        yield from (sentence for sentence in whole if any(map(str.isalnum, sentence)))
    if any(map(str.isalnum, rest)):
        yield rest.strip()


def ascii_words(text: str) -> str:
    """What a synthesiser of English can read: ASCII, no markup."""
    plain = text.replace("\u2019", "'").translate(dict.fromkeys((0x2013, 0x2014), ","))  # quote, dashes
    kept = re.sub(r"[^A-Za-z0-9'.,!?;: -]", " ", plain)
    return " ".join(kept.split())


class Synthesiser:
    """flite or espeak-ng in this process, one sentence at a time."""

    def __init__(self, engine: str) -> None:
        self._voice = ESPEAK_VOICE if engine == "espeak" else AGENT_VOICE

    def speak(self, sentence: str) -> Spoken:
        """The sentence as sound. Raises SpeechSynthesisError."""
        with _ENGINES:
            said = synthesize(ascii_words(sentence), self._voice)
        cut_s = max(0.0, said.lead_s - LEAD_S)
        words = tuple((word.text, word.start_s - cut_s) for word in said.words)
        return Spoken(sentence, said.pcm[round(cut_s * SAMPLE_RATE_HZ) :], words)


def spread_words(sentence: str, seconds: float) -> tuple[tuple[str, float], ...]:
    """Times for words whose sound came without any: by their letters."""
    words = sentence.split()
    letters = max(1, sum(len(word) + 1 for word in words))
    times, at = [], 0
    for word in words:
        times.append((word, seconds * at / letters))
        at += len(word) + 1
    return tuple(times)
