"""What can be ordered, and what a caller's words say of it: the slots, the grammar, how the agent names them.

The slots are those of the public coffee-order yardstick (Picovoice speech-to-intent, 2020). Words are read
from left to right and the last one counts, because that is how people correct themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from model.numbers import digits_in

SIZES = ("small", "medium", "large", "eight ounce", "twelve ounce", "sixteen ounce", "twenty ounce")
ROASTS = ("light roast", "medium roast", "dark roast")
SHOTS = ("single shot", "double shot", "triple shot")
DRINKS = (
    "coffee",
    "drip coffee",
    "house coffee",
    "iced coffee",
    "americano",
    "cappuccino",
    "espresso",
    "latte",
    "mocha",
    "iced mocha",
)
MILKS = ("milk", "skim milk", "whole milk", "soy milk", "almond milk", "cream")
SUGARS = ("sugar", "brown sugar", "sweetener")
AMOUNTS = ("", "a little", "a lot of")  # what is told apart; the agent says these words
# How callers say them.
AMOUNT_WORDS = {
    "": ("", "some"),
    "a little": ("a little", "a bit of", "a little bit of"),
    "a lot of": ("a lot of", "lots of"),
}
SLOTS = ("size", "roast", "shots", "drink", "milk", "sugar")  # as the agent names them


@dataclass(frozen=True, slots=True)
class Order:
    """One drink; what the caller did not name is None. Milk and sugar hold their amount: "a lot of cream"."""

    drink: str
    size: str | None = None
    milk: str | None = None
    roast: str | None = None
    shots: str | None = None
    sugar: str | None = None

    @classmethod
    def from_labels(cls, slots: Mapping[str, str]) -> Order:
        """The order that a recording's labels tell, by the yardstick's names of the slots.

        Raises ValueError for a slot or a value that the order line does not have.
        """
        if unknown := set(slots) - set(_LABELS):
            raise ValueError(f"no slot is called {sorted(unknown)[0]!r}; there are {', '.join(_LABELS)}")
        found: dict[str, str] = {}
        for label, words in slots.items():
            meant = understand(" ".join(words.split()))
            value = getattr(meant, _LABELS[label], None)
            if value is None:
                raise ValueError(f"{words!r} is no {label} of the order line")
            found[_LABELS[label]] = value
        if "drink" not in found:
            raise ValueError("the labels name no coffeeDrink")
        return cls(**found)


_LABELS = {
    "coffeeDrink": "drink", "size": "size", "roast": "roast", "numberOfShots": "shots",
    "milkAmount": "milk", "sugarAmount": "sugar",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """What a caller would have otherwise in an order: new values, and slots that shall be empty."""

    drink: str | None = None
    size: str | None = None
    milk: str | None = None
    roast: str | None = None
    shots: str | None = None
    sugar: str | None = None
    without: tuple[str, ...] = ()  # of "milk" and "sugar", sorted

    def apply(self, order: Order) -> Order:
        """The order with the change in it."""
        new: dict[str, Any] = {slot: getattr(self, slot) for slot in SLOTS}
        new = {slot: value for slot, value in new.items() if value is not None}
        return replace(order, **new | dict.fromkeys(self.without))

    def as_order(self) -> Order | None:
        """The order that the change alone makes, None if it names no drink."""
        return self.apply(Order(self.drink)) if self.drink is not None else None


@dataclass(frozen=True, slots=True)
class Number:
    """A telephone number: seven digits."""

    digits: str


def _with_article(words: str) -> str:
    return f"{'An' if words[0] in 'aeiou' else 'A'} {words}"


def _drink_words(order: Order) -> str:
    return " ".join(word for word in (order.size, order.roast, order.shots, order.drink) if word)


def describe(order: Order) -> str:
    """The order as a phrase: "A large dark roast latte with soy milk and a little sugar"."""
    extras = " and ".join(extra for extra in (order.milk, order.sugar) if extra)
    return _with_article(_drink_words(order)) + (f" with {extras}" if extras else "")


def describe_tersely(order: Order) -> str:
    """The order as a list: "Large dark roast latte, soy milk, a little sugar"."""
    named = [_drink_words(order), *(extra for extra in (order.milk, order.sugar) if extra)]
    return ", ".join(named).capitalize()


def num_named(order: Order | Change | None) -> int:
    """How many slots have a value."""
    return sum(getattr(order, slot, None) is not None for slot in SLOTS)


# ---- understanding ----

_VALUES = {"size": SIZES, "roast": ROASTS, "shots": SHOTS, "drink": DRINKS, "milk": MILKS, "sugar": SUGARS}
_AMOUNT_OF = {spoken: amount for amount, ways in AMOUNT_WORDS.items() for spoken in ways if spoken}
# "no, a large one" corrects, "no milk" takes away, and "no sugar no milk" takes away twice.
_REMOVERS = ("no", "without", "without any", "hold the", "skip the", "leave out the")
_CHANGES = re.compile(r"^(?:no|actually|wait|sorry)\b|\b(?:make (?:it|that)|change (?:it|that)|instead)\b")
_FILLERS = frozenset(
    {"um", "uh", "er", "oh", "hm", "well", "so", "hi", "hello", "hey", "okay", "yes", "yeah"}
)


def plain_words(text: str) -> list[str]:
    """Words alone, lower case."""
    return re.findall(r"[a-z']+", text.lower())


def _any(phrases: list[str]) -> str:
    return "|".join(re.escape(phrase) for phrase in sorted(phrases, key=len, reverse=True))


def _phrases() -> re.Pattern[str]:
    slots = "|".join(
        rf"(?P<{slot}>{_any([*values])})" for slot, values in _VALUES.items() if slot in ("milk", "sugar")
    )
    plain = "|".join(
        f"(?P<{slot}>{_any([*_VALUES[slot]])})s?" for slot in ("roast", "shots", "size", "drink")
    )
    removed = (
        f"(?P<remover>{_any([*_REMOVERS])}) (?:(?P<no_milk>{_any([*MILKS])})|(?P<no_sugar>{_any([*SUGARS])}))"
    )
    # "Is my coffee ready" and "the coffee shop" order nothing.
    return re.compile(
        rf"(?<!my )\b(?:{removed}|(?:(?P<amount>{_any([*_AMOUNT_OF])}) )?(?:{slots})|{plain})\b(?! shop)"
    )


_PHRASES = _phrases()


def understand(words: str) -> Order | Change | Number | None:
    """What a transcript says about an order: a drink, a change to one, or a telephone number; else None.

    Words are read from left to right and of each slot the last counts, hesitations and restarts included.
    """
    spoken = plain_words(words)
    while spoken and spoken[0] in _FILLERS:
        spoken.pop(0)
    text = " ".join(word for word in spoken if word not in ("um", "uh", "er"))
    found, without = _slots_in(text)
    if not found and not without:
        digits = digits_in(words)
        return Number(digits) if digits else None
    change = Change(**found, without=tuple(sorted(without)))
    order = change.as_order()
    return change if order is None or _CHANGES.search(text) else order


def _slots_in(text: str) -> tuple[dict[str, str], set[str]]:
    found: dict[str, str] = {}
    without: set[str] = set()
    for match in _PHRASES.finditer(text):
        slot = str(match.lastgroup)
        if slot.startswith("no_"):
            slot = slot.removeprefix("no_")
            found.pop(slot, None)
            without.add(slot)
            continue
        amount = _AMOUNT_OF.get(match["amount"] or "", "")
        found[slot] = f"{amount} {match[slot]}".strip()
        without.discard(slot)
    return found, without


def order_as_json(order: Order | Change) -> dict[str, object]:
    """The slots that have a value."""
    named: dict[str, object] = {
        slot: getattr(order, slot) for slot in SLOTS if getattr(order, slot) is not None
    }
    without = getattr(order, "without", ())
    return named | ({"without": list(without)} if without else {})


def change_from_json(row: Mapping[str, object]) -> Change:
    """What `order_as_json` gave for a change. Raises TypeError for an unknown slot."""
    known = {field.name for field in fields(Change)}
    if unknown := set(row) - known:
        raise TypeError(f"a change has no {sorted(unknown)[0]!r}")
    without = row.get("without", ())
    assert isinstance(without, (list, tuple)), without
    named = {slot: str(value) for slot, value in row.items() if slot != "without"}
    return Change(**named, without=tuple(str(slot) for slot in without))
