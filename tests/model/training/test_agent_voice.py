"""The agent's sentences: every line, trimmed, at one level, alike as far as they say the same."""

import numpy as np
import pytest

from model.order_line import AGENT_LINES, Order, every_order, readback
from model.training.agent_voice import LEVEL, line_sentences, speak, speak_readback

RATE = 24_000


def test_every_line_is_there_once() -> None:
    texts = [sentence.text for sentence in line_sentences()]
    assert len(texts) == len(set(texts)) == len(AGENT_LINES) + len(every_order())


def test_a_spoken_line_is_trimmed_and_timed() -> None:
    sentence = speak("Are you still there?")
    assert np.abs(sentence.pcm).max() == pytest.approx(LEVEL, rel=1e-3)
    assert [word.text.lower().strip("?") for word in sentence.words] == ["are", "you", "still", "there"]
    assert sentence.words[0].start_s == pytest.approx(0.04, abs=0.005)
    assert len(sentence.pcm) / RATE == pytest.approx(sentence.words[-1].end_s + 0.12, abs=0.005)
    first, last = (round(s * RATE) for s in (sentence.words[0].start_s, sentence.words[-1].end_s))
    inside = np.sqrt((sentence.pcm[first:last] ** 2).mean())
    assert np.sqrt((sentence.pcm[: first // 2] ** 2).mean()) < inside / 10


@pytest.mark.parametrize("other", [Order("latte", "large"), Order("latte", "large", "cream")])
def test_a_read_back_sounds_the_same_until_its_words_differ(other: Order) -> None:
    order = Order("latte", "large", "soy milk")
    one, two = speak_readback(order), speak_readback(other)
    assert one.text == readback(order).text
    same = 4 if other.milk else 3  # "A large latte [with]"
    for mine, theirs in zip(one.words[: same - 1], two.words[: same - 1], strict=True):
        assert mine == theirs
    end = round(one.words[same - 1].start_s * RATE)
    np.testing.assert_array_equal(one.pcm[:end], two.pcm[:end])
    assert not np.array_equal(one.pcm[end : end + RATE], two.pcm[end : end + RATE])


def test_words_and_phones_of_a_read_back_lie_in_order_inside_its_sound() -> None:
    sentence = speak_readback(Order("iced coffee", "small", "almond milk"))
    plain = readback(Order("iced coffee", "small", "almond milk")).text.lower()
    assert [w.text.lower().strip(".?") for w in sentence.words] == [w.strip(".?") for w in plain.split()]
    for timed in (sentence.words, sentence.phones):
        starts = [item.start_s for item in timed]
        assert starts == sorted(starts)
        assert all(item.start_s <= item.end_s <= len(sentence.pcm) / RATE + 1e-6 for item in timed)
