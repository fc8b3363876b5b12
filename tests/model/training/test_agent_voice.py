"""The agent's sentences: every line, trimmed, at one level, alike as far as they say the same."""

import re
from itertools import pairwise

import numpy as np
import pytest

from model.order import Order
from model.order_line import HOURS, Line, Tone, read_number, readback
from model.training.agent_voice import (
    FADE_SAMPLES,
    LEVEL,
    SOFT_GAIN,
    AgentSentence,
    pool_sentences,
    speak,
    speak_line,
    speak_number,
    speak_readback,
    speak_told,
)
from model.training.pool import Pool, draw_pool

RATE = 24_000


@pytest.fixture(scope="module")
def pool() -> Pool:
    return draw_pool(num_orders=8, num_numbers=4)


@pytest.fixture(scope="module")
def sentences(pool: Pool) -> list[AgentSentence]:
    return pool_sentences(pool)


def _words(sentence: AgentSentence) -> list[str]:
    return re.findall(r"[a-z'-]+", sentence.text.lower())


def test_every_line_is_there_once(pool: Pool, sentences: list[AgentSentence]) -> None:
    said = [(sentence.text, sentence.is_soft) for sentence in sentences]
    assert len(said) == len(set(said))
    assert set(said) == {(line.text, line.is_soft) for line in pool.lines()}


def test_sentences_sound_the_same_until_their_words_differ(sentences: list[AgentSentence]) -> None:
    """Else the model would read what is to be said from its own voice, not from the caller's."""
    num_alike = 0
    ordered = sorted(sentences, key=lambda one: (one.is_soft, _words(one)))
    for one, two in pairwise(ordered):
        pairs = zip(_words(one), _words(two), strict=False)
        alike = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one.words), len(two.words)))
        if one.is_soft != two.is_soft or not alike:
            continue
        ends = [s.words[alike].start_s * RATE if alike < len(s.words) else len(s.pcm) for s in (one, two)]
        end = round(min(ends)) - FADE_SAMPLES
        np.testing.assert_array_equal(one.pcm[:end], two.pcm[:end], err_msg=f"{one.text} {two.text}")
        num_alike += 1
    assert num_alike > 40


def test_words_and_phones_lie_in_order_inside_the_sound(sentences: list[AgentSentence]) -> None:
    for sentence in sentences:
        assert [word.text.lower().strip(".?,") for word in sentence.words] == _words(sentence)
        for timed in (sentence.words, sentence.phones):
            starts = [item.start_s for item in timed]
            assert starts == sorted(starts)
            assert all(item.start_s <= item.end_s <= len(sentence.pcm) / RATE + 2 / RATE for item in timed)


def test_tones_are_heard() -> None:
    order = Order("latte", "large", "soy milk")
    calm, terse, angry, soft = (speak_readback(order, tone) for tone in Tone)
    assert [one.text for one in (calm, terse, angry, soft)] == [readback(order, t).text for t in Tone]
    assert len(terse.pcm) < len(calm.pcm) < len(angry.pcm)
    np.testing.assert_allclose(soft.pcm, SOFT_GAIN * calm.pcm, rtol=1e-5)
    assert soft.is_soft and not calm.is_soft
    assert speak_number("5551234", Tone.ANGRY).text == read_number("5551234", Tone.ANGRY).text
    assert np.abs(speak_line(Line(HOURS.text, is_soft=True)).pcm).max() < 0.5 * LEVEL


def test_a_spoken_line_is_trimmed_and_timed() -> None:
    sentence = speak("Are you still there?")
    assert np.abs(sentence.pcm).max() == pytest.approx(LEVEL, rel=1e-3)
    assert [word.text.lower().strip("?") for word in sentence.words] == ["are", "you", "still", "there"]
    assert sentence.words[0].start_s == pytest.approx(0.04, abs=0.005)
    assert len(sentence.pcm) / RATE == pytest.approx(sentence.words[-1].end_s + 0.12, abs=0.005)
    first, last = (round(s * RATE) for s in (sentence.words[0].start_s, sentence.words[-1].end_s))
    inside = np.sqrt((sentence.pcm[first:last] ** 2).mean())
    assert np.sqrt((sentence.pcm[: first // 2] ** 2).mean()) < inside / 10


def test_a_number_that_is_told_sounds_as_the_order_lines() -> None:
    number, sentence = read_number("2049871").text, "Our oven is at number seven."
    told = speak_told(number)
    assert told.text == number and len(told.words) == len(number.split())
    np.testing.assert_array_equal(told.pcm, speak_number("2049871").pcm)
    said, known = speak_told(sentence), speak(sentence)
    assert said.text == known.text and said is not known
    assert [word.text for word in said.words] == [word.text for word in known.words]
