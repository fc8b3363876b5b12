"""Seven digits, said and understood."""

import random

import pytest

from model.numbers import digits_in, read_digits, say_digits
from model.requests import draw_number


def test_a_number_is_read_in_two_groups() -> None:
    assert read_digits("5551204") == "Five five five, one two zero four"


def test_what_is_said_is_understood() -> None:
    rng = random.Random(1)
    said = []
    for _ in range(500):
        digits = draw_number(rng)
        said.append(say_digits(digits, rng))
        assert digits_in(said[-1]) == digits
    assert any("double" in one for one in said) and any("oh" in one.split() for one in said)


@pytest.mark.parametrize(
    ("words", "digits"),
    [
        ("my number is five um five five one two three four", "5551234"),
        ("double five five no five five five double one two oh", "5551120"),
        ("five five five one two three", None),
        ("five five five one two three four five", None),
        ("a large latte", None),
    ],
)
def test_seven_digits_in_a_row_or_none(words: str, digits: str | None) -> None:
    assert digits_in(words) == digits
