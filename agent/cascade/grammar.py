"""What callers say to the order line, as word trigrams for the recogniser; and whether a sentence is whole.

Absolute discounting with backing off to shorter histories; unigrams are flattened so that a wording which was
never trained can still be put together from its words.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

from model.order import plain_words
from model.phrasings import Intent
from model.requests import OPEN_ENDS, draw_request
from model.understanding import interpret

_NUM_SENTENCES = 8_000
_ORDER_SHARE = 0.4
_LIVELY_SHARE = 0.3
_DISCOUNT = 0.5
_FLATTENING = 5  # added to each word's count
_ORDER = 3
_LEAST_LOG = -99.0

Gram = tuple[str, ...]
_NOT_WHOLE = (Intent.UNCLEAR, Intent.OTHER, Intent.NUMBER)


@cache
def training_sentences() -> tuple[str, ...]:
    """Callers' turns in trained wordings, the same every time."""
    rng = random.Random(1)
    others = [intent for intent in Intent if intent is not Intent.ORDER]  # with the call's own turns evenly

    def draw() -> str:
        intent = Intent.ORDER if rng.random() < _ORDER_SHARE else rng.choice(others)
        return " ".join(plain_words(draw_request(rng, intent, is_lively=rng.random() < _LIVELY_SHARE).text))

    return tuple(draw() for _ in range(_NUM_SENTENCES))


def write_trigrams(sentences: tuple[str, ...], path: Path) -> None:
    """Write the language model of these sentences in ARPA format."""
    counts = _count(sentences)
    tables = [_unigrams(counts[0])]
    weights: list[dict[Gram, float]] = []
    for grams in counts[1:]:
        table, backoffs = _discounted(grams, tables)
        tables.append(table)
        weights.append(backoffs)
    lines = ["\\data\\", *(f"ngram {n}={len(table)}" for n, table in enumerate(tables, 1))]
    for n, table in enumerate(tables, 1):
        backoffs = weights[n - 1] if n <= len(weights) else {}
        lines += ["", f"\\{n}-grams:"]
        for gram, value in sorted(table.items()):
            log = _LEAST_LOG if gram == ("<s>",) else math.log10(value)
            back = f"\t{math.log10(backoffs.get(gram, 1.0)):.4f}" if n < _ORDER else ""
            lines.append(f"{log:.4f}\t{' '.join(gram)}{back}")
    path.write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="ascii")


def _count(sentences: tuple[str, ...]) -> list[Counter[Gram]]:
    counts: list[Counter[Gram]] = [Counter() for _ in range(_ORDER)]
    for sentence in sentences:
        words = ["<s>", *sentence.split(), "</s>"]
        for n, grams in enumerate(counts, 1):
            grams.update(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
    return counts


def _unigrams(counts: Counter[Gram]) -> dict[Gram, float]:
    total = sum(count for gram, count in counts.items() if gram != ("<s>",))
    return {
        gram: (count + _FLATTENING) / (total + _FLATTENING * len(counts)) for gram, count in counts.items()
    }


def _discounted(
    counts: Counter[Gram], shorter: list[dict[Gram, float]]
) -> tuple[dict[Gram, float], dict[Gram, float]]:
    """(probability of each gram, weight with which each history backs off)."""
    by_history: dict[Gram, list[Gram]] = defaultdict(list)
    for gram in counts:
        by_history[gram[:-1]].append(gram)
    table: dict[Gram, float] = {}
    backoffs: dict[Gram, float] = {}
    for history, grams in by_history.items():
        total = sum(counts[gram] for gram in grams)
        freed = _DISCOUNT * len(grams) / total
        lower = {gram: shorter[-1][gram[1:]] for gram in grams}
        for gram in grams:
            table[gram] = (counts[gram] - _DISCOUNT) / total + freed * lower[gram]
        left, left_lower = 1 - sum(table[gram] for gram in grams), 1 - sum(lower.values())
        backoffs[history] = max(left, 1e-6) / max(left_lower, 1e-6)
    return table, backoffs


def is_complete(words: str) -> bool:
    """Whether a caller who stops here has said something whole."""
    return bool(words) and not is_open(words) and interpret(words).intent not in _NOT_WHOLE


def is_open(words: str) -> bool:
    """Whether a caller who stops here is plainly in the middle of a sentence."""
    spoken = words.split()
    return bool(spoken) and spoken[-1] in OPEN_ENDS
