"""Moods: misunderstandings make angry, other changes come by themselves, and who has one tone keeps it."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from model.order_line import ANGRY_PREFIX, GREETING, MM_HM, STILL_THERE, Line
from model.phrasings import Intent, Tone
from model.tokenizer import TextTokenizer
from model.training.call_writer import CallWriter
from model.training.dialogues import Drawing, Scriptwriter
from model.training.moods import ANGERED_SHARE, CHANGED_SHARE, Mood
from model.training.tokens_stage import TokenStem, TokenTurn
from tests.model.training import made, scripts

NUM_COLUMNS = 480
PLAIN = (Intent.ORDER, Intent.NUMBER, Intent.HOURS, Intent.WHERE)  # answered in one line, in every tone


def _turns(*tones: Tone) -> list[TokenTurn]:
    """Two turns in the first tone, one in each other, and a cough."""
    return [
        *(TokenTurn(replace(made.REQUESTS[0], tone=tone), 0, 5, []) for tone in (tones[0], *tones)),
        TokenTurn(None, 0, 5, [], kind="cough"),
    ]


def _changed(first: Tone, second: Tone, intent: Intent) -> float:
    moods = [Mood(_turns(first, second), random.Random(seed)) for seed in range(300)]
    assert {mood.tone for mood in moods} == {first}
    for mood in moods:
        mood.after(intent)
    return sum(mood.tone is second for mood in moods) / len(moods)


def test_who_is_misunderstood_gets_angry_and_who_is_not_does_not() -> None:
    assert _changed(Tone.CALM, Tone.ANGRY, Intent.NO) == pytest.approx(ANGERED_SHARE, abs=0.1)
    assert _changed(Tone.HURRIED, Tone.ANGRY, Intent.REPEAT) == pytest.approx(ANGERED_SHARE, abs=0.1)
    assert _changed(Tone.CALM, Tone.ANGRY, Intent.YES) == 0


@pytest.mark.parametrize("tone", [Tone.HURRIED, Tone.ANGRY])
def test_callers_calm_down(tone: Tone) -> None:
    assert _changed(tone, Tone.CALM, Intent.YES) == pytest.approx(CHANGED_SHARE, abs=0.1)


def test_one_tone_stays() -> None:
    mood = Mood(_turns(Tone.WHISPER), random.Random(1))
    for _ in range(50):
        mood.after(Intent.NO)
    assert mood.tone is Tone.WHISPER
    assert Mood([], random.Random(1)).tone is Tone.CALM


def test_what_is_said_is_said_in_the_mood_if_it_can_be() -> None:
    turns = _turns(Tone.CALM, Tone.ANGRY)[:3]
    mood = Mood(turns, random.Random(2))
    assert mood.pick(turns) == turns[:2]
    assert mood.pick(turns[2:]) == turns[2:], "there is no calm one"


class _Logged(CallWriter):
    """A writer that remembers what was said and heard."""

    events: list[Line | TokenTurn]

    def say(self, line: Line, start: int, *, is_told: bool = False) -> None:
        super().say(line, start, is_told=is_told)
        self.events.append(line)

    def hear(self, turn: TokenTurn, onset: int) -> int:
        self.events.append(turn)
        return super().hear(turn, onset)


def _logged(stem: TokenStem, alphabet: TextTokenizer, seed: int) -> list[Line | TokenTurn]:
    writer = Scriptwriter(scripts.library(), alphabet, NUM_COLUMNS)
    plain = writer.writer(stem, random.Random(seed))
    logged = _Logged(stem, writer.library, plain.spelling, NUM_COLUMNS, random.Random(seed))
    logged.events = []
    Drawing(logged, alphabet, random.Random(seed)).draw()
    return logged.events


def test_the_agent_answers_each_turn_in_its_tone(alphabet: TextTokenizer) -> None:
    stem, num_changed = scripts.stem(1, (Tone.CALM, Tone.ANGRY)), 0
    for seed in range(30):
        events = _logged(stem, alphabet, seed)
        tones = []
        for turn, line in pairwise(events):
            if not isinstance(turn, TokenTurn) or not isinstance(line, Line) or turn.request is None:
                continue
            if (
                turn.request.intent in (Intent.ORDER, Intent.NUMBER, Intent.HOURS, Intent.WHERE)
                and line != MM_HM
            ):
                tones.append(turn.request.tone)
                assert line.text.startswith(ANGRY_PREFIX) == (turn.request.tone is Tone.ANGRY)
        num_changed += len(set(tones)) > 1
    assert num_changed > 3, "callers turn angry and are answered so"


def test_the_greeting_knows_no_tone_and_a_whisper_is_answered_softly(alphabet: TextTokenizer) -> None:
    stem = scripts.stem(2, (Tone.WHISPER,))
    for seed in range(8):
        lines = [event for event in _logged(stem, alphabet, seed) if isinstance(event, Line)]
        turns = [event for event in _logged(stem, alphabet, seed) if isinstance(event, TokenTurn)]
        assert lines[0] == GREETING
        if turns:
            said = [line for line in lines[1:] if line.text not in (STILL_THERE.text, GREETING.text)]
            assert said and said[-1].is_soft
