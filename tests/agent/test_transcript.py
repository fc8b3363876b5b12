"""Tokens to timed words."""

import itertools

import pytest

from agent import transcript as module
from agent.transcript import AGENT_LEAD_S, CALLER_LAG_S, Speaker, TimedWord, Transcript, WordStream

SPELLING = ["", "", "▁good", "bye", "▁a", "▁large", "▁lat", "te", "."]
PAD, EPAD, GOOD, BYE, A, LARGE, LAT, TE, STOP = range(9)


class Spelling:
    def piece(self, token: int) -> str:
        return SPELLING[token]


def words_of(speaker: Speaker, tokens: list[int]) -> list[TimedWord]:
    stream = WordStream(speaker, Spelling())
    found = [stream.push(token, 0.08 * step) for step, token in enumerate(tokens)]
    return [word for word in [*found, stream.finish()] if word is not None]


def test_pieces_join_and_a_mark_opens_the_next_word() -> None:
    words = words_of(Speaker.AGENT, [PAD, EPAD, A, LARGE, LAT, TE, STOP, PAD, PAD, PAD, GOOD, PAD, BYE])
    assert [word.text for word in words] == ["a", "large", "latte.", "goodbye"]


def test_an_agent_word_is_dated_to_its_voice_and_a_caller_word_back_to_what_was_heard() -> None:
    agent = words_of(Speaker.AGENT, [PAD] * 10 + [GOOD, BYE])[0]
    assert agent.start_s == pytest.approx(0.8 + AGENT_LEAD_S)
    assert agent.end_s > agent.start_s + 0.3
    caller = words_of(Speaker.CALLER, [PAD] * 20 + [GOOD, BYE])[0]
    assert caller.end_s == pytest.approx(1.6 - CALLER_LAG_S)
    assert caller.start_s < caller.end_s - 0.3


@pytest.mark.parametrize("speaker", list(Speaker))
def test_words_of_one_side_never_overlap(speaker: Speaker) -> None:
    words = words_of(speaker, [LARGE, LARGE, A, GOOD, BYE, PAD, LAT, TE, A, LARGE])
    assert len(words) == 7
    for earlier, later in itertools.pairwise(words):
        assert earlier.start_s < earlier.end_s <= later.start_s


def test_an_idle_row_says_nothing() -> None:
    assert words_of(Speaker.CALLER, [PAD, EPAD, PAD, PAD]) == []
    assert WordStream(Speaker.AGENT, Spelling()).push(-1, 0.0) is None


def test_a_dialogue_has_one_line_per_turn() -> None:
    transcript = Transcript(Spelling())
    for step, (agent, caller) in enumerate([(GOOD, PAD), (BYE, PAD), *[(PAD, PAD)] * 4]):
        transcript.push(Speaker.AGENT, agent, step * 0.08)
        transcript.push(Speaker.CALLER, caller, step * 0.08)
    for step, token in enumerate([A, LARGE, LAT, TE, PAD, PAD, PAD]):
        transcript.push(Speaker.CALLER, token, 3 + step * 0.08)
    transcript.push(Speaker.AGENT, A, 5.0)
    assert [word.text for word in transcript.finish()] == ["a"]
    lines = transcript.dialogue()
    assert [(line.speaker, line.text) for line in lines] == [
        (Speaker.AGENT, "goodbye"),
        (Speaker.CALLER, "a large latte"),
        (Speaker.AGENT, "a"),
    ]
    assert lines[1].as_json()["speaker"] == "caller"


def test_a_transcript_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WORDS", 2)
    transcript = Transcript(Spelling())
    for step in range(6):
        transcript.push(Speaker.AGENT, A, step * 0.3)
    assert len(transcript.words) == 2
    assert transcript.num_dropped == 3
