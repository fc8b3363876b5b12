"""Numbers said digit by digit, joined from recordings of single digits of one speaker."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.config import SAMPLE_RATE_HZ
from model.numbers import DIGIT_WORDS, FIRST_GROUP, NUM_DIGITS, digits_in
from model.order_line import Intent, Request
from model.training.bank import Stem, Turn
from model.voices_phones import SILENCE, TimedPhone, TimedWord

GAP_S = (0.02, 0.2)  # between digits said in one go
GROUP_GAP_S = (0.25, 0.6)  # where a speaker groups them
GROUP_SHARE = 0.1
GROUPED_SHARE = 0.5  # of telephone numbers have their pause after the third digit
NUM_DIGITS_SAID = (3, 10)
WHOLE_SHARE = 0.5  # of the numbers are of a telephone number's length
NUMBERS_PER_STEM = 8
STEMS_PER_SPEAKER = 6
EDGE_S = 0.02  # kept around a digit, and faded
LEAD_S = 0.1  # silence before and after a number


def number_stems(stems: Sequence[Stem], rng: random.Random, wanted: Sequence[str] = ()) -> list[Stem]:
    """Stems of numbers from stems whose turns are single digits; with fewer than three a speaker has none.

    With `wanted` telephone numbers they say these alone, or nothing if they lack a digit.
    """
    speakers: dict[str, list[Turn]] = {}
    for stem in stems:
        speakers.setdefault(stem.voice, []).extend(stem.turns)
    drawn: list[Stem] = []
    for voice, digits in speakers.items():
        takes = {word: [d for d in digits if d.words[0].text == word] for word in DIGIT_WORDS}
        if len(digits) < NUM_DIGITS_SAID[0] or (wanted and not all(takes.values())):
            continue
        for _ in range(STEMS_PER_SPEAKER):
            turns = [_draw(digits, takes, rng, wanted) for _ in range(NUMBERS_PER_STEM)]
            drawn.append(Stem(voice, turns))
    return drawn


def _draw(
    digits: Sequence[Turn], takes: dict[str, list[Turn]], rng: random.Random, wanted: Sequence[str]
) -> Turn:
    if wanted:
        chosen = [rng.choice(takes[DIGIT_WORDS[int(digit)]]) for digit in rng.choice(wanted)]
    else:
        whole = rng.random() < WHOLE_SHARE
        chosen = rng.choices(digits, k=NUM_DIGITS if whole else rng.randint(*NUM_DIGITS_SAID))
    gaps_s = [rng.uniform(*(GROUP_GAP_S if rng.random() < GROUP_SHARE else GAP_S)) for _ in chosen[1:]]
    if len(chosen) == NUM_DIGITS and rng.random() < GROUPED_SHARE:
        gaps_s[FIRST_GROUP - 1] = rng.uniform(*GROUP_GAP_S)
    return join_digits(chosen, gaps_s)


def join_digits(digits: Sequence[Turn], gaps_s: Sequence[float]) -> Turn:
    """One turn of single digits, `gaps_s` of silence from the end of each to the next one's start."""
    words: list[TimedWord] = []
    phones = [TimedPhone(SILENCE, 0.0, LEAD_S)]
    at_s = LEAD_S
    num_samples = round((LEAD_S + sum(_spoken_s(d) for d in digits) + sum(gaps_s) + LEAD_S) * SAMPLE_RATE_HZ)
    pcm = np.zeros(num_samples, np.float32)
    for digit, gap_s in zip(digits, [*gaps_s, LEAD_S], strict=True):
        word = digit.words[0]
        _mix(pcm, *_cut(digit), at_s)
        words.append(TimedWord(word.text, at_s, at_s + word.end_s - word.start_s))
        inside = [p for p in digit.phones if word.start_s <= (p.start_s + p.end_s) / 2 < word.end_s]
        shift_s = at_s - word.start_s
        phones += [TimedPhone(p.phone, p.start_s + shift_s, p.end_s + shift_s) for p in inside]
        at_s = words[-1].end_s + gap_s
        phones.append(TimedPhone(SILENCE, words[-1].end_s, at_s))
    return Turn(_request(" ".join(word.text for word in words)), pcm, words, phones, clip=digits[0].clip)


def _request(text: str) -> Request:
    """A telephone number if it has as many digits as one."""
    number = digits_in(text)
    return Request(Intent.UNCLEAR if number is None else Intent.NUMBER, text, number=number)


def _spoken_s(digit: Turn) -> float:
    return digit.words[0].end_s - digit.words[0].start_s


def _cut(digit: Turn) -> tuple[NDArray[np.float32], float]:
    """The digit with faded edges, and where its word starts in that, in seconds."""
    word = digit.words[0]
    first = max(0, round((word.start_s - EDGE_S) * SAMPLE_RATE_HZ))
    last = min(len(digit.pcm), round((word.end_s + EDGE_S) * SAMPLE_RATE_HZ))
    pcm = digit.pcm[first:last].copy()
    fade = min(round(EDGE_S * SAMPLE_RATE_HZ), len(pcm) // 2)
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    pcm[:fade] *= ramp
    pcm[len(pcm) - fade :] *= ramp[::-1]
    return pcm, word.start_s - first / SAMPLE_RATE_HZ


def _mix(pcm: NDArray[np.float32], piece: NDArray[np.float32], lead_s: float, at_s: float) -> None:
    """Add a piece so that its word, `lead_s` after its first sample, starts at a time."""
    first = round((at_s - lead_s) * SAMPLE_RATE_HZ)
    piece = piece[: len(pcm) - first]
    pcm[first : first + len(piece)] += piece
