"""Seven-digit telephone numbers as people say them, and as the agent reads them back."""

from __future__ import annotations

import random
import re

NUM_DIGITS = 7
FIRST_GROUP = 3  # digits before the comma of a read-back
DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGIT_VALUES = {word: value for value, word in enumerate(DIGIT_WORDS)} | {"oh": 0}
TIMES = {"double": 2, "triple": 3}
SKIPPED = frozenset({"um", "uh", "er", "and", "dash", "then"})
RESTARTS = frozenset({"no", "sorry", "wait", "again"})
# In these a caller asks to hear something again. Not "what": that asks for hours and addresses, too.
REPEATS = frozenset({"again", "repeat", "pardon", "once", "more", "missed", "catch", "say", "hear", "was"})


def read_digits(digits: str) -> str:
    """Digit by digit, a comma after the third: "Five five five, one two three four"."""
    words = [DIGIT_WORDS[int(digit)] for digit in digits]
    return f"{' '.join(words[:FIRST_GROUP])}, {' '.join(words[FIRST_GROUP:])}".capitalize()


def say_digits(digits: str, rng: random.Random) -> str:
    """A caller's way: "oh" or "zero" throughout, and at times "double five" for two of a kind."""
    zero = rng.choice(("zero", "oh"))
    doubles = rng.random() < 0.4
    words: list[str] = []
    for group in (digits[:FIRST_GROUP], digits[FIRST_GROUP:]):
        at = 0
        while at < len(group):
            same = len(group[at:]) - len(group[at:].lstrip(group[at]))
            if doubles and same >= 2:
                words.append("double")
                same = 2
            else:
                same = 1
            words.append(zero if group[at] == "0" else DIGIT_WORDS[int(group[at])])
            at += same
    return " ".join(words)


def digits_in(text: str) -> str | None:
    """The number that the words give, None if they do not give seven digits in a row; after "no" or "sorry"
    it begins anew."""
    runs, times = [""], 1
    for word in re.findall(r"[a-z']+", text.lower()):
        if word in DIGIT_VALUES:
            runs[-1] += times * str(DIGIT_VALUES[word])
            times = 1
        elif word in TIMES:
            times = TIMES[word]
        elif word in RESTARTS or word not in SKIPPED:
            runs.append("")
            times = 1
    whole = [run for run in runs if len(run) == NUM_DIGITS]
    return whole[-1] if whole else None
