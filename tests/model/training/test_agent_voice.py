"""The agent's sentences: every line of the order line, trimmed, at one level."""

import numpy as np
import pytest

from model.order_line import Order
from model.training.agent_voice import LEVEL, line_sentences, other_texts, speak, speak_readback

RATE = 24_000


def test_every_line_is_there_once() -> None:
    texts = [sentence.text for sentence in line_sentences()]
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


def test_a_readback_sounds_the_same_until_it_says_something_else() -> None:
    one = speak_readback(Order("latte", "large", "soy milk"))
    other = speak_readback(Order("iced mocha", "large", "cream"))
    drink = round(one.words[2].start_s * RATE)
    assert one.words[2].text == "latte" and other.words[2].text == "iced"
    np.testing.assert_array_equal(one.pcm[:drink], other.pcm[:drink])
    assert not np.array_equal(one.pcm[drink : drink + RATE // 5], other.pcm[drink : drink + RATE // 5])


def test_a_readback_says_its_words_in_order() -> None:
    sentence = speak_readback(Order("drip coffee", None, "almond milk"))
    assert [word.text for word in sentence.words] == "a drip coffee with almond milk is that right".split()
    starts = [word.start_s for word in sentence.words]
    assert starts == sorted(starts)
    assert sentence.phones[-1].end_s <= len(sentence.pcm) / RATE + 0.01
