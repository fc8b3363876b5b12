"""What Full-Duplex-Bench's published scripts compute (repository snapshot of April 2026), quirks and all.

For the column that may be put beside the table in their README. Each function names where it leaves the
paper:

- a take-over is decided by the span from the first word to the last, so that two murmurs 2 s apart are one;
- latencies below zero count as 0 and only taken turns are averaged: a model that barges in looks fast;
- an interruption's latency starts a recogniser at the interruption's end: who never stops has about 0 s;
- "stop latency" is the length of the overlap: who never stops scores the length of the user's clip;
- of a listener's segments the last short one decides the take-over, and one over 3 s ends the count;
- no backchannel at all scores 1.0, worse than the worst timing (0.833: a distance in nats, not a divergence).

Words are (start_s, end_s, text) of a recogniser on the model's channel. Their detector is Silero; any
segments do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import jensenshannon

from agent.energy_gate import Segment
from agent.evaluation.metrics.fdb import BIN_S, Backchannels, TakeOver, resized

SPAN_S, MAX_WORDS = 1.0, 3
FORMAL_S = 3.0
USER_MERGE_S, MODEL_MERGE_S = 0.6, 0.5
EPSILON = 1e-10


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word; an `end_s` of None is the recogniser's."""

    start_s: float
    end_s: float | None
    text: str


def take_over(words: Sequence[Word], user_end_s: float | None = None) -> TakeOver:
    """TOR of pauses, turns and interruptions; with the user's end also the latency, not below 0."""
    if not words:
        return TakeOver(False)
    last = words[-1]
    span_s = (last.start_s if last.end_s is None else last.end_s) - words[0].start_s
    if span_s < SPAN_S and len(words) <= MAX_WORDS:
        return TakeOver(False)
    return TakeOver(True, None if user_end_s is None else max(0.0, words[0].start_s - user_end_s))


def words_from(segments: Sequence[Segment]) -> list[Word]:
    """Sound as the scripts would see it without a recogniser: one word a segment."""
    return [Word(one.start_s, one.end_s, "") for one in segments]


def after_crop(words: Sequence[Word], from_s: float) -> list[Word]:
    """What a recogniser hears that starts at `from_s`: a word under way there starts there."""
    return [
        Word(max(word.start_s, from_s), word.end_s, word.text)
        for word in words
        if (word.start_s if word.end_s is None else word.end_s) > from_s
    ]


def user_interruption(interruption_end_s: float, words: Sequence[Word]) -> TakeOver:
    """Their interruption latency: the first word of the sound cropped at the interruption's end."""
    return take_over(after_crop(words, interruption_end_s), interruption_end_s)


def backchannels(
    model: Sequence[Segment],
    duration_s: float,
    people: Sequence[float] | None = None,
    words: Sequence[Word] = (),
) -> Backchannels:
    """Their listener scores; `divergence` is scipy's distance in nats, 1.0 for no event at all."""
    is_taken, short = False, []
    for one in model:
        if one.duration_s > FORMAL_S:
            is_taken = True
            break
        num_words = sum(_touches(word, one) for word in words)
        is_taken = num_words > MAX_WORDS or one.duration_s >= SPAN_S or num_words > 2
        short.append(one)
    distance: float | None = None
    if not short:
        distance = 1.0
    elif people is not None:
        ours = _histogram(short, duration_s)
        distance = float(jensenshannon(ours, resized(people, len(ours))))
    return Backchannels(is_taken, len(short), len(short) / duration_s, distance)


def _touches(word: Word, one: Segment) -> bool:
    end_s = word.start_s if word.end_s is None else word.end_s
    return word.start_s <= one.end_s and end_s > one.start_s


def _histogram(spans: Sequence[Segment], duration_s: float) -> list[float]:
    """Every 200 ms bin that a span touches counts once, also the one its end only reaches."""
    bins = np.zeros(int(duration_s / BIN_S) + 1)
    for span in spans:
        bins[int(span.start_s / BIN_S) : int(span.end_s / BIN_S) + 1] += 1
    bins += EPSILON
    return [float(value) for value in bins / bins.sum()]


def stop_intervals(user: Sequence[Segment], model: Sequence[Segment]) -> list[Segment]:
    """v1.5's stop list: every stretch in which both speak, gaps merged to 0.6 s (user) and 0.5 s (model)."""
    theirs, ours = _merged(user, USER_MERGE_S), _merged(model, MODEL_MERGE_S)
    spans = [
        Segment(max(a.start_s, b.start_s), min(a.end_s, b.end_s))
        for a in theirs
        for b in ours
        if min(a.end_s, b.end_s) > max(a.start_s, b.start_s)
    ]
    return sorted(spans, key=lambda span: span.end_s)


def response_intervals(user: Sequence[Segment], model: Sequence[Segment]) -> list[Segment]:
    """v1.5's response list: from each end of the user to the next model start, uncapped.

    Where several user segments wait for one start, the last of them; a model already talking has no start.
    """
    theirs, ours = _merged(user, USER_MERGE_S), _merged(model, MODEL_MERGE_S)
    nearest: dict[float, Segment] = {}
    for one in theirs:
        start_s = next((talk.start_s for talk in ours if talk.start_s > one.end_s), None)
        if start_s is not None:
            nearest[start_s] = Segment(one.end_s, start_s)
    return list(nearest.values())


def _merged(segments: Sequence[Segment], gap_s: float) -> list[Segment]:
    """Joined over gaps of up to, and with, `gap_s`."""
    joined: list[Segment] = []
    for one in sorted(segments, key=lambda segment: segment.start_s):
        if joined and one.start_s - joined[-1].end_s <= gap_s:
            joined[-1] = Segment(joined[-1].start_s, max(joined[-1].end_s, one.end_s))
        else:
            joined.append(one)
    return joined
