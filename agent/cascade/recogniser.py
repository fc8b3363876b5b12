"""The caller's words, as they are spoken: pocketsphinx with the order line's own grammar.

The grammar is a word trigram over the wordings that callers are trained with; held-out ones are not in it.
pocketsphinx keeps the interpreter's lock while it decodes, so it belongs into a process of its own
(`agent.cascade.ear_process`).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.cascade.grammar import training_sentences, write_trigrams
from agent.evaluation.judge import pronounced

RATE_HZ = 16_000
# Wider than its own: over a telephone the right words are further from the best ones.
_BEAMS = {"beam": 1e-80, "wbeam": 1e-50, "pbeam": 1e-80, "maxhmmpf": 30_000}
_DITHER_RMS = 3.0  # of 32768: the features of digital silence are not finite


class Recogniser(Protocol):
    """One utterance at a time."""

    def begin(self) -> None:
        """The caller begins to speak."""

    def push(self, pcm: NDArray[np.float32]) -> None:
        """The next float32 [T] at 16 kHz."""

    def partial(self) -> str:
        """The words so far; they may change."""

    def end(self) -> str:
        """The words of the utterance, lower case; empty if none were recognised."""


class GrammarRecogniser:
    """pocketsphinx over the order line's grammar; ready after about a second."""

    def __init__(self, *, least_confidence: float = 0.0, language_weight: float = 6.5) -> None:
        """`least_confidence`, 0 to 1: an utterance that it is less sure of has no words."""
        from pocketsphinx import Decoder

        self._decoder = Decoder(loglevel="FATAL", lm=None, samprate=RATE_HZ, lw=language_weight, **_BEAMS)
        sentences = training_sentences()
        for word in sorted({word for sentence in sentences for word in sentence.split()}):
            if self._decoder.lookup_word(word) is None:
                self._decoder.add_word(word, pronounced(word), False)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "order_line.lm"
            write_trigrams(sentences, path)
            self._decoder.add_lm_file("order_line", str(path))
        self._decoder.activate_search("order_line")
        self._least_confidence = least_confidence
        self._noise = np.random.default_rng(0)
        self._is_open = False

    def begin(self) -> None:
        """The caller begins to speak."""
        if self._is_open:
            self._decoder.end_utt()
        self._decoder.start_utt()
        self._is_open = True

    def push(self, pcm: NDArray[np.float32]) -> None:
        """The next float32 [T] at 16 kHz."""
        sound = 32_767 * pcm + self._noise.normal(0, _DITHER_RMS, len(pcm))
        self._decoder.process_raw(np.clip(sound, -32_768, 32_767).astype(np.int16).tobytes())

    def partial(self) -> str:
        """The words so far; they may change."""
        return self._words()

    def end(self) -> str:
        """The words of the utterance, lower case; empty if none were recognised."""
        self._decoder.end_utt()
        self._is_open = False
        hypothesis = self._decoder.hyp()
        if hypothesis is None or hypothesis.best_score < self._least_confidence:
            return ""
        return self._words()

    def _words(self) -> str:
        hypothesis = self._decoder.hyp()
        return str(hypothesis.hypstr).lower() if hypothesis is not None else ""


class Keeper:
    """No recogniser: keeps the utterance for one that is elsewhere."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.float32]] = []

    def begin(self) -> None:
        """The caller begins to speak."""
        self._parts = []

    def push(self, pcm: NDArray[np.float32]) -> None:
        """The next float32 [T] at 16 kHz."""
        self._parts.append(pcm)

    def partial(self) -> str:
        """Nothing is known of the words."""
        return ""

    def end(self) -> str:
        """Nothing is known of the words."""
        return ""

    @property
    def pcm(self) -> NDArray[np.float32]:
        """The utterance so far: float32 [T] at 16 kHz."""
        return np.concatenate(self._parts) if self._parts else np.zeros(0, np.float32)
