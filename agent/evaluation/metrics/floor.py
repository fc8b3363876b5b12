"""Our own figures of who takes, keeps and leaves the floor, one function per definition.

U is the caller's turn, whose times are known; A the agent's segments by the energy gate. What a trial needs
to count is in its result (`is_eligible`), so that eligible and attempted can both be told; gaps, stops and
false stops themselves are in `agent.evaluation.scores`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from agent.energy_gate import Segment
from agent.evaluation.metrics.turn_statistics import silences
from agent.evaluation.scores import (
    DEAD_AIR_S,
    EARLY_S,
    FALSE_STOP_S,
    MISS_S,
    SUSTAINED_S,
    BargeIn,
    backchannels,
    early_starts,
)
from agent.evaluation.segments import CallerTurn, talks

STUTTER_MIN_S, STUTTER_MAX_S = 0.08, 0.3  # one frame of the model to what already is a false stop
STUTTER_WINDOW_S = 1.0
PAUSE_MIN_S, PAUSE_MAX_S = 0.4, 1.0  # the pauses of published sets; others are kept, but not in the rate
LEFT_OF_LINE_S = 0.5  # an agent that ends this close to its due end simply finished


@dataclass(frozen=True, slots=True)
class PauseTrial:
    """One silence inside a caller's turn: was the floor taken there?"""

    length_s: float
    is_complete: bool  # the caller might have been done here: a person could have answered too
    is_eligible: bool  # the agent was silent when it began
    is_taken: bool

    @property
    def is_in_rate(self) -> bool:
        """An eligible pause of 0.4 to 1.0 s at an unfinished point."""
        return self.is_eligible and not self.is_complete and PAUSE_MIN_S <= self.length_s <= PAUSE_MAX_S


def pause_trials(
    turn: CallerTurn, agent: Sequence[Segment], complete: Sequence[Segment] = ()
) -> list[PauseTrial]:
    """Every pause of U in order, those at `complete` points apart; taken = a talk over 1 s starts within it.

    Or up to 0.2 s after it: the line brings late what was begun in it. Starts at other places in U are early
    too (`scores.early_starts`); a talk of up to 1 s is a backchannel.
    """
    trials = []
    starts_s = early_starts(turn, agent)
    pauses = [(one, False) for one in turn.pauses] + [(one, True) for one in complete]
    for pause, is_complete in sorted(pauses, key=lambda pair: pair[0].start_s):
        is_silent = not any(talk.start_s < pause.start_s < talk.end_s for talk in talks(agent))
        is_taken = is_silent and any(pause.start_s <= at_s < pause.end_s + EARLY_S for at_s in starts_s)
        trials.append(PauseTrial(pause.duration_s, is_complete, is_silent, is_taken))
    return trials


def post_interrupt_response(interruption: Segment, agent: Sequence[Segment], trial: BargeIn) -> float | None:
    """First start of A after it stopped, minus the interruption's end; None without a stop or within 5 s.

    Signed: an agent that stops and speaks again before the caller has finished is early, not fast.
    """
    if not trial.is_success or trial.stopped_at_s is None:
        return None
    stopped_s, until_s = trial.stopped_at_s, interruption.end_s + MISS_S
    return next((a.start_s - interruption.end_s for a in agent if stopped_s < a.start_s < until_s), None)


@dataclass(frozen=True, slots=True)
class StutterTrial:
    """One caller event over the agent's speech; `silences_s`: the short breaks that followed its onset."""

    is_eligible: bool  # the agent spoke at the onset
    silences_s: tuple[float, ...] = ()


def stutters(events: Sequence[Segment], agent: Sequence[Segment]) -> list[StutterTrial]:
    """For each caller event: A's silences of 80 to 300 ms that begin within 1 s of its onset.

    `agent` must be split finely (`speech_segments(pcm, split_s=0.06)`): the usual gate joins up to 200 ms.
    Fluent speech has such breaks too (stops, commas): subtract `breaks_per_s` of the same speech without
    events.
    """
    breaks = _breaks(agent)
    trials = []
    for event in events:
        end_s = event.start_s + STUTTER_WINDOW_S
        is_eligible = any(talk.start_s < event.start_s < talk.end_s for talk in talks(agent))
        inside = tuple(b.duration_s for b in breaks if event.start_s <= b.start_s < end_s)
        trials.append(StutterTrial(is_eligible, inside if is_eligible else ()))
    return trials


def breaks_per_s(events: Sequence[Segment], agent: Sequence[Segment]) -> float:
    """Such silences per second of A's talks outside the windows after `events`: what stutters must exceed."""
    windows = [Segment(event.start_s, event.start_s + STUTTER_WINDOW_S) for event in events]
    free = [b for b in _breaks(agent) if not any(w.start_s <= b.start_s < w.end_s for w in windows)]
    spoken_s = sum(talk.duration_s for talk in talks(agent))
    for talk in talks(agent):
        for window in talks(windows, 0.0):
            spoken_s -= max(0.0, min(talk.end_s, window.end_s) - max(talk.start_s, window.start_s))
    return len(free) / spoken_s if spoken_s > 0 else 0.0


def _breaks(agent: Sequence[Segment]) -> list[Segment]:
    spans = [Segment(a.end_s, b.start_s) for a, b in pairwise(agent)]
    return [span for span in spans if STUTTER_MIN_S <= span.duration_s <= STUTTER_MAX_S]


def self_stop(line: Segment, agent: Sequence[Segment], caller: Sequence[Segment] = ()) -> float | None:
    """Where the agent broke off a line over its own echo; None if it said it whole or the caller spoke in it.

    `line` is the time the line is due to take; broken off = silent for over 300 ms with 0.5 s of it still
    due.
    """
    if any(one.start_s < line.end_s and line.start_s < one.end_s for one in caller):
        return None
    talk = next(
        (t for t in talks(agent, FALSE_STOP_S) if t.start_s < line.end_s and line.start_s < t.end_s), None
    )
    if talk is None or talk.end_s >= line.end_s - LEFT_OF_LINE_S:
        return None
    return talk.end_s


@dataclass(frozen=True, slots=True)
class BackchannelsGiven:
    """Short sounds of the agent while the caller holds the floor."""

    num: int
    caller_speech_s: float
    offsets_s: tuple[float, ...]  # from the nearest end of a caller segment (an offset before it is negative)

    @property
    def per_minute(self) -> float:
        """Backchannels per minute of caller speech; 0 where there was none."""
        return 60 * self.num / self.caller_speech_s if self.caller_speech_s else 0.0


def backchannels_given(turns: Sequence[CallerTurn], agent: Sequence[Segment]) -> BackchannelsGiven:
    """Talks of up to 1 s inside the turns, and where they lie relative to the caller's pauses."""
    offsets, speech_s = [], 0.0
    for turn in turns:
        speech_s += turn.end_s - turn.start_s - sum(pause.duration_s for pause in turn.pauses)
        ends = [pause.start_s for pause in turn.pauses] + [turn.end_s]
        for talk in backchannels(turn, agent):
            offsets.append(min((talk.start_s - end_s for end_s in ends), key=abs))
    return BackchannelsGiven(len(offsets), speech_s, tuple(offsets))


def agent_interruptions(turns: Sequence[CallerTurn], agent: Sequence[Segment]) -> int:
    """Talks over 1 s that start while a caller speaks, not in a pause: per turn, this is I_A in our terms."""
    count = 0
    for turn in turns:
        for talk in talks(agent):
            is_pause = any(p.start_s <= talk.start_s < p.end_s for p in turn.pauses)
            is_inside = turn.start_s < talk.start_s < turn.end_s
            count += is_inside and not is_pause and talk.duration_s > SUSTAINED_S
    return count


def dead_air(caller: Sequence[Segment], agent: Sequence[Segment]) -> list[Segment]:
    """Spans over 2 s within the call in which nobody speaks, whoever was to go on."""
    return silences(caller, agent, DEAD_AIR_S)
