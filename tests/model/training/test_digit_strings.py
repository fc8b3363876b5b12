"""Joined digits lie where their words say, with the gaps that were asked for."""

import random

import numpy as np
import pytest

from model.numbers import DIGIT_WORDS, digits_in
from model.order_line import Intent, Request
from model.training.bank import Stem, Turn, phone_labels
from model.training.digit_strings import GAP_S, GROUP_GAP_S, NUM_DIGITS_SAID, join_digits, number_stems
from model.voices import PHONE_IDS, SILENCE, TimedPhone, TimedWord, Voice, synthesize

RATE_HZ = 24_000


@pytest.fixture(scope="module")
def digits() -> list[Turn]:
    speeches = [(word, synthesize(word, Voice("flite", "awb"))) for word in ("seven", "two", "nine")]
    return [
        Turn(Request(Intent.UNCLEAR, word), speech.pcm, speech.words, speech.phones, clip=f"digits/{word}")
        for word, speech in speeches
    ]


def _request(turn: Turn) -> Request:
    assert turn.request is not None
    return turn.request


def test_each_digit_is_found_at_its_time(digits: list[Turn]) -> None:
    turn = join_digits([digits[1], digits[0], digits[1]], [0.05, 0.4])
    assert _request(turn).text == "two seven two"
    gaps_s = [b.start_s - a.end_s for a, b in zip(turn.words, turn.words[1:], strict=False)]
    assert gaps_s == pytest.approx([0.05, 0.4])
    for word, digit in zip(turn.words, [digits[1], digits[0], digits[1]], strict=True):
        source = digit.words[0]
        length = round((source.end_s - source.start_s) * RATE_HZ) - 2
        ours = turn.pcm[round(word.start_s * RATE_HZ) :][:length]
        theirs = digit.pcm[round(source.start_s * RATE_HZ) :][:length]
        assert np.corrcoef(ours, theirs)[0, 1] > 0.98
    middle = round((turn.words[1].end_s + 0.2) * RATE_HZ)
    assert not turn.pcm[middle - 2000 : middle + 2000].any()
    edges = np.abs(np.diff(turn.pcm)).max()
    assert edges <= 1.1 * max(np.abs(np.diff(digit.pcm)).max() for digit in digits), "a cut clicks"


def test_phones_follow_their_words(digits: list[Turn]) -> None:
    turn = join_digits(digits, [0.1, 0.1])
    for word, digit in zip(turn.words, digits, strict=True):
        times_s = np.arange(0.02, word.end_s - word.start_s - 0.02, 0.01)
        ours = phone_labels(turn.phones, word.start_s + times_s)
        np.testing.assert_array_equal(ours, phone_labels(digit.phones, digit.words[0].start_s + times_s))
    between_s = np.array([(turn.words[0].end_s + turn.words[1].start_s) / 2])
    assert phone_labels(turn.phones, between_s) == PHONE_IDS[SILENCE]


def test_numbers_are_one_speakers_and_the_seeds(digits: list[Turn]) -> None:
    stems = [Stem("recorded/digits/a", digits), Stem("recorded/digits/b", digits[:1])]
    made = number_stems(stems, random.Random(3))
    assert {stem.voice for stem in made} == {"recorded/digits/a"}, "one digit is no number"
    turns = [turn for stem in made for turn in stem.turns]
    lengths = [len(turn.words) for turn in turns]
    assert (min(lengths), max(lengths)) == NUM_DIGITS_SAID
    gaps_s = [b.start_s - a.end_s for t in turns for a, b in zip(t.words, t.words[1:], strict=False)]
    assert min(gaps_s) >= GAP_S[0] - 1e-9
    assert max(gaps_s) <= GROUP_GAP_S[1] + 1e-9
    assert 0.08 < np.mean(np.array(gaps_s) > GAP_S[1] + 1e-9) < 0.25
    whole = [_request(turn) for turn in turns if _request(turn).intent is Intent.NUMBER]
    assert 0.3 < len(whole) / len(turns) < 0.8
    assert all(request.number == digits_in(request.text) for request in whole)
    again = number_stems(stems, random.Random(3))
    assert [_request(t) for s in again for t in s.turns] == [_request(t) for t in turns]


def test_a_speaker_of_every_digit_says_the_numbers_that_are_wanted() -> None:
    every = [
        Turn(
            Request(Intent.UNCLEAR, word),
            np.full(4800, 0.1, np.float32),
            [TimedWord(word, 0.05, 0.15)],
            [TimedPhone("ah", 0.05, 0.15)],
        )
        for word in DIGIT_WORDS
    ]
    wanted = ["5551234", "0098764"]
    stems = [Stem("recorded/digits/a", every), Stem("recorded/digits/b", every[:9])]
    made = number_stems(stems, random.Random(0), wanted)
    assert {stem.voice for stem in made} == {"recorded/digits/a"}, "b has no nine"
    assert {_request(turn).number for stem in made for turn in stem.turns} == set(wanted)
