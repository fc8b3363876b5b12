"""One call on hand-driven lanes: what is asked when, what is played, what stops it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from agent.cascade.ear import NO_SOUND, Heard, Turn
from agent.cascade.ear_process import Frame
from agent.cascade.mouth import Spoken
from agent.cascade.party import CALLER_COLUMN, NUM_COLUMNS, TEXT_COLUMN, Party, said_in
from agent.cascade.talker import Ask, Kind, Sentence
from agent.settings import CascadeSettings
from agent.wire import FRAME_SAMPLES, PERIOD_S
from model.order_line import Control
from model.tokenizer import TextTokenizer

SILENCE = np.zeros(FRAME_SAMPLES, np.float32)


@dataclass
class HandLane:
    """A lane whose results the test gives."""

    given: list[Ask | Frame] = field(default_factory=list)
    results: list[object] = field(default_factory=list)

    def give(self, item: Ask | Frame, now_s: float) -> None:
        self.given.append(item)

    def take(self, now_s: float) -> list:  # type: ignore[type-arg]
        results, self.results = self.results, []
        return results

    def clear(self) -> None:
        self.results = []

    def close(self) -> None:
        pass


class Rig:
    """A party between two such lanes."""

    def __init__(self, tokens: TextTokenizer) -> None:
        self.ear, self.talker, self.tokens = HandLane(), HandLane(), tokens
        self.party = Party(self.ear, self.talker, tokens, CascadeSettings())
        self.party.begin("", None)
        self.text: list[int] = []

    def asked(self) -> list[Kind]:
        return [ask.kind for ask in self.talker.given if isinstance(ask, Ask)]

    def answer(self, text: str, seconds: float, control: Control = Control.NONE, words: str = "") -> None:
        ask = self.talker.given[-1]
        assert isinstance(ask, Ask)
        pcm = np.full(round(seconds * 24_000), 0.25, np.float32)
        times = tuple((word, at * 0.2) for at, word in enumerate(text.split()))
        self.talker.results.append(Sentence(ask.number, Spoken(text, pcm, times), control, words))

    def hears(self, speech_s: float, turn: Turn | None = None) -> None:
        self.ear.results.append(Heard(speech_s, turn))

    def steps(self, num: int) -> list[float]:
        levels = []
        for _ in range(num):
            pcm, text, _caller = self.party.step(SILENCE)
            self.text.append(text)
            levels.append(float(np.abs(pcm).max()))
        return levels


@pytest.fixture
def rig(tokens: TextTokenizer) -> Rig:
    return Rig(tokens)


def said(words: str, speech_s: float = 1.0) -> Turn:
    return Turn(words, NO_SOUND, speech_s, 0.4)


def test_a_new_call_is_greeted_with_sound_and_words_in_their_time(rig: Rig) -> None:
    assert rig.asked() == [Kind.BEGIN, Kind.GREET]
    rig.answer("large soy latte", 0.8)
    assert rig.steps(14) == [0.25] * 10 + [0.0] * 4
    assert rig.tokens.decode([token for token in rig.text if token >= 0]) == "large soy latte"
    assert rig.tokens.piece(rig.text[0]) and not rig.tokens.piece(rig.text[1])


def test_a_turn_is_answered_and_its_words_are_told(rig: Rig) -> None:
    rig.hears(0.0, said("where are you"))
    rig.steps(1)
    assert rig.asked()[-1] is Kind.ANSWER
    rig.answer("on main street", 0.4, words="where are you")
    told = [rig.party.step(SILENCE)[2] for _ in range(8)]
    assert rig.tokens.decode(told) == "where are you"


def test_speech_over_the_agent_stops_it_and_what_it_would_still_say_is_dropped(rig: Rig) -> None:
    rig.answer("off hook coffee", 4.0)
    rig.hears(0.16)
    assert rig.steps(2) == [0.25, 0.25], "too short to be an interruption"
    rig.answer("what can i get you", 1.0)
    rig.hears(0.3)
    assert rig.steps(3) == [0.0] * 3
    assert rig.steps(60)[-1] == 0.0 and rig.asked()[-1] is Kind.STILL_THERE


def test_a_murmur_under_the_agents_words_asks_nothing(rig: Rig) -> None:
    rig.answer("off hook coffee", 2.0)
    rig.steps(1)
    rig.hears(0.0, said("mhm", speech_s=0.15))
    assert min(rig.steps(5)) == 0.25 and rig.asked()[-1] is Kind.GREET


def test_silence_is_asked_about_and_then_ends_the_call(rig: Rig) -> None:
    rig.answer("hello", 0.1)
    frames = round(CascadeSettings().silence_s / PERIOD_S)
    rig.steps(frames + 4)
    assert rig.asked()[-1] is Kind.STILL_THERE
    rig.answer("are you still there", 0.1)
    rig.steps(frames + 4)
    assert rig.asked()[-1] is Kind.GIVE_UP
    rig.answer("goodbye", 0.8, Control.HANG_UP)
    rig.text.clear()
    rig.steps(14)
    assert rig.text.index(rig.tokens.hangup) >= 9, "only when it has been said"


def test_the_engines_controls_are_obeyed(rig: Rig) -> None:
    rig.answer("off hook coffee", 0.8)
    rig.party.be_silent(3)
    assert rig.steps(5) == [0.0] * 3 + [0.25] * 2
    rig.party.say("one moment")
    assert rig.asked()[-1] is Kind.SAY and rig.steps(1) == [0.0]
    rig.party.force(rig.tokens.nobody)
    assert rig.asked()[-1] is Kind.NOBODY
    rig.steps(1)
    assert rig.text[-1] == rig.tokens.nobody


def test_what_nobody_can_be_asked_is_said_not_to_be_known(rig: Rig) -> None:
    rig.answer("one moment", 0.4, Control.DELEGATE)
    rig.steps(1)
    if rig.tokens.delegate < 0:
        assert rig.asked()[-1] is Kind.SAY
    else:
        rig.steps(6)
        assert rig.tokens.delegate in rig.text


def test_a_history_tells_who_said_what(tokens: TextTokenizer) -> None:
    history = np.full((80, NUM_COLUMNS), 3, np.int16)
    for start, column, words in (
        (0, TEXT_COLUMN, "hello"),
        (20, CALLER_COLUMN, "a small mocha"),
        (50, TEXT_COLUMN, "sure"),
    ):
        encoded = tokens.encode(words)
        history[start : start + len(encoded), column] = encoded
    assert said_in(history, tokens) == [(True, "hello"), (False, "a small mocha"), (True, "sure")]
