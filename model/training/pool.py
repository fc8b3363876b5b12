"""Which orders and numbers training calls are about: the agent's read-backs are recorded for these.

There are millions of orders, so a seeded pool of them is drawn. Callers speak of it alone, and every change
in it leads to an order in it: whatever a drawn call comes to, the agent's line is in its library.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from model.order import Change, Order
from model.order_line import CALM_LINES, LOOKED_UP, Line, in_tone, read_number, readback
from model.phrasings import Tone
from model.requests import draw_change, draw_number, draw_order

POOL_SEED = 4
NUM_ORDERS, NUM_NUMBERS = 1200, 400
# How callers speak, of all callers.
TONE_SHARES = {Tone.CALM: 0.7, Tone.HURRIED: 0.12, Tone.ANGRY: 0.1, Tone.WHISPER: 0.08}
WORDED_TONES = (Tone.CALM, Tone.HURRIED, Tone.ANGRY)  # a whisper is answered in a calm caller's words
SECOND_TONE_SHARE = 0.3  # of callers who have one; they say things in both tones
# What a caller may turn to. Whoever whispers has a reason to that lasts as long as the call.
_TURNS_TO: dict[Tone, dict[Tone, float]] = {
    Tone.CALM: {Tone.ANGRY: 0.8, Tone.HURRIED: 0.2},
    Tone.HURRIED: {Tone.CALM: 0.6, Tone.ANGRY: 0.4},
    Tone.ANGRY: {Tone.CALM: 1.0},
    Tone.WHISPER: {},
}


@dataclass(frozen=True, slots=True)
class Wish:
    """An order, a change of it, and the order that this makes."""

    order: Order
    change: Change
    changed: Order


@dataclass(frozen=True)
class Pool:
    """What callers of each tone order, and the numbers that they leave."""

    wishes: dict[Tone, tuple[Wish, ...]]
    numbers: dict[Tone, tuple[str, ...]]

    def lines(self) -> list[Line]:
        """Every line that the agent needs for this pool, fixed ones first; no two alike."""
        return list(dict.fromkeys((*self.fixed_lines(), *self._read_backs(), *self.other_read_backs())))

    @staticmethod
    def fixed_lines() -> Iterator[Line]:
        """The lines that hold no order and no number, in every tone; some come twice."""
        for tone in Tone:
            for line in (*CALM_LINES, *LOOKED_UP):
                yield in_tone(line, tone)

    def other_read_backs(self) -> Iterator[Line]:
        """What is read back to callers of the other tones that have words of their own; some come twice.

        Whoever listens for tones mistakes some, so any order may be read back in any of them.
        """
        for tone, wishes in self.wishes.items():
            for heard in WORDED_TONES:
                if heard is not tone:
                    for order in (one for wish in wishes for one in (wish.order, wish.changed)):
                        yield readback(order, heard)
                    for number in self.numbers[tone]:
                        yield read_number(number, heard)

    def _read_backs(self) -> Iterator[Line]:
        for tone in Tone:
            for wish in self.wishes[tone]:
                yield readback(wish.order, tone)
                yield readback(wish.changed, tone)
            for number in self.numbers[tone]:
                yield read_number(number, tone)


def draw_pool(seed: int = POOL_SEED, num_orders: int = NUM_ORDERS, num_numbers: int = NUM_NUMBERS) -> Pool:
    """So many orders and numbers (at least two and one for each tone), shared out as the tones are."""
    rng = random.Random(seed)
    wishes: dict[Tone, tuple[Wish, ...]] = {}
    numbers: dict[Tone, tuple[str, ...]] = {}
    for tone, share in TONE_SHARES.items():
        wishes[tone] = tuple(_draw_wish(rng) for _ in range(max(1, round(share * num_orders / 2))))
        numbers[tone] = tuple(draw_number(rng) for _ in range(max(1, round(share * num_numbers))))
    return Pool(wishes, numbers)


def _draw_wish(rng: random.Random) -> Wish:
    order = draw_order(rng)
    change = draw_change(order, rng)
    return Wish(order, change, change.apply(order))


def draw_tone(rng: random.Random) -> Tone:
    """A caller's tone, by how common it is."""
    return rng.choices(list(TONE_SHARES), list(TONE_SHARES.values()))[0]


def draw_second_tone(tone: Tone, rng: random.Random) -> Tone | None:
    """What a caller of this tone may turn to in the middle of a call; None: they stay as they are."""
    others = _TURNS_TO[tone]
    if not others or rng.random() >= SECOND_TONE_SHARE:
        return None
    return rng.choices(list(others), list(others.values()))[0]
