"""Callers' turns, drawn at random: what they mean, the words that say it, and how real callers say them.

Everything comes from the generator that is passed: the same seed draws the same turns.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from model.numbers import DIGIT_WORDS, NUM_DIGITS, digits_in, say_digits
from model.order import (
    AMOUNT_WORDS,
    AMOUNTS,
    DRINKS,
    MILKS,
    ROASTS,
    SHOTS,
    SIZES,
    SLOTS,
    SUGARS,
    Change,
    Order,
    change_from_json,
    order_as_json,
    understand,
)
from model.phrasings import (
    ADDITION_FRAMES,
    BACKCHANNELS,
    CHANGE_FRAMES,
    CORRECTIONS,
    HESITATIONS,
    LEAD_INS,
    ORDER_OPENERS,
    PHRASINGS,
    REMOVAL_FRAMES,
    TAILS,
    TONE_LEAD_INS,
    Intent,
    Phrasings,
    Tone,
)

# Words after which a sentence plainly goes on.
OPEN_ENDS = frozenset(
    """a an some with get have me small medium large the to of eight twelve sixteen twenty ounce light dark
    roast single double triple shot drip house iced skim whole soy almond brown little bit lot lots and is at
    my um uh no without""".split()
)
HESITATION_SHARE, RESTART_SHARE, CORRECTION_SHARE = 0.25, 0.15, 0.15  # of lively turns, where they can be
_SLOT_VALUES = {"size": SIZES, "roast": ROASTS, "shots": SHOTS, "drink": DRINKS}
_EXTRAS = {"milk": MILKS, "sugar": SUGARS}


@dataclass(frozen=True, slots=True)
class Request:
    """One caller turn: what it means, the words that say it, and the caller's tone."""

    intent: Intent
    text: str
    order: Order | None = None  # of ORDER
    change: Change | None = None  # of CHANGE
    number: str | None = None  # of NUMBER: seven digits
    tone: Tone = Tone.CALM

    def incomplete_words(self) -> list[int]:
        """After how many words the caller may pause while the sentence is plainly unfinished."""
        words = self.text.split()
        places = [n for n, word in enumerate(words[:-1], start=1) if word.lower() in OPEN_ENDS and n > 1]
        if self.number is not None:
            digits = [n for n, word in enumerate(words, start=1) if word in (*DIGIT_WORDS, "oh", "double")]
            places += [n for n in range(digits[0], len(words)) if not digits_in(" ".join(words[:n]))]
        return sorted(set(places))

    def complete_words(self) -> list[int]:
        """After how many words what was said is a whole order already, though more is to come."""
        words = self.text.split()
        return [
            n
            for n in range(1, len(words))
            if self.order is not None
            and words[n - 1].lower() not in OPEN_ENDS
            and isinstance(understand(" ".join(words[:n])), Order)
        ]

    def as_json(self) -> dict[str, Any]:
        """Plain values; what is not there is left out."""
        row: dict[str, Any] = {"intent": self.intent.value, "text": self.text}
        if self.order is not None:
            row["order"] = order_as_json(self.order)
        if self.change is not None:
            row["change"] = order_as_json(self.change)
        if self.number is not None:
            row["number"] = self.number
        return row if self.tone is Tone.CALM else row | {"tone": self.tone.value}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Request:
        """What `as_json` gave."""
        return cls(
            Intent(row["intent"]),
            row["text"],
            Order(**row["order"]) if row.get("order") else None,
            change_from_json(row["change"]) if row.get("change") else None,
            row.get("number"),
            Tone(row.get("tone", Tone.CALM.value)),
        )


def is_long(words: str) -> bool:
    """Whether so much of an order has been said that a listener would nod: two slots or more."""
    meant = understand(words)
    return isinstance(meant, (Order, Change)) and sum(getattr(meant, slot) is not None for slot in SLOTS) >= 2


# ---- what is asked ----


def draw_extra(rng: random.Random, slot: str) -> str:
    """Some kind and amount of milk or sugar, as orders hold it; half of them plain."""
    amount = rng.choice(AMOUNTS) if rng.random() < 0.75 else ""
    return f"{amount} {rng.choice(_EXTRAS[slot])}".strip()


def draw_order(rng: random.Random, *, all_slots: bool = False) -> Order:
    """A random order; with `all_slots` every slot is named, else about half of them."""

    def named(share: float, draw: Callable[[], str]) -> str | None:
        return draw() if all_slots or rng.random() < share else None

    return Order(
        drink=rng.choice(DRINKS),
        size=named(0.65, lambda: rng.choice(SIZES)),
        milk=named(0.5, lambda: draw_extra(rng, "milk")),
        roast=named(0.3, lambda: rng.choice(ROASTS)),
        shots=named(0.3, lambda: rng.choice(SHOTS)),
        sugar=named(0.35, lambda: draw_extra(rng, "sugar")),
    )


def draw_number(rng: random.Random) -> str:
    """Seven digits; pairs of the same digit are common, as in real numbers."""
    digits = [str(rng.randrange(10))]
    while len(digits) < NUM_DIGITS:
        digits.append(digits[-1] if rng.random() < 0.15 else str(rng.randrange(10)))
    return "".join(digits)


def draw_change(order: Order, rng: random.Random) -> Change:
    """Something else that a caller may want in this order: one slot, at times two."""
    slots = rng.sample(("size", "drink", "milk", "sugar", "roast", "shots"), 2 if rng.random() < 0.2 else 1)
    values: dict[str, Any] = {}
    for slot in slots:
        is_there = getattr(order, slot) is not None
        if slot in _EXTRAS and is_there and len(slots) == 1 and rng.random() < 0.4:
            return Change(without=(slot,))
        values[slot] = _another(getattr(order, slot), slot, rng)
    return Change(**values)


def _another(value: str | None, slot: str, rng: random.Random) -> str:
    """A value of the slot that is not this one."""
    while True:
        other = draw_extra(rng, slot) if slot in _EXTRAS else rng.choice(_SLOT_VALUES[slot])
        if other != value:
            return other


# ---- how it is said ----


def _pick(phrasings: Phrasings, rng: random.Random, held_out: bool) -> str:
    return rng.choice(phrasings.of(held_out=held_out))


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _extra_words(extra: str, rng: random.Random) -> str:
    """Milk or sugar in a caller's words."""
    amount = next((one for one in AMOUNTS if one and extra.startswith(f"{one} ")), "")
    kind = extra.removeprefix(f"{amount} ") if amount else extra
    return f"{rng.choice(AMOUNT_WORDS[amount])} {kind}".strip()


def _extras_words(order: Order, rng: random.Random) -> str:
    extras = [_extra_words(extra, rng) for extra in (order.milk, order.sugar) if extra]
    rng.shuffle(extras)
    return f"with {' and '.join(extras)}" if extras else ""


def _lead_in(rng: random.Random, tone: Tone, held_out: bool, share: float) -> str:
    if tone in TONE_LEAD_INS and rng.random() < 0.6:
        return _pick(TONE_LEAD_INS[tone], rng, held_out)
    return _pick(LEAD_INS, rng, held_out) if rng.random() < share else ""


def phrase_order(
    order: Order,
    rng: random.Random,
    *,
    held_out: bool = False,
    tone: Tone = Tone.CALM,
    is_lively: bool = False,
) -> Request:
    """An order in a random wording, its qualities in any order; a lively one with what real callers do."""
    opener = _pick(ORDER_OPENERS, rng, held_out)
    if tone is Tone.HURRIED and rng.random() < 0.4:
        opener = "just"
    qualities = [word for word in (order.size, order.roast, order.shots) if word]
    if len(qualities) > 1 and rng.random() < 0.4:
        rng.shuffle(qualities)
    what = " ".join([*qualities, order.drink])
    what = what if opener in ("one", "just") else _article(what)
    if is_lively and rng.random() < CORRECTION_SHARE:
        what = _corrected(order, what, rng, held_out)
    words = " ".join(part for part in (opener, what, _extras_words(order, rng)) if part)
    if is_lively:
        words = _restarted(words, len(opener.split()) + 1, rng)
    text = f"{_lead_in(rng, tone, held_out, 1.0)}{words}{rng.choice(TAILS)}"
    request = Request(Intent.ORDER, text, order, tone=tone)
    return _hesitating(request, rng) if is_lively else request


def _corrected(order: Order, what: str, rng: random.Random, held_out: bool) -> str:
    """A drink's words with a wrong size, roast or drink before the right one."""
    slot = rng.choice([name for name in ("size", "roast", "shots", "drink") if getattr(order, name)])
    wrong, right = _another(getattr(order, slot), slot, rng), getattr(order, slot)
    correction = _pick(CORRECTIONS, rng, held_out)
    if slot == "drink":
        return f"{what.removesuffix(right)}{wrong} {correction} {_article(right)}"
    before, _, after = what.partition(right)
    before = f"{_article(wrong).split()[0]} " if before in ("a ", "an ") else before
    return f"{before}{wrong} {correction} {_article(right)}{after}"


def _restarted(words: str, at_most: int, rng: random.Random) -> str:
    """Said again from the beginning, after so many words or a few less."""
    parts = words.split()
    if len(parts) < 4 or rng.random() >= RESTART_SHARE:
        return words
    again = rng.randint(1, min(at_most, len(parts) - 1))
    if parts[again - 1] == "medium":  # of a roast, it would sound like a size
        again -= 1
    return " ".join([*parts[:again], *parts])


def _hesitating(request: Request, rng: random.Random) -> Request:
    """With "um" or "uh" where the sentence is open."""
    places = request.incomplete_words()
    if not places or rng.random() >= HESITATION_SHARE:
        return request
    words = request.text.split()
    words.insert(rng.choice(places), rng.choice(HESITATIONS))
    return replace(request, text=" ".join(words))


def phrase_change(
    change: Change,
    rng: random.Random,
    *,
    held_out: bool = False,
    tone: Tone = Tone.CALM,
    is_lively: bool = False,
) -> Request:
    """A change of the pending order in a random wording."""
    if change.without:
        slot = change.without[0]
        kind = slot if rng.random() < 0.7 else rng.choice(_EXTRAS[slot])
        text = _pick(REMOVAL_FRAMES, rng, held_out).format(kind)
    else:
        extras = _extras_words(Order("", milk=change.milk, sugar=change.sugar), rng)
        what = " ".join(part for part in (_changed_words(change, rng), extras) if part)
        is_addition = change.drink is None and rng.random() < 0.2
        text = _pick(ADDITION_FRAMES if is_addition else CHANGE_FRAMES, rng, held_out).format(what)
    if tone in TONE_LEAD_INS and change.drink is None:  # before a drink it would make an order of it
        text = _lead_in(rng, tone, held_out, 0.0) + text
    request = Request(Intent.CHANGE, text, change=change, tone=tone)
    return _hesitating(request, rng) if is_lively and not change.without else request


def _changed_words(change: Change, rng: random.Random) -> str:
    parts = [word for word in (change.size, change.roast, change.shots, change.drink) if word]
    if not parts:
        return ""
    words = _article(" ".join(parts))
    if change.drink is None and change.size == parts[-1] and rng.random() < 0.6:
        return f"{words} one"
    return words


def phrase_number(
    number: str,
    rng: random.Random,
    *,
    held_out: bool = False,
    tone: Tone = Tone.CALM,
    is_lively: bool = False,
) -> Request:
    """A telephone number in a random wording; a lively caller may say a part of it wrong at first."""
    said = say_digits(number, rng)
    if is_lively and rng.random() < CORRECTION_SHARE:
        wrong = say_digits(draw_number(rng), rng).split()[: rng.randint(1, 3)]
        said = " ".join([*wrong, "no", said])
    opener = _pick(PHRASINGS[Intent.NUMBER], rng, held_out)
    if rng.random() < 0.15:
        opener = "yes" if rng.random() < 0.5 else "okay"
    request = Request(Intent.NUMBER, f"{opener} {said}", number=number, tone=tone)
    return _hesitating(request, rng) if is_lively else request


def draw_request(
    rng: random.Random,
    intent: Intent,
    *,
    held_out: bool = False,
    all_slots: bool = False,
    tone: Tone = Tone.CALM,
    is_lively: bool = False,
    order: Order | None = None,
) -> Request:
    """A random request of an intent in a random wording.

    `order` is what a CHANGE changes (a random one if it is not given). A lively caller hesitates, begins anew
    and corrects themselves.
    """
    if intent is Intent.ORDER:
        drawn = draw_order(rng, all_slots=all_slots)
        return phrase_order(drawn, rng, held_out=held_out, tone=tone, is_lively=is_lively)
    if intent is Intent.CHANGE:
        change = draw_change(order or draw_order(rng), rng)
        return phrase_change(change, rng, held_out=held_out, tone=tone, is_lively=is_lively)
    if intent is Intent.NUMBER:
        return phrase_number(draw_number(rng), rng, held_out=held_out, tone=tone, is_lively=is_lively)
    if intent is Intent.BACKCHANNEL:
        return Request(intent, rng.choice(BACKCHANNELS), tone=tone)
    words = _pick(PHRASINGS[intent], rng, held_out)
    if is_lively:
        words = _restarted(words, 2, rng)
    request = Request(intent, _lead_in(rng, tone, held_out, 0.4) + words, tone=tone)
    return _hesitating(request, rng) if is_lively and intent is not Intent.UNCLEAR else request


def caller_vocabulary() -> list[str]:
    """Every word that a trained or held-out caller may say, sorted."""
    texts: list[str] = [
        *SIZES,
        *ROASTS,
        *SHOTS,
        *DRINKS,
        *MILKS,
        *SUGARS,
        *TAILS,
        *BACKCHANNELS,
        *HESITATIONS,
    ]
    texts += [way for ways in AMOUNT_WORDS.values() for way in ways]
    texts += [*DIGIT_WORDS, "oh", "double", "a", "an", "with", "and", "one", "yes", "okay", "no"]
    groups = [*PHRASINGS.values(), *TONE_LEAD_INS.values(), ORDER_OPENERS, LEAD_INS, CORRECTIONS]
    groups += [CHANGE_FRAMES, ADDITION_FRAMES, REMOVAL_FRAMES]
    for group in groups:
        texts += [text.replace("{}", "") for text in (*group.train, *group.held_out)]
    return sorted({word.lower() for text in texts for word in text.split()})
