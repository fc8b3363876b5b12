"""Calls in other words: what is read back of the caller's, and what the agent says, changed alike.

A bank has a thousand orders, few enough to be learnt by heart; a model that knows them all repeats none that
is new. Which drink is which, and which milk, is drawn anew here for each call: it can only be right by
repeating what it reads of what it wrote down. What it is to *write*, and the caller's sound, stay as they
were. The agent's sound would say the old words, so it is left out. Telephone numbers stay: repeating seven
digits in their order was not learnt this way, and half learnt it spoilt those that were known.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.config import ZERO_TOKEN
from model.numbers import DIGIT_WORDS
from model.training.call_writer import Call, Spelling

# Words of which one stands as well as another wherever it is said, articles included.
ALIKE = (
    ("latte", "mocha", "cappuccino"),
    ("espresso", "americano"),
    ("small", "large"),
    ("dark", "light"),
    ("single", "double", "triple"),
    ("soy", "almond", "skim", "whole"),
)
LEAST_DIGITS = 5  # in a line that reads a number back; a line with fewer tells the time


def is_number(words: Sequence[str]) -> bool:
    """Whether these words give a telephone number."""
    plain = [word.strip(".,?").lower() for word in words]
    return sum(word in DIGIT_WORDS or word in ("oh", "double") for word in plain) >= LEAST_DIGITS


def _exchange(groups: Sequence[Sequence[str]], spelling: Spelling, rng: random.Random) -> NDArray[np.int64]:
    """What each text token becomes, int64 [card]: groups are shuffled; words of several pieces stay."""
    table = np.arange(spelling.tokenizer.card)
    for group in groups:
        tokens = [spelling(word)[0] for word in group if len(spelling(word)) == 1]
        table[tokens] = rng.sample(tokens, len(tokens))
    return table


def reword(call: Call, spelling: Spelling, rng: random.Random) -> None:
    """Change the words of a whole call."""
    words = _exchange(ALIKE, spelling, rng)
    call.read_back = call.transcript.copy()
    for heard, columns in call.turns:
        if not is_number(heard):
            call.read_back[columns] = words[call.transcript[columns]]
    before = call.text.copy()
    for said, columns in call.lines:
        if not is_number(said):
            call.text[columns] = words[before[columns]]
    for _, columns in call.lines:
        if (call.text[columns] != before[columns]).any():
            call.agent[:, columns] = ZERO_TOKEN
