"""A pool of orders: the same for a seed, shared out by tone, closed under its changes."""

import random

from model.order_line import read_number, readback
from model.phrasings import Tone
from model.training.pool import TONE_SHARES, WORDED_TONES, draw_pool, draw_tone


def test_a_seed_is_a_pool() -> None:
    assert draw_pool(1, 20, 5) == draw_pool(1, 20, 5) != draw_pool(2, 20, 5)


def test_tones_have_their_share_and_changes_lead_into_the_pool() -> None:
    pool = draw_pool(num_orders=200, num_numbers=100)
    assert [len(pool.wishes[tone]) for tone in Tone] == [70, 12, 10, 8]
    assert [len(pool.numbers[tone]) for tone in Tone] == [70, 12, 10, 8]
    lines = pool.lines()
    assert len(lines) == len(set(lines))
    for tone in Tone:
        for wish in pool.wishes[tone]:
            assert wish.change.apply(wish.order) == wish.changed != wish.order
            assert {readback(wish.order, tone), readback(wish.changed, tone)} <= set(lines)


def test_every_order_and_number_is_read_back_in_each_tone_that_has_words_of_its_own() -> None:
    """A listener mistakes some tones, and whoever was calm may be answered as if in a hurry."""
    pool = draw_pool(num_orders=20, num_numbers=8)
    lines = set(pool.lines())
    for heard in WORDED_TONES:
        for tone in Tone:
            assert {readback(wish.changed, heard) for wish in pool.wishes[tone]} <= lines
            assert {read_number(number, heard) for number in pool.numbers[tone]} <= lines


def test_every_tone_is_drawn() -> None:
    rng = random.Random(0)
    drawn = [draw_tone(rng) for _ in range(500)]
    assert all(abs(drawn.count(tone) / 500 - share) < 0.06 for tone, share in TONE_SHARES.items())
