"""The cascade's talking side: asked something, it gives sentences with their sound, one after another.

It runs on one lane. Whatever an external service does, the caller hears something: a sentence of apology for
a language model or recogniser that fails, our own synthesiser for one that does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import structlog
from numpy.typing import NDArray

from agent.cascade.dialogue import SORRY, ChatMind, Mind, RuleMind, Said
from agent.cascade.ear import NO_SOUND
from agent.cascade.mouth import Spoken, Synthesiser, sentences, spread_words
from agent.cascade.services import Chat, ServiceError, Speech, Transcriber
from agent.settings import CascadeSettings
from model.order_line import GIVE_UP, NOBODY, STILL_THERE, Control, Line
from model.voices import SAMPLE_RATE_HZ


class Kind(Enum):
    """What the talker is asked."""

    BEGIN = "begin"  # a call, with its role and what was said in it before
    GREET = "greet"
    ANSWER = "answer"  # words, or sound for a recogniser elsewhere
    STILL_THERE = "still_there"
    GIVE_UP = "give_up"
    NOBODY = "nobody"  # a transfer is impossible
    SAY = "say"  # these words, whatever the dialogue


_REMARKS = {Kind.STILL_THERE: STILL_THERE, Kind.GIVE_UP: GIVE_UP, Kind.NOBODY: NOBODY}


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to the talker; `number` comes back with each of its sentences."""

    number: int
    kind: Kind
    words: str = ""
    pcm: NDArray[np.int16] = field(default_factory=lambda: NO_SOUND)
    history: tuple[Said, ...] = ()


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of the answer to a question, and the words that the caller was understood to say."""

    number: int
    spoken: Spoken
    control: Control
    caller_words: str = ""  # with the first sentence alone


class Talker:
    """One slot's; `work` is for a lane."""

    def __init__(self, settings: CascadeSettings) -> None:
        s = settings
        self._chat = Chat("LLM", s.llm_url, s.llm_model, s.llm_key, s.timeout_s) if s.llm_url else None
        self._ears = Transcriber("STT", s.stt_url, s.stt_model, s.stt_key, s.timeout_s) if s.stt_url else None
        self._voice = (
            Speech("TTS", s.tts_url, s.tts_model, s.tts_key, s.timeout_s, s.tts_voice) if s.tts_url else None
        )
        self._synthesiser = Synthesiser(s.synthesiser)
        self._mind: Mind = RuleMind()
        self._log = structlog.get_logger("agent.cascade")

    def work(self, ask: Ask) -> Iterator[Sentence]:
        """The answer's sentences, each as soon as it is there."""
        if ask.kind is Kind.BEGIN:
            self._mind = ChatMind(self._chat, ask.words) if self._chat is not None else RuleMind()
            self._mind.resume(ask.history)
            return
        words = ""
        try:
            words = self._words(ask)
            yield from self._said(ask, words, self._lines(ask, words))
        except ServiceError as error:
            self._log.warning("service_failed", cause=str(error))
            yield from self._said(ask, words, iter((SORRY,)))

    def _words(self, ask: Ask) -> str:
        if ask.kind is Kind.ANSWER and self._ears is not None:
            return self._ears.transcribe(ask.pcm)
        return ask.words

    def _lines(self, ask: Ask, words: str) -> Iterator[Line]:
        if ask.kind is Kind.GREET:
            return self._mind.greet()
        if ask.kind is Kind.ANSWER:
            return self._mind.answer(words)
        line = Line(words) if ask.kind is Kind.SAY else _REMARKS[ask.kind]
        self._mind.remark(line)
        return iter((line,))

    def _said(self, ask: Ask, words: str, lines: Iterator[Line]) -> Iterator[Sentence]:
        told = words if ask.kind is Kind.ANSWER else ""
        for line in lines:
            parts = sentences(line.text) or [""]
            for place, part in enumerate(parts, 1):
                control = line.control if place == len(parts) else Control.NONE
                yield Sentence(ask.number, self._speak(part), control, told)
                told = ""

    def _speak(self, sentence: str) -> Spoken:
        if not sentence:  # a mark alone
            return Spoken("", np.zeros(0, np.float32), ())
        if self._voice is not None:
            try:
                pcm = self._voice.speak(sentence)
                return Spoken(sentence, pcm, spread_words(sentence, len(pcm) / SAMPLE_RATE_HZ))
            except ServiceError as error:
                self._log.warning("service_failed", cause=str(error), instead="our own synthesiser")
        return self._synthesiser.speak(sentence)


Work = Callable[[Ask], Iterator[Sentence]]
