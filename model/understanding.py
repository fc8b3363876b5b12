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
    {lead.strip().lower() for group in (LEAD_INS, *TONE_LEAD_INS.values()) for lead in group.train} - {""},
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
        tone = next((t for t, group in TONE_LEAD_INS.items() if lead in map(_plain_lead, group.train)), tone)
    words = [word for word in said.split() if word not in HESITATIONS]
    while len(words) > 1 and words[0] in ("so", "oh", "hi"):
        words.pop(0)
    return " ".join(words) or said, tone


def _plain_lead(lead: str) -> str:
    return lead.strip().lower()


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
    likeness, intent = _index().nearest(words)
    if likeness >= LEAST_LIKENESS:
        return intent
    return Intent.OTHER if len(words) >= LEAST_WORDS else Intent.UNCLEAR


@dataclass(frozen=True, slots=True)
class _Wording:
    intent: Intent
    counts: Counter[str]
    weight: float  # of all its words


@dataclass(frozen=True, slots=True)
class _Index:
    """Trained wordings, and how telling each word is."""

    wordings: tuple[_Wording, ...]
    weights: dict[str, float]
    unknown: float  # the weight of any other word

    def nearest(self, words: list[str]) -> tuple[float, Intent]:
        """How like the most alike wording is (the share of weight that both have, 1: the same words), and its
        intent."""
        counts = Counter(words)
        weight = sum(self.weights.get(word, self.unknown) for word in words)
        best = (0.0, Intent.OTHER)
        for one in self.wordings:
            both = sum(
                self.weights[word] * min(count, one.counts[word])
                for word, count in counts.items()
                if word in one.counts
            )
            likeness = 2 * both / (weight + one.weight)
            if likeness > best[0]:
                best = (likeness, one.intent)
        return best


@cache
def _index() -> _Index:
    texts = [
        (intent, plain_words(text))
        for intent, group in PHRASINGS.items()
        if intent is not Intent.NUMBER
        for text in group.train
    ]
    spread: dict[str, set[Intent]] = {}
    for intent, words in texts:
        for word in words:
            spread.setdefault(word, set()).add(intent)
    weights = {word: math.log(1 + len(PHRASINGS) / len(found)) for word, found in spread.items()}
    wordings = tuple(
        _Wording(intent, Counter(words), sum(weights[word] for word in words)) for intent, words in texts
    )
    return _Index(wordings, weights, max(weights.values()))
