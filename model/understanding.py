"""A whole request from its transcript: orders by grammar, everything else by likeness.

For callers whose words are known to the letter or nearly: the model itself understands sound, not this.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cache

from model.order import Change, Number, Order, plain_words, understand
from model.phrasings import BACKCHANNELS, HESITATIONS, LEAD_INS, PHRASINGS, TONE_LEAD_INS, Intent, Tone
from model.requests import Request

LEAST_LIKENESS = 0.55  # below it, words are about something else
LEAST_WORDS = 3  # with fewer that fit nothing, nothing was said
_LEADS = sorted(
    {lead.strip() for group in (LEAD_INS, *TONE_LEAD_INS.values()) for lead in group.train if lead.strip()},
    key=len,
    reverse=True,
)
# A few words that settle a request wherever they stand, read in this order.
_CUES: tuple[tuple[Intent, tuple[str, ...]], ...] = (
    (Intent.GOODBYE, ("goodbye", "bye")),
    (Intent.CANCEL, ("cancel", "never mind", "forget it")),
    (Intent.STATUS, ("my order", "my coffee", "my drink", "is it ready")),
    (Intent.PERSON, ("human", "real person", "a person", "the manager")),
    (Intent.WHERE, ("address", "street", "where are you", "where is the shop", "where is your")),
    (Intent.HOURS, ("open", "hours", "close", "opening times")),
    (Intent.REPEAT, ("repeat", "say that again", "pardon")),
)


def interpret(words: str, tone: Tone | None = None) -> Request:
    """The request that a transcript makes; of a tone that the first words tell, if it is not given."""
    said, heard_tone = _without_lead(" ".join(plain_words(words)))
    tone = tone or heard_tone
    if isinstance(number := understand(words), Number):
        return Request(Intent.NUMBER, words, number=number.digits, tone=tone)
    meant = understand(said)
    if (intent := _cued(said)) is not None:
        return Request(intent, words, tone=tone)
    if isinstance(meant, Order):
        return Request(Intent.ORDER, words, order=meant, tone=tone)
    if isinstance(meant, Change):
        return Request(Intent.CHANGE, words, change=meant, tone=tone)
    return Request(_nearest(said), words, tone=tone)


def _without_lead(said: str) -> tuple[str, Tone]:
    """The words after what callers begin with, and the tone that this tells."""
    tone = Tone.CALM
    if said in BACKCHANNELS:
        return said, tone
    while lead := next((lead for lead in _LEADS if said.startswith(f"{lead} ")), None):
        said = said.removeprefix(f"{lead} ")
        tone = next((t for t, group in TONE_LEAD_INS.items() if f"{lead} " in group.train), tone)
    words = [word for word in said.split() if word not in HESITATIONS]
    while len(words) > 1 and words[0] in ("so", "oh", "hi"):
        words.pop(0)
    return " ".join(words) or said, tone


def _cued(said: str) -> Intent | None:
    padded = f" {said} "
    return next((intent for intent, cues in _CUES if any(f" {cue} " in padded for cue in cues)), None)


def _nearest(said: str) -> Intent:
    """The intent of the trained wording that is most alike; unclear or off the line if none is."""
    words = [word for word in said.split() if word not in HESITATIONS]
    if not words:
        return Intent.UNCLEAR
    if said in BACKCHANNELS and said in ("mhm", "uh huh"):
        return Intent.BACKCHANNEL
    index = _index()
    likeness, intent = max(((index.likeness(words, one.words), one.intent) for one in index.wordings),
                           key=lambda pair: pair[0])  # fmt: skip
    if likeness >= LEAST_LIKENESS:
        return intent
    return Intent.OTHER if len(words) >= LEAST_WORDS else Intent.UNCLEAR


@dataclass(frozen=True, slots=True)
class _Wording:
    intent: Intent
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Index:
    """Trained wordings, and how telling each word is."""

    wordings: tuple[_Wording, ...]
    weights: dict[str, float]

    def likeness(self, one: list[str], other: tuple[str, ...]) -> float:
        """Share of the weight of words that both have: 1 is the same words."""
        shared = Counter(one) & Counter(other)
        both = sum(self._weight(word) * count for word, count in shared.items())
        return 2 * both / (sum(map(self._weight, one)) + sum(map(self._weight, other)))

    def _weight(self, word: str) -> float:
        return self.weights.get(word, max(self.weights.values()))


@cache
def _index() -> _Index:
    wordings = tuple(
        _Wording(intent, tuple(plain_words(text)))
        for intent, group in PHRASINGS.items()
        if intent is not Intent.NUMBER
        for text in group.train
    )
    spread: dict[str, set[Intent]] = {}
    for one in wordings:
        for word in one.words:
            spread.setdefault(word, set()).add(one.intent)
    return _Index(wordings, {w: math.log(1 + len(PHRASINGS) / len(found)) for w, found in spread.items()})
