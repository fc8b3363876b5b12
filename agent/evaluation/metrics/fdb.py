"""Full-Duplex-Bench v1 (arXiv 2503.04721) and v1.5 (2507.23159) from sound alone, as the papers define it.

The papers call a backchannel what is under 1 s and under two words; sound has no words, so that here a talk
of less than 1 s is one. What the published scripts do instead is in `fdb_official`: never mix the two
columns. Segments are by any voice detector; times are seconds from the file's first sample. GPT scores and
speech quality are not in here: they need a judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy.spatial.distance import jensenshannon

from agent.energy_gate import Segment
from agent.evaluation.segments import talks

BACKCHANNEL_S = 1.0
BIN_S = 0.2
MODEL_MERGE_S = 0.5
ANSWER_PAUSE_S = 1.0  # within one answer (arXiv 2610.07727); within a murmur it is 0.5 s
RESUME_S = 1.0


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Whether the model took the floor, and when after the user's end: negative is before it."""

    is_taken: bool
    latency_s: float | None = None


def pause_handling(user: Segment, model: Sequence[Segment]) -> TakeOver:
    """Took the floor while the user's turn, with its pauses, was going on; low is good.

    What began before the user spoke (a greeting) or after the user's end (an answer) is no take-over.
    """
    return TakeOver(any(user.start_s < talk.start_s < user.end_s and _is_long(talk) for talk in talks(model)))


def smooth_turn(user_end_s: float, model: Sequence[Segment], user_start_s: float = 0.0) -> TakeOver:
    """The first talk after the user began that is no backchannel, with its signed latency; high is good."""
    return _answer([talk for talk in talks(model) if talk.start_s >= user_start_s], user_end_s)


def user_interruption(interruption: Segment, model: Sequence[Segment]) -> TakeOver:
    """Answered an interruption: a new talk after its onset, of a model that was silent at its end.

    Talking straight on through the interruption is no answer to it, however soon a word of it follows.
    """
    if any(talk.start_s <= interruption.start_s and talk.end_s > interruption.end_s for talk in talks(model)):
        return TakeOver(False)
    return _answer([talk for talk in talks(model) if talk.start_s > interruption.start_s], interruption.end_s)


def _answer(model: Sequence[Segment], user_end_s: float) -> TakeOver:
    """The first long talk that outlasts the user; "Yes", a breath, and more is one, from the "Yes" on."""
    for talk in talks([talk for talk in model if talk.end_s > user_end_s], ANSWER_PAUSE_S):
        if _is_long(talk):
            return TakeOver(True, talk.start_s - user_end_s)
    return TakeOver(False)


@dataclass(frozen=True, slots=True)
class Backchannels:
    """A listener's file: took over, backchannels per second, divergence from people's timing."""

    is_taken: bool
    num: int
    per_s: float
    divergence: float | None  # Jensen-Shannon, base 2: 0 (alike) to 1


def backchannels(
    model: Sequence[Segment], duration_s: float, people: Sequence[float] | None = None
) -> Backchannels:
    """Every talk under 1 s is a backchannel, any other a take-over; `people`: their timing in 200 ms bins."""
    short = [talk for talk in talks(model) if not _is_long(talk)]
    is_taken = len(short) < len(talks(model))
    divergence = None
    if short and people is not None:
        ours = timing(short, duration_s)
        divergence = float(jensenshannon(ours, resized(people, len(ours)), base=2.0)) ** 2
    return Backchannels(is_taken, len(short), len(short) / duration_s, divergence)


def timing(spans: Sequence[Segment], duration_s: float) -> list[float]:
    """How the spans lie over the file: the share of their time in each 200 ms bin."""
    edges = [k * BIN_S for k in range(int(duration_s / BIN_S) + 1)]
    bins = [
        sum(max(0.0, min(span.end_s, edge + BIN_S) - max(span.start_s, edge)) for span in spans)
        for edge in edges
    ]
    return [value / (sum(bins) or 1.0) for value in bins]


def resized(curve: Sequence[float], length: int) -> list[float]:
    """A curve at another number of bins, by linear interpolation, summing to 1."""
    at = np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(curve)), curve)
    return [float(value) for value in at / at.sum()]


class Behaviour(Enum):
    """What the model did about speech over its own (v1.5), as far as sound can tell."""

    RESPOND = "respond"  # it stopped, and began anew after the other had ended
    RESUME = "resume"  # it was still, or again, in the same talk 1 s after the other's end
    UNCERTAIN = "uncertain"  # it stopped while or before the other spoke, and began anew under it
    UNKNOWN = "unknown"  # it stopped and said no more


DESIRED = {  # what v1.5 wants, by the name of the task's folder
    "user_interruption": Behaviour.RESPOND,
    "user_backchannel": Behaviour.RESUME,
    "talking_to_other": Behaviour.RESUME,
    "background_speech": Behaviour.RESUME,
}


@dataclass(frozen=True, slots=True)
class Overlap:
    """One item of v1.5; a model silent at the onset has nothing to stop, and nothing is scored."""

    is_eligible: bool
    stop_s: float | None = None  # from the other's onset to the model's stop, however late
    response_s: float | None = None  # from the other's end to the model's next start, after a stop
    behaviour: Behaviour | None = None


def overlap(event: Segment, model: Sequence[Segment]) -> Overlap:
    """Stop latency, response latency, behaviour at speech over the model's own; gaps to 0.5 s are merged."""
    merged = talks(model, MODEL_MERGE_S)
    speaking = next((talk for talk in merged if talk.start_s < event.start_s < talk.end_s), None)
    if speaking is None:
        return Overlap(False)
    stop_s = speaking.end_s - event.start_s
    if speaking.end_s >= event.end_s + RESUME_S:
        return Overlap(True, stop_s, None, Behaviour.RESUME)
    after = next((talk for talk in merged if talk.start_s > speaking.end_s), None)
    if after is None:
        ended_itself = speaking.end_s > event.end_s
        return Overlap(True, stop_s, None, Behaviour.RESUME if ended_itself else Behaviour.UNKNOWN)
    response_s = after.start_s - event.end_s
    return Overlap(True, stop_s, response_s, Behaviour.UNCERTAIN if response_s < 0 else Behaviour.RESPOND)


def _is_long(talk: Segment) -> bool:
    return talk.duration_s >= BACKCHANNEL_S
