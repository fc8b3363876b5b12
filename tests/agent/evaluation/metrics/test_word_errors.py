"""Alignments with known edits, digit strings as people say them, forms."""

import pytest

from agent.evaluation.metrics.word_errors import (
    Edit,
    WordErrors,
    align,
    by_position,
    digits_of,
    pooled,
    score_digits,
    score_slots,
    word_errors,
)


@pytest.mark.parametrize(
    ("said", "heard", "edits"),
    [
        ("two large lattes please", "two large lattes please", (4, 0, 0, 0)),
        ("two large lattes please", "too large lattes", (4, 1, 1, 0)),
        ("a tea", "a nice hot tea", (2, 0, 0, 2)),
        ("Don't, I\u2019ll wait!", "don't i'll wait", (3, 0, 0, 0)),
        ("a b c d", "b c d e", (4, 0, 1, 1)),
        ("", "hello there", (0, 0, 0, 2)),
        ("gone", "", (1, 0, 1, 0)),
    ],
)
def test_counts_of_edits(said: str, heard: str, edits: tuple[int, int, int, int]) -> None:
    assert word_errors(said, heard) == WordErrors(*edits)


def test_the_alignment_replays_both_sides() -> None:
    said, heard = "i want two small black coffees".split(), "i i want a small coffee please".split()
    steps = align(said, heard)
    assert [step.said for step in steps if step.said] == said
    assert [step.heard for step in steps if step.heard] == heard
    assert sum(step.edit is not Edit.RIGHT for step in steps) == 4


def test_rates_pool_words_and_may_exceed_one() -> None:
    nine = "one two three four five six seven eight nine"
    errors = pooled([(nine, nine), ("ten", "then a")])
    assert errors.rate == pytest.approx(2 / 10)
    assert word_errors("ten", "then a man").rate == 3


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("five five five oh one nine nine", "5550199"),
        ("It's double five, five; zero-one 99.", "5550199"),
        ("triple 5 o one", "55501"),
        ("no number", ""),
    ],
)
def test_digits_as_people_say_them(text: str, digits: str) -> None:
    assert digits_of(text) == digits


def test_one_lost_digit_costs_one_position() -> None:
    lost = score_digits("5550199", "five five five one nine nine")
    assert not lost.is_right and lost.at_position == (True, True, True, False, True, True, True)
    more = score_digits("12", "one two two")
    assert not more.is_right and all(more.at_position)
    swapped = score_digits("12", "one three")
    assert by_position([lost, more, swapped]) == [
        (3, 3), (2, 3), (1, 1), (0, 1), (1, 1), (1, 1), (1, 1)
    ]  # fmt: skip


def test_a_form_is_right_only_whole() -> None:
    want = {"drink": "latte", "size": "large", "number": 2, "milk": None}
    assert score_slots(want, {"drink": "latte", "size": "large", "number": 2}).is_right
    score = score_slots(want, {"drink": "latte", "size": "small", "milk": "oat"})
    assert (score.right, score.wrong, score.extra) == (("drink",), ("size", "number"), ("milk",))
    assert not score.is_right
    assert not score_slots(want, {**want, "milk": "oat"}).is_right
