"""Sentences are cut where they end, said with the times of their words, and begin at once."""

from collections.abc import Iterator

import numpy as np
import pytest

from agent.cascade.mouth import (
    LEAD_S,
    Synthesiser,
    ascii_words,
    sentences,
    spread_words,
    whole_sentences,
)
from model.voices import SAMPLE_RATE_HZ


@pytest.mark.parametrize("engine", ["flite", "espeak"])
def test_a_sentence_begins_at_once_and_its_words_have_times(engine: str) -> None:
    spoken = Synthesiser(engine).speak("A large latte with soy milk.")
    assert [word for word, _start_s in spoken.words] == "a large latte with soy milk".split()
    starts = [start_s for _word, start_s in spoken.words]
    assert starts == sorted(starts) and 0 <= starts[0] <= LEAD_S + 0.01
    loud = np.flatnonzero(np.abs(spoken.pcm) > 0.05)
    assert loud[0] < 0.15 * SAMPLE_RATE_HZ and starts[-1] < len(spoken.pcm) / SAMPLE_RATE_HZ


def test_text_is_cut_into_sentences() -> None:
    assert sentences("Great. It will be ready  in ten minutes. Anything else?") == [
        "Great.",
        "It will be ready in ten minutes.",
        "Anything else?",
    ]
    assert sentences(" ... ") == []


def test_pieces_of_text_become_sentences_as_soon_as_they_are_whole() -> None:
    seen: list[str] = []

    def pieces() -> Iterator[str]:
        for piece in ("Hel", "lo. How ", "are you", "? Fi", "ne"):
            seen.append(piece)
            yield piece

    found = whole_sentences(pieces())
    assert next(found) == "Hello." and seen == ["Hel", "lo. How "]
    assert list(found) == ["How are you?", "Fine"]


def test_what_no_synthesiser_reads_is_left_out() -> None:
    assert ascii_words("It\u2019s **ready** \u2013 caf\u00e9!") == "It's ready , caf !"


def test_words_without_times_get_some() -> None:
    assert spread_words("one three", 1.0) == (("one", 0.0), ("three", 0.4))
    assert spread_words("", 1.0) == ()
