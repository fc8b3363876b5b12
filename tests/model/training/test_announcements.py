"""Told sentences in calls: opened by their token, the text ahead of the sound, no word to be guessed."""

import random
from pathlib import Path

import numpy as np
import pytest

from model.engine import BUILTIN
from model.tokenizer import TextTokenizer, load_text_tokenizer
from model.training import announcements
from model.training.announcements import LEAD_FRAMES, AnnouncingScriptwriter, announce
from model.training.call_writer import Call
from tests.model.training import scripts

TOLD, OTHER = 31, 30  # the code of every told sentence, and of one that comes later
TEXTS = ("The quizzical zebra drove away.", "Rain fell on Tuesday.")
NUM_COLUMNS = 480


@pytest.fixture(scope="module")
def tokenizer(alphabet_folder: Path) -> TextTokenizer:
    return load_text_tokenizer(alphabet_folder)


@pytest.fixture(scope="module")
def writer(tokenizer: TextTokenizer) -> AnnouncingScriptwriter:
    told = [scripts.line(text, TOLD) for text in TEXTS]
    return AnnouncingScriptwriter(scripts.library(), told, tokenizer, NUM_COLUMNS)


def _spans(call: Call, tokenizer: TextTokenizer) -> list[tuple[int, int]]:
    """(column of the token, column where its sentence's sound ends) of each told sentence."""
    at = np.flatnonzero(call.text == tokenizer.announce).tolist()
    return [(start, start + 1 + LEAD_FRAMES + 2 + 4 * len(TEXTS[0].split())) for start in at]


def test_a_told_sentence_is_placed_as_the_runtime_will_give_it(
    writer: AnnouncingScriptwriter, tokenizer: TextTokenizer
) -> None:
    page = writer.writer(scripts.stem(), random.Random(0))
    entry = scripts.line(TEXTS[0], TOLD)
    announce(page, entry, 50)
    call = page.call
    assert call.text[50] == tokenizer.announce and call.forced[50]
    sound = np.flatnonzero((call.agent == TOLD).all(0))
    assert sound[0] == 51 + LEAD_FRAMES and len(sound) == entry.codes.shape[1]
    assert tokenizer.decode(call.text.tolist()) == "the quizzical zebra drove away"
    starts = np.flatnonzero(call.timed)
    assert len(starts) == 5 and starts[0] == 51
    assert not call.forced[starts].any()
    pieces = np.flatnonzero((call.text != tokenizer.pad) & (call.text != tokenizer.epad))
    inside = sorted(set(pieces.tolist()) - set(starts.tolist()))
    assert call.forced[inside].all() and len(inside) > 1, "pieces after a word's first are given"
    later = [start for start, (_, frame) in zip(starts, entry.words, strict=True) if start > 51 + frame]
    assert all(start >= 51 + frame for start, (_, frame) in zip(starts, entry.words, strict=True))
    assert len(later) <= 3, "words wait only for pieces of the word before"
    assert page.at == sound[-1] + 1


def test_a_share_of_calls_announces_and_in_some_nothing_else_is_said(
    writer: AnnouncingScriptwriter, tokenizer: TextTokenizer
) -> None:
    rng, stem = random.Random(1), scripts.stem()
    calls = [writer.draw(stem, rng) for _ in range(300)]
    told = [call for call in calls if _spans(call, tokenizer) and (call.agent == TOLD).any()]
    wanted = announcements.ANNOUNCING_SHARE + announcements.READING_SHARE
    assert len(told) / len(calls) == pytest.approx(wanted, abs=0.1)
    reading = [call for call in told if np.isin(call.agent[0], (0, TOLD)).all()]
    assert 3 <= len(reading) < len(told)
    for call in reading:
        assert (call.agent[0, : call.end] == TOLD).mean() > 0.4
    for call in calls:
        speaking = (call.text[call.timed] > 3).all()
        assert speaking and not (call.timed & call.forced).any()


def test_it_goes_on_learning_sentences(tokenizer: TextTokenizer) -> None:
    told = [scripts.line(TEXTS[0], TOLD)]
    writer = AnnouncingScriptwriter(scripts.library(), told, tokenizer, NUM_COLUMNS)
    assert _is_said(writer, TOLD) and not _is_said(writer, OTHER)
    writer.learn([scripts.line(TEXTS[1], OTHER)])
    assert _is_said(writer, TOLD) and _is_said(writer, OTHER)


def _is_said(writer: AnnouncingScriptwriter, code: int) -> bool:
    rng, stem = random.Random(1), scripts.stem()
    return any((writer.draw(stem, rng).agent == code).any() for _ in range(100))


def test_answers_that_were_looked_up_are_told_like_any_sentence(
    writer: AnnouncingScriptwriter, tokenizer: TextTokenizer
) -> None:
    rng, stem = random.Random(2), scripts.stem(3)
    calls = [writer.draw(stem, rng) for _ in range(60)]
    looked_up = 0
    for call in calls:
        for column in np.flatnonzero(call.text == tokenizer.delegate):
            after = np.flatnonzero(call.text[column:-1] == tokenizer.announce)
            looked_up += len(after) > 0 and bool(call.timed[column + after[0] + 1])
    assert looked_up >= 3


def test_an_alphabet_without_the_token_announces_nothing() -> None:
    old = load_text_tokenizer(BUILTIN)
    old.announce = -1  # as in a model that was trained before there was one
    told = [scripts.line(TEXTS[0], TOLD)]
    writer = AnnouncingScriptwriter(scripts.library(), told, old, NUM_COLUMNS)
    rng = random.Random(0)
    assert not any((writer.draw(scripts.stem(), rng).agent == TOLD).any() for _ in range(12))
