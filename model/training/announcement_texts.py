"""What the agent is taught to say besides its lines: any English, so that it can be made to say anything.

Three sources, mixed: talk of a service line from templates, walks over the word triples of the recogniser's
language model (real frequencies, real company of words), and strings of rarer dictionary words for the sounds
that the others miss. A folder of recordings may lend its transcripts. Read-backs of random telephone numbers
besides: which digits are said is the runtime's choice (`model.recital`), so the voice must know them in any
order. The same seed gives the same sentences.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from model.errors import RecordingError
from model.order_line import read_number
from model.requests import draw_number
from model.said_sentences import HELD_OUT_SENTENCES

NUM_COMMON, NUM_KNOWN = 4_000, 30_000  # words by frequency: of walks, of strings
NUM_ALWAYS, NUM_DRAWN = 80, 160  # commonest words, and others, that a walk looks at before each step
SHARED_WORDS = 5  # as many words in a row as a held-out sentence has are not trained on
SERVICE_SHARE, WALK_SHARE = 0.35, 0.45
_SHORTEST, _LONGEST = 4, 11
_NOT_LAST = frozenset(
    "the a an of to and or but in on at for with from by my your his her our their its is are was were i we "
    "he she they that which who if as than this these those very so be been have has had would could should "
    "not it's i'm don't because into about".split()
)

_SLOTS: dict[str, tuple[str, ...]] = {
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "month": tuple(
        "January February March April May June July August September October November December".split()
    ),
    "hour": tuple("one two three four five six seven eight nine ten eleven twelve".split()),
    "minute": ("o'clock", "fifteen", "thirty", "forty five", "twenty", "ten", "fifty"),
    "number": tuple(
        """two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
        seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety""".split()
    ),
    "name": tuple(
        """James Mary Robert Patricia John Jennifer Michael Linda David Elizabeth William Barbara
        Richard Susan Joseph Jessica Thomas Sarah Charles Karen Christopher Nancy Daniel Lisa
        Matthew Betty Anthony Sandra Mark Ashley Donald Kimberly Steven Emily Andrew Donna Paul
        Michelle Joshua Carol Kenneth Amanda George Melissa Martin Julia Oliver Sophie Harry Grace""".split()
    ),
    "thing": tuple(
        """order delivery invoice refund ticket package appointment payment receipt account reservation
        message card password table machine kitchen driver manager address number menu oven grinder
        bill box bag cup voucher discount contract parcel window jacket umbrella wallet phone key""".split()
    ),
    "place": tuple(
        """station airport harbor market office hospital library school church bridge park museum
        bakery theater garage bank square stadium beach garden hotel pharmacy university""".split()
    ),
    "food": tuple(
        """bagel muffin sandwich croissant cookie salad brownie pancake waffle sausage cheesecake
        yogurt omelette soup toast juice lemonade chocolate vanilla cinnamon caramel hazelnut
        oatmeal honey""".split()
    ),
    "state": tuple(
        """ready late closed open broken empty full cancelled confirmed missing available delayed
        finished wrong perfect cheaper free busy paid""".split()
    ),
}  # fmt: skip
_TEMPLATES = (
    "Your {thing} will be {state} at {hour} {minute}.",
    "The {thing} for {name} is {state}.",
    "I have checked, and your {thing} left the {place} on {day}.",
    "We expect it on {day}, the {number} of {month}.",
    "Please ask for {name} at the {place}.",
    "There are {number} people in front of you.",
    "Would you like a {food} or a {food} with that?",
    "Our {food} is {state} today, but the {food} is very good.",
    "The {place} is {number} minutes from the {place}.",
    "{name} called about the {thing} on {day} at {hour} {minute}.",
    "That makes {number} dollars and {number} cents.",
    "I am sorry, the {thing} is {state} until {day}.",
    "Let me look for your {thing}. It should be {state} by {month}.",
    "You can pick up the {thing} behind the {place}.",
    "Your {food} is {state}, and the {food} follows in {number} minutes.",
    "The {thing} costs {number} dollars more in {month}.",
    "Please hold the line while I find {name}.",
    "No, the {place} is not {state} on {day}.",
    "Tell {name} that the {thing} is at the {place}.",
    "We close at {hour} {minute} in {month}.",
    "We usually measure the {thing} at the garage.",
)


def announcement_texts(count: int, seed: int, transcripts: Iterable[str] = ()) -> list[str]:
    """So many different sentences, none of which shares five words in a row with a held-out one.

    `transcripts` are a recordings' texts; a quarter of the sentences is drawn from those that are of English
    words and of 3 to 14 of them. Raises RecordingError if pocketsphinx is missing.
    """
    rng = random.Random(seed)
    lent = sorted({text for text in map(_plain, transcripts) if text})
    rng.shuffle(lent)
    texts = dict.fromkeys(text for text in lent[: count // 4] if not _is_held_out(text))
    source = _sources(rng)
    while len(texts) < count:
        text = next(source)
        if not _is_held_out(text):
            texts[text] = None
    ordered = list(texts)
    rng.shuffle(ordered)
    return ordered


def number_texts(count: int, seed: int) -> list[str]:
    """Read-backs of so many different random telephone numbers."""
    rng = random.Random(seed)
    texts: dict[str, None] = {}
    while len(texts) < count:
        texts[read_number(draw_number(rng)).text] = None
    return list(texts)


def _sources(rng: random.Random) -> Iterator[str]:
    words = _words_by_frequency()
    while True:
        kind = rng.random()
        if kind < SERVICE_SHARE:
            yield _filled(rng.choice(_TEMPLATES), rng)
        elif kind < SERVICE_SHARE + WALK_SHARE:
            yield _sentence(_walk(words[:NUM_COMMON], rng))
        else:
            yield _sentence(rng.choices(words[:NUM_KNOWN], k=rng.randint(3, 6)))


def _plain(text: str) -> str:
    """A transcript as one sentence; empty if it is too long, too short, or not of plain words."""
    words = text.split()
    is_plain = all(re.fullmatch(r"[A-Za-z']+[.,;:?!]?", word) for word in words)
    return " ".join(words) if is_plain and 3 <= len(words) <= 14 else ""


def _filled(template: str, rng: random.Random) -> str:
    text = re.sub(r"\{(\w+)\}", lambda slot: rng.choice(_SLOTS[slot[1]]), template)
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    return text[0].upper() + text[1:]


def _sentence(words: Sequence[str]) -> str:
    text = " ".join(words)
    return text[0].upper() + text[1:] + "."


def _walk(common: Sequence[str], rng: random.Random) -> list[str]:
    """Words each likely after the two before it; it ends on a word that may end a sentence."""
    prob, weights = _language_model().prob, _weights(len(common))
    words = rng.choices(common, weights)
    length = rng.randint(_SHORTEST, _LONGEST - 2)
    while len(words) < length or (words[-1] in _NOT_LAST and len(words) < _LONGEST):
        history = words[:-3:-1]
        picks = sorted({*common[:NUM_ALWAYS], *rng.choices(common, weights, k=NUM_DRAWN)} - {words[-1]})
        logs = [prob([word, *history]) for word in picks]
        best = max(logs)
        words += rng.choices(picks, [_BASE ** (one - best) for one in logs])
    return words


_BASE = 1.0001  # of the recogniser's logarithms


@cache
def _weights(count: int) -> list[float]:
    """Zipf's law by rank, flattened: candidates need variety, the triples bring the rest."""
    return [math.sqrt(1 / (rank + 10)) for rank in range(count)]


@cache
def _language_model() -> Any:
    try:
        import pocketsphinx
    except ImportError:
        raise RecordingError(
            "pocketsphinx, whose language model the agent's sentences are drawn from, is missing: run "
            "`pip install pocketsphinx`, or the stage `bank` on a machine that has it, and copy the folder"
        ) from None
    decoder = pocketsphinx.Decoder(loglevel="FATAL", lm=None)
    path = pocketsphinx.get_model_path("en-us/en-us.lm.bin")
    return pocketsphinx.NGramModel(decoder.config, pocketsphinx.LogMath(_BASE), path)


@cache
def _words_by_frequency() -> list[str]:
    """The dictionary's words of two letters and more (and "a", "I"), the commonest first."""
    prob = _language_model().prob
    import pocketsphinx

    dictionary = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))
    words = {line.split()[0] for line in dictionary.read_text(encoding="utf-8").splitlines() if line}
    plain = sorted(w for w in words if re.fullmatch(r"[a-z]+('[a-z]+)?", w) and (len(w) > 1 or w in "ai"))
    return sorted(plain, key=lambda word: -prob([word]))


def _spoken_words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def _runs(text: str) -> set[tuple[str, ...]]:
    words = _spoken_words(text)
    return {tuple(words[at : at + SHARED_WORDS]) for at in range(len(words) - SHARED_WORDS + 1)}


@cache
def _held_out_runs() -> frozenset[tuple[str, ...]]:
    return frozenset(run for text in HELD_OUT_SENTENCES for run in _runs(text))


def _is_held_out(text: str) -> bool:
    return not _runs(text).isdisjoint(_held_out_runs())
