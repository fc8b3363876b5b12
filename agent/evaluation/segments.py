"""When each side of a call spoke: the caller by manifest or gate, the agent by the live metrics' gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from agent.energy_gate import GateConfig, Pcm, Segment, find_segments

TALK_PAUSE_S = 0.5  # a speaker who goes on within it is still in the same talk
SAMPLE_RATE_HZ = 24_000


@dataclass(frozen=True, slots=True)
class CallerTurn:
    """One turn of a caller whose times are known; `pauses` are its own silences at unfinished points."""

    start_s: float
    end_s: float
    pauses: tuple[Segment, ...] = ()


def speech_segments(pcm: Pcm, rate_hz: int = SAMPLE_RATE_HZ, *, split_s: float = 0.2) -> list[Segment]:
    """Confirmed segments (100 ms of voice, split at `split_s` of silence) of one channel, float32 [T]."""
    return find_segments(pcm, GateConfig(rate_hz=rate_hz, split_s=split_s))


def talks(segments: Sequence[Segment], pause_s: float = TALK_PAUSE_S) -> list[Segment]:
    """Segments joined over pauses shorter than `pause_s`: "Sure. What would you like?" is one."""
    joined: list[Segment] = []
    for segment in segments:
        if joined and segment.start_s - joined[-1].end_s < pause_s:
            joined[-1] = Segment(joined[-1].start_s, segment.end_s)
        else:
            joined.append(segment)
    return joined


def turns_of(segments: Sequence[Segment], pause_s: float = 1.2) -> list[CallerTurn]:
    """Caller turns as far as a gate can tell: silences up to `pause_s` count as pauses within a turn."""
    turns: list[CallerTurn] = []
    for talk in talks(segments, pause_s):
        inside = [one for one in segments if talk.start_s <= one.start_s < talk.end_s]
        pauses = tuple(Segment(a.end_s, b.start_s) for a, b in pairwise(inside))
        turns.append(CallerTurn(talk.start_s, talk.end_s, pauses))
    return turns


def overlaps(left: Sequence[Segment], right: Sequence[Segment]) -> list[Segment]:
    """Where both speak, in order."""
    both = []
    for a in left:
        for b in right:
            start_s, end_s = max(a.start_s, b.start_s), min(a.end_s, b.end_s)
            if end_s > start_s:
                both.append(Segment(start_s, end_s))
    return sorted(both, key=lambda segment: segment.start_s)
