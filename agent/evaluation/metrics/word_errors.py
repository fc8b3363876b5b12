"""Word error rate with its alignment, digit strings, and slots."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

_DIGITS = {
    word: str(value)
    for value, words in enumerate(
        ["zero oh o", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    )
    for word in words.split()
}
_TIMES = {"double": 2, "triple": 3}


class Edit(Enum):
    """What became of one word."""

    RIGHT = "right"
    SUBSTITUTED = "substituted"
    DELETED = "deleted"
    INSERTED = "inserted"


@dataclass(frozen=True, slots=True)
class Aligned:
    """One step of an alignment; `said` is "" for an insertion, `heard` for a deletion."""

    edit: Edit
    said: str
    heard: str


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Counts over one or many utterances; add them to pool utterances."""

    num_words: int = 0
    substituted: int = 0
    deleted: int = 0
    inserted: int = 0

    @property
    def rate(self) -> float:
        """WER: edits over words said. It may exceed 1; with no word said, it is the number of insertions."""
        return (self.substituted + self.deleted + self.inserted) / max(self.num_words, 1)

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(
            self.num_words + other.num_words,
            self.substituted + other.substituted,
            self.deleted + other.deleted,
            self.inserted + other.inserted,
        )


def words_of(text: str) -> list[str]:
    """Lower-case words, apostrophes kept inside them, all other marks dropped; hyphens part words."""
    return re.findall(r"\w+(?:'\w+)*", text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


def align(said: Sequence[str], heard: Sequence[str]) -> list[Aligned]:
    """The cheapest alignment (each edit costs 1); among equals, the one that substitutes latest."""
    cost = _costs(said, heard)
    steps: list[Aligned] = []
    i, j = len(said), len(heard)
    while i or j:
        if i and j and cost[i, j] == cost[i - 1, j - 1] + (said[i - 1] != heard[j - 1]):
            i, j = i - 1, j - 1
            edit = Edit.RIGHT if said[i] == heard[j] else Edit.SUBSTITUTED
            steps.append(Aligned(edit, said[i], heard[j]))
        elif i and cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
            steps.append(Aligned(Edit.DELETED, said[i], ""))
        else:
            j -= 1
            steps.append(Aligned(Edit.INSERTED, "", heard[j]))
    return steps[::-1]


def _costs(said: Sequence[str], heard: Sequence[str]) -> np.ndarray:
    """Edit distance of every pair of prefixes: int64 [len(said) + 1, len(heard) + 1]."""
    cost = np.zeros((len(said) + 1, len(heard) + 1), np.int64)
    cost[:, 0], cost[0] = np.arange(len(said) + 1), np.arange(len(heard) + 1)
    for i, word in enumerate(said, 1):
        for j, other in enumerate(heard, 1):
            swap = cost[i - 1, j - 1] + (word != other)
            cost[i, j] = min(swap, cost[i - 1, j] + 1, cost[i, j - 1] + 1)
    return cost


def word_errors(said: str, heard: str) -> WordErrors:
    """Errors in what was heard of one utterance."""
    edits = Counter(step.edit for step in align(words_of(said), words_of(heard)))
    return WordErrors(
        edits[Edit.RIGHT] + edits[Edit.SUBSTITUTED] + edits[Edit.DELETED],
        edits[Edit.SUBSTITUTED],
        edits[Edit.DELETED],
        edits[Edit.INSERTED],
    )


def pooled(pairs: Iterable[tuple[str, str]]) -> WordErrors:
    """Errors over many (said, heard): long utterances weigh more, as WER is usually given."""
    return sum((word_errors(said, heard) for said, heard in pairs), WordErrors())


def digits_of(text: str) -> str:
    """The digits said, in order: figures, "oh", "double five"; every other word is passed over."""
    digits, times = "", 1
    for word in words_of(text):
        if word in _TIMES:
            times = _TIMES[word]
            continue
        digits += _DIGITS.get(word, word if word.isascii() and word.isdigit() else "") * times
        times = 1
    return digits


@dataclass(frozen=True, slots=True)
class DigitScore:
    """One digit string: right as a whole, and at each position of what was said."""

    is_right: bool
    at_position: tuple[bool, ...]  # one for each digit said; an inserted digit spoils `is_right` alone


def score_digits(said: str, heard: str) -> DigitScore:
    """Compare two texts as digit strings; positions are aligned, so one lost digit costs one position."""
    expected, got = digits_of(said), digits_of(heard)
    steps = align(list(expected), list(got))
    flags = tuple(step.edit is Edit.RIGHT for step in steps if step.edit is not Edit.INSERTED)
    return DigitScore(expected == got, flags)


def by_position(scores: Sequence[DigitScore]) -> list[tuple[int, int]]:
    """(right, said) at each position, over strings of any lengths."""
    longest = max((len(score.at_position) for score in scores), default=0)
    columns = [[s.at_position[at] for s in scores if at < len(s.at_position)] for at in range(longest)]
    return [(sum(column), len(column)) for column in columns]


@dataclass(frozen=True, slots=True)
class SlotScore:
    """One filled form: slots right of those expected, and whether nothing else was filled either."""

    right: tuple[str, ...]
    wrong: tuple[str, ...]  # expected, but missing or with another value
    extra: tuple[str, ...]  # filled, but not expected

    @property
    def is_right(self) -> bool:
        """Every slot as expected, and none besides."""
        return not self.wrong and not self.extra


def score_slots(expected: Mapping[str, Hashable], heard: Mapping[str, Hashable]) -> SlotScore:
    """Compare two forms; a slot whose value is None counts as not filled."""
    want = {name: value for name, value in expected.items() if value is not None}
    got = {name: value for name, value in heard.items() if value is not None}
    return SlotScore(
        right=tuple(name for name in want if name in got and got[name] == want[name]),
        wrong=tuple(name for name in want if name not in got or got[name] != want[name]),
        extra=tuple(name for name in got if name not in want),
    )
