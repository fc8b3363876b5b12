"""Other words in the same call: what is read back and what is said change alike, and nothing else does."""

import random

import numpy as np
import pytest

from model.config import ZERO_TOKEN
from model.tokenizer import TextTokenizer
from model.training.call_writer import Call
from model.training.dialogues import Scriptwriter
from model.training.rewording import ALIKE, is_number, reword
from tests.model.training import made

NUM_COLUMNS = 480
NUM_CALLS = 60


@pytest.fixture(scope="module")
def pairs(alphabet: TextTokenizer) -> list[tuple[Call, Call]]:
    """Calls as they were drawn, and reworded."""
    writer, stem = Scriptwriter(made.agent_library(), alphabet, NUM_COLUMNS), made.stem()
    found = []
    for seed in range(NUM_CALLS):
        plain, other = (writer.draw(stem, random.Random(seed)) for _ in range(2))
        reword(other, writer.spelling, random.Random(seed))
        found.append((plain, other))
    return found


def _words(alphabet: TextTokenizer, tokens: np.ndarray, columns: slice) -> list[str]:
    return alphabet.decode(tokens[columns].tolist()).split()


def test_what_was_heard_and_when_stays(pairs: list[tuple[Call, Call]]) -> None:
    for plain, other in pairs:
        for name in ("caller", "transcript", "forced", "timed"):
            np.testing.assert_array_equal(getattr(plain, name), getattr(other, name))
        assert (plain.read_back == plain.transcript).all()
        changed = other.text != plain.text
        assert not changed[plain.text < 4].any(), "padding stays, so that the words keep their moments"


def test_numbers_and_their_answers_stay(pairs: list[tuple[Call, Call]]) -> None:
    num_told = 0
    for plain, other in pairs:
        for words, columns in [*other.turns, *other.lines]:
            if is_number(words):
                np.testing.assert_array_equal(other.read_back[columns], plain.read_back[columns])
                np.testing.assert_array_equal(other.text[columns], plain.text[columns])
                num_told += 1
    assert num_told > NUM_CALLS / 4


def test_an_order_is_another_of_the_same_shape(
    pairs: list[tuple[Call, Call]], alphabet: TextTokenizer
) -> None:
    drinks, sizes, num_silent = set(), set(), 0
    for _, other in pairs:
        for words, columns in other.turns:
            if words == "a large latte".split() and columns.stop < NUM_COLUMNS:
                article, size, drink = _words(alphabet, other.read_back, columns)
                assert article == "a"
                drinks.add(drink)
                sizes.add(size)
                changed = [at for _, at in other.lines if (other.agent[:, at] == ZERO_TOKEN).all()]
                num_silent += len(changed)
                answers = [" ".join(_words(alphabet, other.text, at)) for _, at in other.lines]
                assert any(f"{size} {drink}" in answer for answer in answers) or len(other.lines) < 3
    assert drinks == set(ALIKE[0]) and sizes == set(ALIKE[2]) and num_silent


def test_what_tells_the_time_or_the_way_is_left(
    pairs: list[tuple[Call, Call]], alphabet: TextTokenizer
) -> None:
    """Facts, whatever the caller said before them."""
    num_told = 0
    for plain, other in pairs:
        for words, columns in other.lines:
            if {"morning", "street", "Street"} & {word.strip(".,?") for word in words}:
                assert _words(alphabet, other.text, columns) == _words(alphabet, plain.text, columns)
                np.testing.assert_array_equal(other.agent[:, columns], plain.agent[:, columns])
                num_told += 1
    assert num_told
