"""Offhook Coffee's order line: what callers ask, what the agent answers, and every wording of both.

Training material, evaluation and the judge of answers all read this one file. Phrasings marked held out are
never trained on. The order grammar follows the public coffee-order yardstick (Picovoice speech-to-intent,
2020).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

SIZES = ("small", "medium", "large")
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


class Intent(Enum):
    """What a caller's turn asks for."""

    ORDER = "order"
    YES = "yes"
    NO = "no"
    HOURS = "hours"
    WHERE = "where"
    PERSON = "person"
    REPEAT = "repeat"
    GOODBYE = "goodbye"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Order:
    """One drink; what the caller did not name is None."""

    drink: str
    size: str | None = None
    milk: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One caller turn: what it means and the words that say it."""

    intent: Intent
    text: str
    order: Order | None = None

    def incomplete_words(self) -> list[int]:
        """After how many words the caller may pause while the sentence is plainly unfinished."""
        words = self.text.split()
        open_ends = {
            "a",
            "an",
            "some",
            "with",
            "get",
            "have",
            "me",
            "small",
            "medium",
            "large",
            "the",
            "to",
            "of",
        }
        return [count for count, word in enumerate(words[:-1], start=1) if word in open_ends and count > 1]


class Control(Enum):
    """What the agent does besides speaking, at the end of a line."""

    NONE = "none"
    HANG_UP = "hang_up"
    TRANSFER = "transfer"


@dataclass(frozen=True, slots=True)
class Line:
    """What the agent says in one turn, and does at its end."""

    text: str
    control: Control = Control.NONE


GREETING = Line("Off hook coffee. What can I get you?")
CONFIRMED = Line("Great. It will be ready in ten minutes. Anything else?")
ASK_AGAIN = Line("Sorry about that. What can I get you instead?")
MORE = Line("Sure. What would you like?")
OKAY = Line("Okay. What can I get you?")
HOURS = Line("We are open from seven in the morning to six at night.")
WHERE = Line("We are at twelve Main Street, next to the station.")
TRANSFER = Line("One moment, I will put you through.", Control.TRANSFER)
NOBODY = Line("Sorry, nobody is free right now. Can I help you?")
GOODBYE = Line("Thank you for calling. Goodbye.", Control.HANG_UP)
STILL_THERE = Line("Are you still there?")
GIVE_UP = Line("I will hang up now. Goodbye.", Control.HANG_UP)
NOT_UNDERSTOOD = Line("Sorry, I did not get that. Can you say it again?")

AGENT_LINES: tuple[Line, ...] = (
    GREETING,
    CONFIRMED,
    ASK_AGAIN,
    MORE,
    OKAY,
    HOURS,
    WHERE,
    TRANSFER,
    NOBODY,
    GOODBYE,
    STILL_THERE,
    GIVE_UP,
    NOT_UNDERSTOOD,
)


def _with_article(words: str) -> str:
    return f"{'An' if words[0] in 'aeiou' else 'A'} {words}"


def describe(order: Order) -> str:
    """The order as a phrase: "A large latte with soy milk"."""
    phrase = _with_article(" ".join(word for word in (order.size, order.drink) if word))
    return f"{phrase} with {order.milk}" if order.milk else phrase


def readback(order: Order) -> Line:
    """The agent's answer to an order: what it understood, and the question whether that is right."""
    return Line(f"{describe(order)}. Is that right?")


def every_order() -> list[Order]:
    """All orders that can be asked for."""
    sizes, milks = (None, *SIZES), (None, *MILKS)
    return [Order(drink, size, milk) for drink in DRINKS for size in sizes for milk in milks]


class Pending(Enum):
    """What the agent's last question was about."""

    NOTHING = "nothing"
    CONFIRM = "confirm"
    MORE = "more"


class OrderLine:
    """The agent's side as rules: which line answers which request. One per call.

    This is the truth that the model learns and is judged against; the model itself never runs it.
    """

    def __init__(self) -> None:
        self.pending = Pending.NOTHING
        self.last = GREETING

    def answer(self, request: Request) -> Line:
        """The line that answers a request, remembered for REPEAT and for what "yes" will mean."""
        if request.intent is Intent.REPEAT:
            return Line(self.last.text) if self.last.control is not Control.NONE else self.last
        return self.say(self._choose(request))

    def say(self, line: Line, pending: Pending | None = None) -> Line:
        """Note that a line was said (also unprompted, like STILL_THERE, which leaves the question open)."""
        if line is STILL_THERE:
            return line
        self.last = line
        if pending is not None:
            self.pending = pending
        return line

    def _choose(self, request: Request) -> Line:
        if request.intent is Intent.ORDER:
            assert request.order is not None
            self.pending = Pending.CONFIRM
            return readback(request.order)
        if request.intent in (Intent.YES, Intent.NO):
            return self._yes_or_no(request.intent is Intent.YES)
        fixed = {
            Intent.HOURS: HOURS,
            Intent.WHERE: WHERE,
            Intent.PERSON: TRANSFER,
            Intent.GOODBYE: GOODBYE,
            Intent.OTHER: NOT_UNDERSTOOD,
        }
        if request.intent is not Intent.OTHER:
            self.pending = Pending.NOTHING
        return fixed[request.intent]

    def _yes_or_no(self, yes: bool) -> Line:
        pending, self.pending = self.pending, Pending.NOTHING
        if pending is Pending.CONFIRM:
            if yes:
                self.pending = Pending.MORE
            return CONFIRMED if yes else ASK_AGAIN
        if pending is Pending.MORE:
            return MORE if yes else GOODBYE
        return OKAY


@dataclass(frozen=True)
class Phrasings:
    """Wordings of one intent; the held-out ones serve evaluation alone."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]


PHRASINGS: dict[Intent, Phrasings] = {
    Intent.YES: Phrasings(
        ("yes", "yes please", "yeah", "yep", "that's right", "correct", "yes that's right", "yes it is",
         "yeah sure", "sure", "right", "that is correct", "yes correct", "exactly", "yes thank you",
         "yeah that's right",
         "yup", "yes that is right", "perfect", "sounds good", "okay", "okay yes", "yes exactly",
         "absolutely", "yes that's fine", "yes perfect", "that is fine", "of course", "yes I do",
         "right yes"),
        ("yes that's correct", "yeah please"),
    ),
    Intent.NO: Phrasings(
        ("no", "no thanks", "no thank you", "nope", "no that's wrong", "that's wrong", "no it's not",
         "not right", "no that's not right", "nah", "no that is wrong", "no sorry", "wrong",
         "that is not right", "no nothing", "no that's it", "no that's all",
         "no not that", "no that's not what I said", "no I said something else", "I didn't say that", "no no",
         "nothing else", "no thanks that's all", "not really", "no you got it wrong", "no I don't"),
        ("no that's not it", "nope thanks"),
    ),
    Intent.HOURS: Phrasings(
        ("when are you open", "what are your opening hours", "what time do you open",
         "what time do you close", "how late are you open", "are you open today", "when do you close",
         "what are your hours", "are you open on sunday", "until when are you open", "when do you open",
         "tell me your opening hours", "what hours are you open", "are you still open",
         "how long are you open today",
         "can you tell me when you open", "could you tell me the opening times",
         "what are your opening times", "do you open on saturday", "are you open tomorrow",
         "when do you close today",
         "what time do you open in the morning", "how late do you stay open", "tell me your hours please",
         "I want to know your opening hours", "what time do you close tonight", "are you open now",
         "can I ask for your hours", "what are the times you are open", "do you know when you close"),
        ("can you tell me your hours", "when do you open today", "what are the opening hours"),
    ),
    Intent.WHERE: Phrasings(
        ("where are you", "what is your address", "where is the shop", "where are you located",
         "how do I find you", "how do I get there", "what street are you on", "can you tell me the address",
         "where is your store", "where can I find you", "what's the address", "give me your address",
         "which street are you on", "tell me where you are", "where do I pick it up",
         "could you tell me where the shop is", "can you give me the address please", "what's your address",
         "where is the coffee shop", "how can I find you", "where are you exactly",
         "I want to know where you are", "tell me your address", "where do I find you",
         "how do I get to the shop", "what is the street", "can I ask for your address",
         "do you know the address"),
        ("can you tell me where you are", "what is the address", "where is your shop"),
    ),
    Intent.PERSON: Phrasings(
        ("can I talk to a person", "I want to speak to a human", "let me talk to someone",
         "connect me to a person", "can I speak to somebody", "get me a human",
         "I'd like to talk to a real person", "put me through to someone", "I want to talk to the manager",
         "can I speak with a person please", "talk to a person", "give me a real person",
         "is there a human I can talk to", "transfer me to a person", "I need to speak to somebody",
         "can I speak to a real person", "I need a person", "could I talk to someone",
         "I would like to speak to somebody", "could you put me through to a person",
         "let me speak to the manager", "is there somebody I can speak to", "please connect me with someone",
         "I want a human", "can you get me a person please"),
        ("can I talk to a human", "I want to talk to a real person", "let me speak to a person"),
    ),
    Intent.REPEAT: Phrasings(
        ("can you repeat that", "say that again", "what did you say", "sorry what was that", "pardon",
         "can you say that again please", "repeat that please", "I did not hear you", "come again",
         "sorry I didn't get that", "excuse me what", "one more time please", "could you repeat that",
         "what was that",
         "I'm sorry can you say that one more time", "sorry could you repeat", "what was that again",
         "can you repeat it please", "I didn't catch that", "sorry what", "please repeat", "repeat that",
         "could you say it again please", "say it again please", "can you say it once more"),
        ("please say that again", "sorry can you repeat that", "could you say that again"),
    ),
    Intent.GOODBYE: Phrasings(
        ("goodbye", "bye", "bye bye", "thanks bye", "thank you goodbye", "that's all bye", "okay bye",
         "see you", "thank you bye", "have a nice day", "okay thank you goodbye", "that's it goodbye",
         "thanks goodbye", "alright bye", "see you later",
         "bye for now", "okay goodbye", "thank you bye bye", "thanks that's all goodbye", "great thanks bye",
         "see you then bye", "well goodbye", "that's everything bye", "thank you have a good day",
         "okay then bye", "good night", "talk to you later bye", "perfect thanks goodbye"),
        ("goodbye then", "alright thanks bye", "bye now"),
    ),
    Intent.OTHER: Phrasings(
        ("the weather is lovely in the mountains", "my sister bought a new bicycle",
         "do you sell train tickets", "I lost my umbrella last week", "how much is a pizza",
         "can you fix my computer", "who won the football game", "we painted the kitchen blue",
         "is there a doctor on the plane", "the library has many books", "what is the capital of france",
         "please water the flowers", "he walked along the river", "my phone is broken", "turn on the lights",
         "play some music", "they went to school by bus", "what day is it tomorrow"),
        ("can you book a hotel for me", "the dog ran across the field"),
    ),
}  # fmt: skip

ORDER_OPENERS = Phrasings(
    ("can I get", "can I have", "I want", "get me", "give me", "I'd like", "make me", "may I have",
     "could I get", "I'll have", "I'll take", "could I have", "I would like", "I need", "brew",
     "please give me", "one", "just"),
    ("let me have", "I'd like to get", "please make me", "could you make me"),
)  # fmt: skip
MILK_AMOUNTS = ("", "", "", "some ", "a bit of ", "a little bit of ", "a lot of ", "lots of ")
LEAD_INS = Phrasings(
    ("", "", "", "", "", "hi ", "hello ", "um ", "yes hi ", "okay ", "uh ", "well ", "hey ", "good morning "),
    ("", "", "", "", "hello um ", "oh hi ", "so "),
)
TAILS = ("", "", "", " please", " thanks", " please")


def _pick(phrasings: Phrasings, rng: random.Random, held_out: bool) -> str:
    return rng.choice(phrasings.held_out if held_out else phrasings.train)


def draw_order(rng: random.Random, *, all_slots: bool = False) -> Order:
    """A random order; with `all_slots` size and milk are always named."""
    size = rng.choice(SIZES) if all_slots or rng.random() < 0.75 else None
    milk = rng.choice(MILKS) if all_slots or rng.random() < 0.6 else None
    return Order(rng.choice(DRINKS), size, milk)


def phrase_order(order: Order, rng: random.Random, *, held_out: bool = False) -> Request:
    """An order in a random wording."""
    opener = _pick(ORDER_OPENERS, rng, held_out)
    what = " ".join(word for word in (order.size, order.drink) if word)
    article = "" if opener in ("one", "just") else ("an " if what[0] in "aeiou" else "a ")
    milk = f" with {rng.choice(MILK_AMOUNTS)}{order.milk}" if order.milk else ""
    text = f"{_pick(LEAD_INS, rng, held_out)}{opener} {article}{what}{milk}{rng.choice(TAILS)}"
    return Request(Intent.ORDER, text, order)


def draw_request(
    rng: random.Random, intent: Intent, *, held_out: bool = False, all_slots: bool = False
) -> Request:
    """A random request of an intent, in a random wording."""
    if intent is Intent.ORDER:
        return phrase_order(draw_order(rng, all_slots=all_slots), rng, held_out=held_out)
    lead = _pick(LEAD_INS, rng, held_out) if rng.random() < 0.4 else ""
    return Request(intent, lead + _pick(PHRASINGS[intent], rng, held_out))


def caller_vocabulary() -> list[str]:
    """Every word that a trained or held-out caller may say, sorted."""
    texts: list[str] = [*SIZES, *DRINKS, *MILKS, *MILK_AMOUNTS, *TAILS, "a", "an", "with"]
    groups: Sequence[Phrasings] = [*PHRASINGS.values(), ORDER_OPENERS, LEAD_INS]
    for group in groups:
        texts += [*group.train, *group.held_out]
    return sorted({word.lower() for text in texts for word in text.split()})
