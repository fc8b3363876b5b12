"""The agent's sentences off its lines: the same for a seed, of every sound, none of the held-out ones."""

import re
import subprocess
import sys

import pytest

from model.numbers import digits_in
from model.said_sentences import HELD_OUT_SENTENCES
from model.training.announcement_texts import announcement_texts, number_texts
from model.voices import AGENT_VOICE, PHONES, synthesize


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def test_a_seed_gives_its_sentences_and_another_gives_others() -> None:
    first = announcement_texts(60, 3)
    assert len(set(first)) == 60 and first == announcement_texts(60, 3)
    assert len(set(first) & set(announcement_texts(60, 4))) < 10
    assert all(3 <= len(_words(text)) <= 20 and text[0].isupper() and text[-1] in ".?" for text in first)


def test_numbers_are_read_back_in_any_order_of_digits() -> None:
    texts = number_texts(300, 1)
    numbers = [digits_in(text) for text in texts]
    assert len(set(texts)) == 300 and texts == number_texts(300, 1)
    followed = {number[at : at + 2] for number in numbers if number for at in range(6)}
    assert len(followed) >= 98  # of a hundred pairs


def test_the_sentences_hold_every_sound() -> None:
    spoken = {
        phone.phone for text in announcement_texts(30, 3) for phone in synthesize(text, AGENT_VOICE).phones
    }
    assert spoken == set(PHONES)


def test_walks_follow_the_language_not_the_dice() -> None:
    """Pairs like "of the" stand in walks far oftener than among words drawn one by one."""
    pairs = [
        pair
        for text in announcement_texts(150, 1)
        for pair in zip(_words(text)[:-1], _words(text)[1:], strict=True)
    ]
    assert sum(pair in {("of", "the"), ("in", "the"), ("i", "think"), ("it", "was")} for pair in pairs) >= 9


def test_transcripts_lend_sentences_but_none_that_are_held_out_or_not_plain() -> None:
    lent = [
        "We walked to the old mill",
        "Room 17 is free",
        "No",
        HELD_OUT_SENTENCES[7],
        "He said: go, go on!",
    ]
    texts = announcement_texts(40, 0, lent)
    assert {"We walked to the old mill"} <= set(texts) and len(texts) == 40
    assert not {"Room 17 is free", "No", HELD_OUT_SENTENCES[7]} & set(texts)


@pytest.mark.parametrize("held_out", ["The {} and then some", "{}", "He thinks {}"])
def test_five_words_of_a_held_out_sentence_are_enough_to_be_left_out(held_out: str) -> None:
    part = " ".join(HELD_OUT_SENTENCES[0].split()[1:6])
    text = held_out.format(part)
    assert text not in announcement_texts(8, 0, [text])


def test_without_the_recogniser_the_remedy_is_told() -> None:
    code = (
        "import sys; sys.modules['pocketsphinx'] = None\n"
        "from model.training.announcement_texts import announcement_texts\n"
        "from model.errors import RecordingError\n"
        "try: announcement_texts(3, 0)\n"
        "except RecordingError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=40, check=True
    )
    assert "pip install pocketsphinx" in done.stdout
