"""Other words in the same call: what is read back and what is said change alike, and nothing else does."""

import random

import numpy as np
import pytest

from model.config import ZERO_TOKEN
from model.numbers import DIGIT_WORDS
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


def test_a_number_is_another_of_the_same_shape_and_answered_as_such(
    pairs: list[tuple[Call, Call]], alphabet: TextTokenizer
) -> None:
    numbers = set()
    for _, other in pairs:
        told = {
            tuple(_words(alphabet, other.read_back, columns))
            for words, columns in other.turns
            if is_number(words)
        }
        for words, columns in other.lines:
            said = [word for word in _words(alphabet, other.text, columns) if word in DIGIT_WORDS]
            if not is_number([word.strip(",").lower() for word in words]) or len(said) < 7:
                continue  # cut short
            assert said[0] == said[1] == said[2] and len(set(said)) == 5, "five five five, one two three four"
            assert any(list(one[-7:]) == said for one in told), "that is what the caller is read to have said"
            numbers.add(tuple(said))
            if said != "five five five one two three four".split():
                assert (other.agent[:, columns] == ZERO_TOKEN).all()
    assert len(numbers) > 5


def test_an_order_is_another_of_the_same_shape(
    pairs: list[tuple[Call, Call]], alphabet: TextTokenizer
) -> None:
    drinks, sizes = set(), set()
    for _, other in pairs:
        for words, columns in other.turns:
            if words == "a large latte".split() and columns.stop < NUM_COLUMNS:
                article, size, drink = _words(alphabet, other.read_back, columns)
                assert article == "a"
                drinks.add(drink)
                sizes.add(size)
                answers = [" ".join(_words(alphabet, other.text, at)) for _, at in other.lines]
                assert any(f"{size} {drink}" in answer for answer in answers) or len(other.lines) < 3
    assert drinks == set(ALIKE[0]) and sizes == set(ALIKE[2])


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
