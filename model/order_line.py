"""Offhook Coffee's order line as rules: which line of the agent's answers which request, in every wording.

The one source of truth: the model is trained on it and judged by it, the cascade talks by it. What is ordered
is told in `order`, what callers say in `phrasings` and `requests`; all of it can be had from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from model.numbers import read_digits
from model.order import (
    DRINKS,
    MILKS,
    ROASTS,
    SHOTS,
    SIZES,
    SUGARS,
    Change,
    Number,
    Order,
    describe,
    describe_tersely,
    understand,
)
from model.phrasings import LEAD_INS, ORDER_OPENERS, PHRASINGS, Intent, Phrasings, Tone
from model.requests import Request, caller_vocabulary, draw_number, draw_order, draw_request, phrase_order

__all__ = [
    "AGENT_LINES", "ANGRY_PREFIX", "ASK_AGAIN", "ASK_DRINK", "ASK_NUMBER", "CALM_LINES", "CANCELLED",
    "CONFIRMED", "DELEGATE",
    "DRINKS", "GIVE_UP", "GOODBYE", "GREETING", "HOURS", "LEAD_INS", "LOOKED_UP", "MILKS", "MM_HM", "MORE",
    "NOBODY", "NOT_UNDERSTOOD", "NUMBER_TAKEN", "OKAY", "ONLY_ORDERS", "ORDER_OPENERS", "PHRASINGS", "ROASTS",
    "SHOTS", "SIZES", "STILL_THERE", "SUGARS", "TRANSFER", "UNKNOWN", "WHERE", "Change", "Control", "Intent",
    "Line", "Number", "Order", "OrderLine", "Pending", "Phrasings", "Request", "Tone", "caller_vocabulary",
    "describe", "draw_number", "draw_order", "draw_request", "in_tone", "phrase_order", "read_number",
    "readback", "understand",
]  # fmt: skip


class Control(Enum):
    """What the agent does besides speaking, at the end of a line."""

    NONE = "none"
    HANG_UP = "hang_up"
    TRANSFER = "transfer"
    DELEGATE = "delegate"  # ask whoever runs the shop, and say what they answer


@dataclass(frozen=True, slots=True)
class Line:
    """What the agent says in one turn, and does at its end; `is_soft` is said under one's breath."""

    text: str
    control: Control = Control.NONE
    is_soft: bool = False


GREETING = Line("Off hook coffee. What can I get you?")
CONFIRMED = Line("Great. It will be ready in ten minutes. Anything else?")
ASK_AGAIN = Line("Sorry about that. What can I get you instead?")
ASK_DRINK = Line("Which drink would you like?")
MORE = Line("Sure. What would you like?")
OKAY = Line("Okay. What can I get you?")
NUMBER_TAKEN = Line("Thanks, I have your number. Anything else?")
ASK_NUMBER = Line("Sorry about that. What is your number?")
CANCELLED = Line("Okay, I have cancelled that. Anything else?")
HOURS = Line("We are open from seven in the morning to six at night.")
WHERE = Line("We are at twelve Main Street, next to the station.")
TRANSFER = Line("One moment, I will put you through.", Control.TRANSFER)
NOBODY = Line("Sorry, nobody is free right now. Can I help you?")
DELEGATE = Line("One moment.", Control.DELEGATE)
UNKNOWN = Line("Sorry, I cannot find that out right now.")  # nobody answered the delegate's question in time
GOODBYE = Line("Thank you for calling. Goodbye.", Control.HANG_UP)
STILL_THERE = Line("Are you still there?")
GIVE_UP = Line("I will hang up now. Goodbye.", Control.HANG_UP)
NOT_UNDERSTOOD = Line("Sorry, I did not get that. Can you say it again?")
ONLY_ORDERS = Line("Sorry, I can only take orders and tell you about the shop.")
MM_HM = Line("Mm-hm.")  # while a long order pauses

CALM_LINES: tuple[Line, ...] = (
    GREETING,
    CONFIRMED,
    ASK_AGAIN,
    ASK_DRINK,
    MORE,
    OKAY,
    NUMBER_TAKEN,
    ASK_NUMBER,
    CANCELLED,
    HOURS,
    WHERE,
    TRANSFER,
    NOBODY,
    DELEGATE,
    UNKNOWN,
    GOODBYE,
    STILL_THERE,
    GIVE_UP,
    NOT_UNDERSTOOD,
    ONLY_ORDERS,
    MM_HM,
)

# What whoever runs the shop may have the agent say: the words in which it learns to say others' answers.
LOOKED_UP: tuple[Line, ...] = (
    Line("Your order is ready."),
    Line("Your order will be ready in five minutes."),
    Line("Your order will be ready in a quarter of an hour."),
    Line("It is on the counter, you can pick it up now."),
    Line("They are making your coffee right now."),
    Line("I am afraid there is no order under that name."),
    Line("Your order was picked up an hour ago."),
    Line("It will take a little longer, about twenty minutes."),
)

# To callers in a hurry: the same with fewer words.
_TERSE = {
    CONFIRMED: Line("Great. Ten minutes. Anything else?"),
    ASK_AGAIN: Line("Sorry. What instead?"),
    ASK_DRINK: Line("Which drink?"),
    MORE: Line("Sure. What else?"),
    OKAY: Line("Okay. What would you like?"),
    NUMBER_TAKEN: Line("Thanks. Anything else?"),
    ASK_NUMBER: Line("Sorry. Your number?"),
    CANCELLED: Line("Cancelled. Anything else?"),
    HOURS: Line("From seven in the morning to six at night."),
    WHERE: Line("At twelve Main Street, next to the station."),
    TRANSFER: Line("Putting you through.", Control.TRANSFER),
    NOBODY: Line("Sorry, nobody is free. Can I help?"),
    GOODBYE: Line("Thanks. Goodbye.", Control.HANG_UP),
    NOT_UNDERSTOOD: Line("Sorry, once more please?"),
    ONLY_ORDERS: Line("Sorry, I only take orders."),
}
# To angry callers: the answer, after the offer of a person; lines that act, and short ones, come without it.
ANGRY_PREFIX = "I am sorry. You can always ask for a person."
_WITHOUT_PREFIX = frozenset(
    {GREETING, TRANSFER, NOBODY, DELEGATE, UNKNOWN, GOODBYE, STILL_THERE, GIVE_UP, MM_HM}
)


def readback(order: Order, tone: Tone = Tone.CALM) -> Line:
    """The agent's answer to an order: what it understood, and the question whether that is right."""
    if tone is Tone.HURRIED:
        return Line(f"{describe_tersely(order)}. Right?")
    return in_tone(Line(f"{describe(order)}. Is that right?"), tone)


def read_number(digits: str, tone: Tone = Tone.CALM) -> Line:
    """The agent's answer to a telephone number, digit by digit."""
    if tone is Tone.HURRIED:
        return Line(f"{read_digits(digits)}. Right?")
    return in_tone(Line(f"{read_digits(digits)}. Is that right?"), tone)


def in_tone(line: Line, tone: Tone) -> Line:
    """A line of the calm ones as it is said to a caller of this tone. Read-backs are not among them."""
    if tone is Tone.HURRIED:
        return _TERSE.get(line, line)
    if tone is Tone.ANGRY and line not in _WITHOUT_PREFIX and line not in LOOKED_UP:
        return replace(line, text=f"{ANGRY_PREFIX} {line.text}")
    return replace(line, is_soft=True) if tone is Tone.WHISPER else line


def _all_lines() -> Iterator[Line]:
    yield from CALM_LINES
    yield from _TERSE.values()
    yield from (line for line in (in_tone(line, Tone.ANGRY) for line in CALM_LINES) if line not in CALM_LINES)
    yield from LOOKED_UP


# Every fixed line that the agent can say, whatever the tone; soft ones have the words of these.
AGENT_LINES: tuple[Line, ...] = tuple(_all_lines())


class Pending(Enum):
    """What the agent's last question was about."""

    NOTHING = "nothing"
    CONFIRM = "confirm"
    NUMBER = "number"
    MORE = "more"


class OrderLine:
    """The agent's side as rules: which line answers which request. One per call.

    This is the truth that the model learns and is judged against; the model itself never runs it.
    """

    def __init__(self) -> None:
        self.pending = Pending.NOTHING
        self.order: Order | None = None  # what was read back last, and may still be changed
        self.last = GREETING

    def answer(self, request: Request) -> Line:
        """The line that answers a request, remembered for REPEAT and for what "yes" will mean."""
        if request.intent is Intent.REPEAT:
            return replace(self.last, control=Control.NONE)
        return self.say(self._choose(request))

    def say(self, line: Line, pending: Pending | None = None) -> Line:
        """Note that a line was said, also unprompted: STILL_THERE and MM_HM leave the question open."""
        if line.text in (STILL_THERE.text, MM_HM.text):
            return line
        self.last = line
        if pending is not None:
            self._ask(pending)
        return line

    def _ask(self, pending: Pending) -> None:
        self.pending = pending
        if pending not in (Pending.CONFIRM, Pending.MORE):
            self.order = None

    def _choose(self, request: Request) -> Line:
        intent, tone = request.intent, request.tone
        if intent in (Intent.ORDER, Intent.CHANGE):
            return self._take(request)
        if intent is Intent.NUMBER:
            assert request.number is not None
            self._ask(Pending.NUMBER)
            return read_number(request.number, tone)
        if intent in (Intent.YES, Intent.NO, Intent.BACKCHANNEL):
            return in_tone(self._yes_or_no(intent is not Intent.NO), tone)
        if intent in (Intent.OTHER, Intent.UNCLEAR):  # the question stays open
            return in_tone(ONLY_ORDERS if intent is Intent.OTHER else NOT_UNDERSTOOD, tone)
        self._ask(Pending.MORE if intent is Intent.CANCEL else Pending.NOTHING)
        if intent is Intent.CANCEL:
            self.order = None
        return in_tone(_FIXED[intent], tone)

    def _take(self, request: Request) -> Line:
        """An order, or the last one changed; a change of nothing that names no drink is asked about."""
        order = request.order
        if request.change is not None:
            base = self.order if self.pending in (Pending.CONFIRM, Pending.MORE) else None
            order = request.change.apply(base) if base is not None else request.change.as_order()
        if order is None:
            self._ask(Pending.NOTHING)
            return in_tone(ASK_DRINK, request.tone)
        self._ask(Pending.CONFIRM)
        self.order = order
        return readback(order, request.tone)

    def _yes_or_no(self, yes: bool) -> Line:
        pending = self.pending
        if pending is Pending.CONFIRM:
            self._ask(Pending.MORE if yes else Pending.NOTHING)
            return CONFIRMED if yes else ASK_AGAIN
        if pending is Pending.NUMBER:
            self._ask(Pending.MORE if yes else Pending.NOTHING)
            return NUMBER_TAKEN if yes else ASK_NUMBER
        self._ask(Pending.NOTHING)
        if pending is Pending.MORE:
            return MORE if yes else GOODBYE
        return OKAY


_FIXED = {
    Intent.HOURS: HOURS,
    Intent.WHERE: WHERE,
    Intent.PERSON: TRANSFER,
    Intent.STATUS: DELEGATE,
    Intent.CANCEL: CANCELLED,
    Intent.GOODBYE: GOODBYE,
}
