"""What became of one call of a load, from its packets alone; and of all calls together. No I/O.

A packet is late by how much longer it took than the quickest of its call, both by its RTP timestamp: that is
what a caller's jitter buffer has to bear. A turn is answered by the first sound after its end; with the
stand-in, turn n must be answered at the pitch of line n + 1, so sound of another call, of another turn, or
sound that was played twice, is found out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.bench_rtp import PACKET_S
from agent.load_media import NUM_LINES, SOUND_POWER, Heard
from agent.load_speech import LEAD_S, Program

LATE_S = 0.010
ANSWER_S = 2.0  # after a turn's end; the next sentence begins later
BURST_PAUSE_S = 0.3  # of silence that ends a line
HOLE_POWER = 1e-7  # -70 dBFS: nothing that the stand-in says is so quiet
MIXED_SHARE = 0.25  # of a line's packets at another pitch


@dataclass(frozen=True, slots=True)
class Turn:
    """One of the caller's sentences and what followed."""

    number: int  # in the call, from 0
    end_s: float  # monotonic, when the packet with its last sound left
    gap_s: float | None  # to the first sound of the answer; None: there was none
    line: int | None  # whose pitch the answer had, modulo 8; None: no one line's
    num_holes: int = 0  # packets in the middle of the answer that were missing or silent

    @property
    def is_right(self) -> bool:
        """The answer was the stand-in's to this turn."""
        return self.line == (self.number + 1) % NUM_LINES


@dataclass(frozen=True, slots=True)
class CallVerdict:
    """One call's figures."""

    number: int
    failure: str = ""  # why it did not live as it should, "" if it did
    setup_s: float | None = None  # INVITE to 200
    seconds: float = 0.0  # of sound that was sent
    num_sent: int = 0
    num_received: int = 0
    num_lost: int = 0  # between the first and the last that came
    num_late: int = 0  # more than LATE_S behind the quickest
    late_max_ms: float = 0.0
    missing_by_second: tuple[float, ...] = ()  # share of each second's packets that never came
    was_greeted: bool = False
    turns: tuple[Turn, ...] = ()
    num_strange: int = 0
    num_doubles: int = 0

    @property
    def num_silent_seconds(self) -> int:
        """Seconds in which no packet came at all."""
        return sum(share >= 1.0 for share in self.missing_by_second)

    def faults(self, *, knows_lines: bool = True) -> list[str]:
        """What was wrong with it in words; losses of packets are no fault here, a network may have them."""
        found = [self.failure] if self.failure else []
        found += ["no packet came"] if not self.failure and not self.num_received else []
        found += [f"{self.num_silent_seconds} s without a packet"] if self.num_silent_seconds else []
        found += [f"{self.num_strange} packets of another kind"] if self.num_strange else []
        silent = sum(turn.gap_s is None for turn in self.turns)
        wrong = sum(turn.gap_s is not None and not turn.is_right for turn in self.turns)
        found += [f"{silent} of {len(self.turns)} turns not answered"] if silent else []
        found += [f"{wrong} answers with wrong sound"] if wrong and knows_lines else []
        found += ["no greeting"] if knows_lines and self.num_received and not self.was_greeted else []
        return found


def lateness_s(heard: Heard) -> NDArray[np.float64]:
    """float64 [N] of each packet that came, in the order of their numbers: 0 for the quickest."""
    behind = heard.at_s - heard.media_s
    behind = behind[~np.isnan(behind)]
    return behind - behind.min() if len(behind) else behind


def missing_by_second(heard: Heard) -> tuple[float, ...]:
    """The share of packets that never came, for each whole second of media."""
    size = round(1 / PACKET_S)
    came = ~np.isnan(heard.at_s)
    whole = len(came) // size * size
    return tuple(round(1 - float(second.mean()), 3) for second in came[:whole].reshape(-1, size))


def turns_of(heard: Heard, program: Program) -> tuple[Turn, ...]:
    """Every turn whose answer could still be heard in time."""
    ends = program.turn_ends(len(heard.sent_s))
    if not len(heard.sent_s) or not len(heard.at_s):
        return ()
    last_s = float(heard.sent_s[-1]) - ANSWER_S
    return tuple(
        _turn(heard, number, float(heard.sent_s[end]))
        for number, end in enumerate(ends)
        if heard.sent_s[end] <= last_s
    )


def _turn(heard: Heard, number: int, end_s: float) -> Turn:
    is_after = (heard.at_s > end_s) & (heard.at_s <= end_s + ANSWER_S)  # NaN is neither
    sounding = np.flatnonzero(is_after & (heard.power > SOUND_POWER))
    if not len(sounding):
        return Turn(number, end_s, None, None)
    first = int(sounding[0])
    burst = _burst(heard, first)
    lines = heard.line[burst]
    named = np.bincount(lines[lines >= 0], minlength=NUM_LINES)
    line = int(np.argmax(named)) if named.max() > (1 - MIXED_SHARE) * named.sum() else None
    holes = int((heard.power[burst] < HOLE_POWER).sum())  # what never came has none
    return Turn(number, end_s, float(heard.at_s[first]) - end_s, line, holes)


def _burst(heard: Heard, first: int) -> slice:
    """The places of the line that begins there."""
    sounding = first + np.flatnonzero(heard.power[first:] > SOUND_POWER)
    breaks = np.flatnonzero(np.diff(sounding) > BURST_PAUSE_S / PACKET_S)
    last = sounding[breaks[0]] if len(breaks) else sounding[-1]
    return slice(first, int(last) + 1)


def judge_call(
    number: int, setup_s: float | None, failure: str, heard: Heard | None, program: Program
) -> CallVerdict:
    """One call's verdict."""
    if heard is None:
        return CallVerdict(number, failure or "it never began", setup_s)
    late_s = lateness_s(heard)
    lead = round(LEAD_S / PACKET_S)
    return CallVerdict(
        number,
        failure,
        setup_s,
        seconds=len(heard.sent_s) * PACKET_S,
        num_sent=len(heard.sent_s),
        num_received=len(late_s),
        num_lost=len(heard.at_s) - len(late_s),
        num_late=int((late_s > LATE_S).sum()),
        late_max_ms=1e3 * float(late_s.max(initial=0.0)),
        missing_by_second=missing_by_second(heard),
        was_greeted=bool((heard.line[:lead] == 0).any()),
        turns=turns_of(heard, program),
        num_strange=heard.num_strange,
        num_doubles=heard.num_doubles,
    )


@dataclass(slots=True)
class Tally:
    """All calls of one step of a load."""

    verdicts: list[CallVerdict] = field(default_factory=list)
    lateness_s: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, verdict: CallVerdict, heard: Heard | None) -> None:
        """Count one call."""
        self.verdicts.append(verdict)
        if heard is not None:
            self.lateness_s.append(lateness_s(heard).astype(np.float32))

    def late_ms(self) -> dict[str, float]:
        """p50, p99 and max over all packets; NaN for none."""
        return spread_ms(np.concatenate(self.lateness_s) if self.lateness_s else ())

    def gaps_ms(self) -> dict[str, float]:
        """Of the answers that came."""
        turns = [turn for verdict in self.verdicts for turn in verdict.turns]
        return spread_ms([turn.gap_s for turn in turns if turn.gap_s is not None])

    def setups_ms(self) -> dict[str, float]:
        """INVITE to 200, of the calls that were answered."""
        return spread_ms([v.setup_s for v in self.verdicts if v.setup_s is not None])

    def total(self, name: str) -> int:
        """The sum of one count over all calls."""
        return sum(int(getattr(verdict, name)) for verdict in self.verdicts)

    def turn_counts(self) -> dict[str, int]:
        """Turns, and what was wrong with them."""
        turns = [turn for verdict in self.verdicts for turn in verdict.turns]
        return {
            "turns": len(turns),
            "unanswered": sum(turn.gap_s is None for turn in turns),
            "wrong": sum(turn.gap_s is not None and not turn.is_right for turn in turns),
            "holes": sum(turn.num_holes for turn in turns),
        }


def spread_ms(values_s: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    """p50, p99 and max in milliseconds; NaN for none."""
    if not len(values_s):
        return {"p50": float("nan"), "p99": float("nan"), "max": float("nan")}
    p50, p99, worst = 1e3 * np.percentile(values_s, [50, 99, 100])
    return {"p50": float(p50), "p99": float(p99), "max": float(worst)}
