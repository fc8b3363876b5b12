"""Turn-taking figures from speech intervals; pure functions, every definition written where it is computed.

U is a caller's turn with known times, A the agent's segments by the energy gate. A *talk* is A joined over
pauses under 0.5 s; it is *sustained* when longer than 1 s, or the last before the other side or the file ends
it. Negative gaps stay negative, misses and failures are counted and never replaced, and the greeting is no
answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.energy_gate import Segment
from agent.evaluation.segments import CallerTurn, talks

SUSTAINED_S = 1.0
EARLY_S = 0.2  # a start up to this long before the caller's end is a quick answer, not an early one
MISS_S = 5.0
DEAD_AIR_S = 2.0
STOP_SILENCE_S = 0.6
YIELD_S = 2.0
LEFT_TO_SAY_S = 1.0  # a barge-in this close to the end of the line would see it stop by itself
RESUME_WINDOW_S = 1.0
FALSE_STOP_S = 0.3


@dataclass(frozen=True, slots=True)
class BargeIn:
    """One attempt to interrupt; `stop_s`: onset to the agent's last voice, None if not within 2 s."""

    is_eligible: bool
    why_not: str = ""
    stop_s: float | None = None
    stopped_at_s: float | None = None

    @property
    def is_success(self) -> bool:
        """The agent was speaking, and yielded within 2 s."""
        return self.is_eligible and self.stop_s is not None


@dataclass(frozen=True, slots=True)
class TurnScore:
    """One caller turn: a gap, or a miss, or early starts, or an interruption that was not obeyed."""

    gap_s: float | None
    is_miss: bool
    early_starts: tuple[float, ...]  # where the agent took over too soon
    barge_in: BargeIn | None = None

    @property
    def is_dead_air(self) -> bool:
        """The answer came, but later than 2 s."""
        return self.gap_s is not None and self.gap_s > DEAD_AIR_S


def score_turn(
    turn: CallerTurn, agent: Sequence[Segment], until_s: float, barge_in: BargeIn | None = None
) -> TurnScore:
    """Score one turn; `until_s` is where the caller's next turn, or the file, sets an end to waiting."""
    early = early_starts(turn, agent)
    if early:
        return TurnScore(None, False, tuple(early), barge_in)
    if barge_in is not None and barge_in.is_eligible and not barge_in.is_success:
        return TurnScore(None, False, (), barge_in)  # it kept talking: a first sound after U answers nothing
    gap_s = response_gap(turn, agent, until_s)
    waited_s = until_s - turn.end_s
    return TurnScore(gap_s, gap_s is None and waited_s >= MISS_S - 1e-6, (), barge_in)


def response_gap(turn: CallerTurn, agent: Sequence[Segment], until_s: float) -> float | None:
    """First sustained start after U's end, minus that end; None if there is none in 5 s.

    Signed: 200 ms early is still an answer. What the next turn or the file's end cuts short is sustained.
    """
    for talk in talks(without_backchannels(turn, agent)):
        if talk.start_s <= turn.end_s - EARLY_S or talk.start_s <= turn.start_s:
            continue
        if talk.start_s >= min(until_s, turn.end_s + MISS_S):
            return None
        if talk.end_s - talk.start_s > SUSTAINED_S or _is_last(talk, agent, until_s):
            return talk.start_s - turn.end_s
    return None


def _is_last(talk: Segment, agent: Sequence[Segment], until_s: float) -> bool:
    return not any(talk.end_s < one.start_s < until_s for one in agent)


def early_starts(turn: CallerTurn, agent: Sequence[Segment]) -> list[float]:
    """Starts of talks over 1 s inside one of U's pauses, or inside U more than 200 ms before its end.

    A talk of at most 1 s there is a backchannel. What already went on when U began is no start.
    """
    return [talk.start_s for talk in _begun_inside(turn, agent) if talk.duration_s > SUSTAINED_S]


def backchannels(turn: CallerTurn, agent: Sequence[Segment]) -> list[Segment]:
    """Talks of at most 1 s that lie inside U; the answer that follows one at once is no part of it."""
    return [talk for talk in _begun_inside(turn, agent) if talk.duration_s <= SUSTAINED_S]


def _begun_inside(turn: CallerTurn, agent: Sequence[Segment]) -> list[Segment]:
    """Talks that began inside U. What starts later is not joined to them: "mm-hm" makes no answer early."""
    begun = talks([one for one in agent if one.start_s < turn.end_s - EARLY_S])
    return [talk for talk in begun if talk.start_s > turn.start_s]


def without_backchannels(turn: CallerTurn, agent: Sequence[Segment]) -> list[Segment]:
    """The agent's segments but for its backchannels inside U."""
    hums = backchannels(turn, agent)
    return [one for one in agent if not any(hum.start_s <= one.start_s < hum.end_s for hum in hums)]


def score_barge_in(onset_s: float, agent: Sequence[Segment], due_end_s: float | None = None) -> BargeIn:
    """From a caller's onset to the agent's last voice before 600 ms of silence.

    Eligible only if the agent was voiced from the onset to the stop; with `due_end_s`, the time at which its
    line would have ended, only if a second of it was left. Speaking on past 2 s is a failure, pauses or not.
    """
    speaking = next((one for one in agent if one.start_s < onset_s < one.end_s), None)
    if speaking is None:
        return BargeIn(False, "the agent was silent")
    if due_end_s is not None and due_end_s - onset_s < LEFT_TO_SAY_S:
        return BargeIn(False, "the line was nearly over")
    stop_s, paused = speaking.end_s, False
    for one in agent:
        if stop_s < one.start_s < stop_s + STOP_SILENCE_S:
            stop_s, paused = one.end_s, True
    if stop_s - onset_s > YIELD_S:
        return BargeIn(True)
    if paused:
        return BargeIn(False, "it stopped after a pause of its own")
    return BargeIn(True, stop_s=stop_s - onset_s, stopped_at_s=stop_s)


def false_stop(sound: Segment, agent: Sequence[Segment]) -> float | None:
    """After a cough or backchannel over the agent's speech: how long it fell silent, None if it went on.

    Silent for over 300 ms within 1 s of the sound's end is a false stop; never going on counts as infinite.
    """
    window = Segment(sound.start_s, sound.end_s + RESUME_WINDOW_S)
    for i, one in enumerate(agent):
        if window.start_s < one.end_s < window.end_s and one.start_s < window.end_s:
            silence_s = agent[i + 1].start_s - one.end_s if i + 1 < len(agent) else float("inf")
            if silence_s > FALSE_STOP_S:
                return silence_s
    return None


@dataclass(frozen=True, slots=True)
class Spread:
    """A sample of times in seconds; NaN throughout when there is none."""

    num: int
    p50: float
    p90: float
    p95: float
    p99: float
    low: float  # bootstrap 95 % interval of the median
    high: float


def spread(values: Sequence[float], seed: int = 0) -> Spread:
    """Percentiles, and how sure the median is."""
    if not values:
        nan = float("nan")
        return Spread(0, nan, nan, nan, nan, nan, nan)
    sample = np.asarray(values, np.float64)
    p50, p90, p95, p99 = (float(p) for p in np.percentile(sample, [50, 90, 95, 99]))
    draws = np.random.default_rng(seed).choice(sample, (2000, len(sample)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return Spread(len(sample), p50, p90, p95, p99, float(low), float(high))
