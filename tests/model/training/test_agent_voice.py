"""The agent's sentences: every line of the order line, trimmed, at one level."""

import numpy as np
import pytest

from model.training.agent_voice import LEVEL, line_texts, other_texts, speak

RATE = 24_000


def test_every_line_is_there_once() -> None:
    texts = line_texts()
    assert len(texts) == len(set(texts)) == 13 + 280


def test_other_sentences_repeat_by_their_seed() -> None:
    assert other_texts(5, 1) == other_texts(5, 1) != other_texts(5, 2)
    for text in other_texts(20, 1):
        assert text[0] == text[0].upper()
        assert text.endswith(".")
        assert 4 <= len(text.split()) <= 11


def test_a_spoken_line_is_trimmed_and_timed() -> None:
    sentence = speak("Are you still there?")
    assert np.abs(sentence.pcm).max() == pytest.approx(LEVEL, rel=1e-3)
    assert [word.text.lower().strip("?") for word in sentence.words] == ["are", "you", "still", "there"]
    assert sentence.words[0].start_s == pytest.approx(0.04, abs=0.005)
    assert len(sentence.pcm) / RATE == pytest.approx(sentence.words[-1].end_s + 0.12, abs=0.005)
    first, last = (round(s * RATE) for s in (sentence.words[0].start_s, sentence.words[-1].end_s))
    inside = np.sqrt((sentence.pcm[first:last] ** 2).mean())
    assert np.sqrt((sentence.pcm[: first // 2] ** 2).mean()) < inside / 10
