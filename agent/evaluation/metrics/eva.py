"""EVA's turn-taking score (arXiv 2605.13841): a curve per turn over latency, overlap or yielding time.

From the benchmark's documentation of August 2026. It wants 0.5 to 2 s before an answer: a person's 200 ms
scores 0.7, so that this figure and a short response gap pull apart. The greeting is no turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.energy_gate import Segment
from agent.evaluation.segments import overlaps, talks

HARD_EARLY_S, SWEET_FROM_S = -0.5, 0.5
SWEET_TO_S, HARD_LATE_S = 2.0, 3.5
SWEET_TO_TOOL_S, HARD_LATE_TOOL_S = 3.0, 5.0
OVERLAP_HARD_S = 2.0
YIELD_HARD_S = 2.0
INTERRUPT_MAX = 0.5  # interrupting is never free
INTERRUPT_COUNT_HARD = 3
EARLY_S, LATE_S, LATE_TOOL_S = 0.2, 2.75, 4.0


@dataclass(frozen=True, slots=True)
class EvaTurn:
    """One user turn and the agent's segments that belong to it.

    `yield_s`: how long the agent spoke on after this turn cut into its speech; None if it did not cut in.
    """

    user: Sequence[Segment]
    agent: Sequence[Segment]
    yield_s: float | None = None
    has_tool_call: bool = False

    @property
    def latency_s(self) -> float:
        """First agent start minus last user end."""
        return self.agent[0].start_s - self.user[-1].end_s

    @property
    def is_agent_interrupt(self) -> bool:
        """Agent and user speech overlap by a segment that begins inside the turn."""
        start_s, end_s = self.user[0].start_s, self.user[-1].end_s
        return any(start_s < one.start_s < end_s for one in self.agent) and bool(self.overlap_s)

    @property
    def overlap_s(self) -> float:
        """Time in which both speak, summed over pairs of segments."""
        return sum(one.duration_s for one in overlaps(self.user, self.agent))


@dataclass(frozen=True, slots=True)
class EvaScore:
    """The mean over turns with both sides, and its parts; NaN where no turn has a part."""

    score: float
    per_turn: tuple[float, ...]
    p50_latency_s: float
    p90_latency_s: float
    on_time_rate: float
    early_rate: float
    late_rate: float
    interrupt_rate: float
    mean_overlap_s: float
    mean_yield_s: float


def latency_score(latency_s: float, has_tool_call: bool = False) -> float:
    """0 at -0.5 s, up to 1 at 0.5 s, 1 until 2 s, down to 0 at 3.5 s; with a tool call 3 and 5 s."""
    to_s, late_s = (SWEET_TO_TOOL_S, HARD_LATE_TOOL_S) if has_tool_call else (SWEET_TO_S, HARD_LATE_S)
    return float(np.interp(latency_s, [HARD_EARLY_S, SWEET_FROM_S, to_s, late_s], [0.0, 1.0, 1.0, 0.0]))


def overlap_score(overlap_s: float) -> float:
    """0.5 for no overlap, down to 0 at 2 s."""
    return max(0.0, INTERRUPT_MAX * (1 - overlap_s / OVERLAP_HARD_S))


def count_score(num_interruptions: int) -> float:
    """0.5 for one segment over the user's turn, 0.25 for two, 0 from three on."""
    return max(0.0, INTERRUPT_MAX * (1 - (num_interruptions - 1) / (INTERRUPT_COUNT_HARD - 1)))


def yield_score(yield_s: float) -> float:
    """1 for an agent that stops at once, down to 0 at 2 s."""
    return min(1.0, max(0.0, 1 - yield_s / YIELD_HARD_S))


def turn_score(turn: EvaTurn) -> float:
    """The curve that applies to this turn; where both sides interrupted, the lower one."""
    parts = []
    if turn.is_agent_interrupt:
        parts.append(_interrupt_score(turn))
    if turn.yield_s is not None:
        parts.append(yield_score(turn.yield_s))
    return min(parts) if parts else latency_score(turn.latency_s, turn.has_tool_call)


def _interrupt_score(turn: EvaTurn) -> float:
    crossing = [one for one in turn.agent if overlaps(turn.user, [one])]
    parts = [overlap_score(turn.overlap_s), count_score(len(crossing))]
    end_s = turn.user[-1].end_s
    settled = next((one for one in turn.agent if one.start_s > end_s), None)
    if settled is not None and not any(one.start_s <= end_s < one.end_s for one in turn.agent):
        parts.append(latency_score(settled.start_s - end_s, turn.has_tool_call))
    return min(parts)


def eva_score(turns: Sequence[EvaTurn], *, is_last_missed: bool = False) -> EvaScore:
    """Mean over the turns with both sides; a call that ended because the agent stayed silent scores 0."""
    sides = [turn for turn in turns if turn.user and turn.agent]
    scores = tuple(turn_score(turn) for turn in sides)
    latencies = [turn.latency_s for turn in sides]
    lates = [turn.latency_s >= (LATE_TOOL_S if turn.has_tool_call else LATE_S) for turn in sides]
    earlies = [latency_s < EARLY_S for latency_s in latencies]
    p50, p90 = (float(p) for p in np.percentile(latencies, [50, 90])) if sides else (float("nan"),) * 2
    return EvaScore(
        score=0.0 if is_last_missed or not scores else float(np.mean(scores)),
        per_turn=scores,
        p50_latency_s=p50,
        p90_latency_s=p90,
        on_time_rate=_mean([not late and not early for late, early in zip(lates, earlies, strict=True)]),
        early_rate=_mean(earlies),
        late_rate=_mean(lates),
        interrupt_rate=_mean([turn.is_agent_interrupt for turn in sides]),
        mean_overlap_s=_mean([turn.overlap_s for turn in sides if turn.is_agent_interrupt]),
        mean_yield_s=_mean([turn.yield_s for turn in sides if turn.yield_s is not None]),
    )


def eva_turns(user_turns: Sequence[Segment], agent: Sequence[Segment], duration_s: float) -> list[EvaTurn]:
    """Turns of a two-channel call: each takes the agent's segments from its start to the next turn's start.

    Where the agent was speaking when the turn began, the rest of that talk (pauses under 0.5 s joined) is
    what it had to yield, and belongs to the turn before.
    """
    turns = []
    ends = [turn.start_s for turn in user_turns[1:]] + [duration_s]
    for user, until_s in zip(user_turns, ends, strict=True):
        cut = next((one for one in talks(agent) if one.start_s < user.start_s < one.end_s), None)
        from_s = cut.end_s if cut else user.start_s
        own = [one for one in agent if from_s <= one.start_s < until_s]
        turns.append(EvaTurn([user], own, cut.end_s - user.start_s if cut else None))
    return turns


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
