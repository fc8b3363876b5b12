"""Who held the floor, counted as two-channel corpora are: units, pauses, gaps, overlaps.

The thresholds are dGSLM's (arXiv 2203.16502): an inter-pausal unit (IPU) is one side's speech without a
silence longer than 200 ms; a *pause* is silence between two units of one speaker, a *gap* silence between
units of different speakers, an *overlap* is where both speak. 200 ms is also where our gate splits;
telephone corpora cut at 180 ms (Levinson & Torreira 2015), a difference of a few units a minute. Offsets at
changes of speaker are Heldner & Edlund's (J. Phonetics 38:555, 2010): positive for a gap, negative for an
overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.energy_gate import Segment
from agent.evaluation.segments import overlaps, talks

IPU_SILENCE_S = 0.2


@dataclass(frozen=True, slots=True)
class PerMinute:
    """One kind of event: how many, how long in all, and both per minute of the recording."""

    num: int
    total_s: float
    num_per_minute: float
    s_per_minute: float


@dataclass(frozen=True, slots=True)
class TurnStatistics:
    """One recording; `units` of both sides together."""

    units: PerMinute
    pauses: PerMinute
    gaps: PerMinute
    overlaps: PerMinute


def turn_statistics(caller: Sequence[Segment], agent: Sequence[Segment], duration_s: float) -> TurnStatistics:
    """Counts over a recording of `duration_s`; raises ValueError unless that is positive."""
    if duration_s <= 0:
        raise ValueError(f"a recording of {duration_s} s has no events per minute: pass its length")
    caller_units, agent_units = inter_pausal_units(caller), inter_pausal_units(agent)
    pauses, gaps = _silences(caller_units, agent_units)
    return TurnStatistics(
        units=_per_minute([*caller_units, *agent_units], duration_s),
        pauses=_per_minute(pauses, duration_s),
        gaps=_per_minute(gaps, duration_s),
        overlaps=_per_minute(overlaps(caller_units, agent_units), duration_s),
    )


def inter_pausal_units(segments: Sequence[Segment]) -> list[Segment]:
    """Segments joined over silences of up to 200 ms."""
    return talks(segments, IPU_SILENCE_S)


def floor_transfers(caller: Sequence[Segment], agent: Sequence[Segment]) -> list[float]:
    """Signed offset in seconds at each change of speaker from caller to agent, in order.

    A unit that lies wholly inside the other's changes no speaker: it is a backchannel or a failed start.
    """
    theirs, ours = inter_pausal_units(caller), inter_pausal_units(agent)
    units = sorted(
        [(one, True) for one in theirs] + [(one, False) for one in ours], key=lambda u: u[0].start_s
    )
    offsets, last, is_caller = [], None, False
    for unit, by_caller in units:
        if last is not None and unit.end_s <= last.end_s:
            continue
        if last is not None and is_caller and not by_caller:
            offsets.append(unit.start_s - last.end_s)
        last, is_caller = unit, by_caller
    return offsets


def silences(caller: Sequence[Segment], agent: Sequence[Segment], min_s: float = 0.0) -> list[Segment]:
    """Spans longer than `min_s` between the first and the last sound in which neither side speaks."""
    pauses, gaps = _silences(inter_pausal_units(caller), inter_pausal_units(agent))
    both = sorted([*pauses, *gaps], key=lambda span: span.start_s)
    return [span for span in both if span.duration_s > min_s]


def _silences(caller: Sequence[Segment], agent: Sequence[Segment]) -> tuple[list[Segment], list[Segment]]:
    """Pauses and gaps."""
    pauses: list[Segment] = []
    gaps: list[Segment] = []
    units = sorted(
        [(u, "caller") for u in caller] + [(u, "agent") for u in agent], key=lambda u: u[0].start_s
    )
    until_s, last = (units[0][0].end_s, units[0][1]) if units else (0.0, "")
    for unit, side in units[1:]:
        if unit.start_s > until_s:
            (pauses if side == last else gaps).append(Segment(until_s, unit.start_s))
        if unit.end_s > until_s:
            until_s, last = unit.end_s, side
    return pauses, gaps


def _per_minute(spans: Sequence[Segment], duration_s: float) -> PerMinute:
    total_s = sum(span.duration_s for span in spans)
    minutes = duration_s / 60
    return PerMinute(len(spans), total_s, len(spans) / minutes, total_s / minutes)
