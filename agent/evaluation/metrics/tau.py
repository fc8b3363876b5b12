"""tau-Voice's interaction panel (arXiv 2603.13686), from its documented definitions.

Both sides are laid on ticks of 200 ms; a tick with any speech is speech. So latencies come in steps of 200
ms. What happened in a call is first a list of events, which add over calls; the panel is then shares and
means. The benchmark hides rates that rest on fewer than 10 events; ours say so (`Figure.is_shown`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from agent.energy_gate import Segment

TICK_S = 0.2
YIELD_WINDOW_S = 2.0
SELECTIVE_YIELD_WINDOW_S = 1.0
SELECTIVE_RESPONSE_WINDOW_S = 2.0
MIN_EVENTS = 10


class Sound(Enum):
    """What the caller uttered, in the order that decides where several fit."""

    BACKCHANNEL = "backchannel"
    VOCAL_TIC = "vocal_tic"
    NON_DIRECTED = "non_directed"
    TURN = "turn"


@dataclass(frozen=True, slots=True)
class UserSound:
    """One stretch of the caller's channel and what it was."""

    span: Segment
    kind: Sound


@dataclass(slots=True)
class TauEvents:
    """What happened, over one or more calls."""

    response_s: list[float] = field(default_factory=list)
    num_unanswered: int = 0
    yield_s: list[float] = field(default_factory=list)
    num_not_yielded: int = 0
    num_agent_interruptions: int = 0
    selectivity: dict[Sound, list[bool]] = field(
        default_factory=lambda: {kind: [] for kind in Sound if kind is not Sound.TURN}
    )


@dataclass(frozen=True, slots=True)
class Figure:
    """A share or a mean and the events behind it; NaN without any."""

    value: float
    num_events: int

    @property
    def is_shown(self) -> bool:
        """The benchmark would show it."""
        return self.num_events >= MIN_EVENTS


@dataclass(frozen=True, slots=True)
class TauPanel:
    """The eight figures, named as the benchmark names them; latencies in seconds."""

    l_r: Figure
    l_y: Figure
    r_r: Figure
    r_y: Figure
    i_a: Figure
    s_bc: Figure
    s_vt: Figure
    s_nd: Figure

    @property
    def selectivity(self) -> Figure:
        """The plain mean of the three, resting on the fewest events of them."""
        three = (self.s_bc, self.s_vt, self.s_nd)
        return Figure(float(np.mean([one.value for one in three])), min(one.num_events for one in three))


def tau_panel(calls: Iterable[TauEvents]) -> TauPanel:
    """Shares and means over the events of all calls."""
    every = list(calls)
    response_s = [value for call in every for value in call.response_s]
    yield_s = [value for call in every for value in call.yield_s]
    num_responses = len(response_s) + sum(call.num_unanswered for call in every)
    num_yields = len(yield_s) + sum(call.num_not_yielded for call in every)
    interruptions = sum(call.num_agent_interruptions for call in every)
    kinds = {
        kind: [flag for call in every for flag in call.selectivity[kind]]
        for kind in Sound
        if kind is not Sound.TURN
    }
    return TauPanel(
        l_r=_figure(sum(response_s), len(response_s)),
        l_y=_figure(sum(yield_s), len(yield_s)),
        r_r=_figure(len(response_s), num_responses),
        r_y=_figure(len(yield_s), num_yields),
        i_a=_figure(interruptions, num_responses),
        s_bc=_figure(sum(kinds[Sound.BACKCHANNEL]), len(kinds[Sound.BACKCHANNEL])),
        s_vt=_figure(sum(kinds[Sound.VOCAL_TIC]), len(kinds[Sound.VOCAL_TIC])),
        s_nd=_figure(sum(kinds[Sound.NON_DIRECTED]), len(kinds[Sound.NON_DIRECTED])),
    )


def tau_events(
    user: Sequence[UserSound],
    agent: Sequence[Segment],
    duration_s: float,
    tick_s: float = TICK_S,
    *,
    by_script: bool = False,
) -> TauEvents:
    """Events of one call; sounds of the caller that share a tick are one, of the first kind in `Sound`.

    `by_script` is for the column beside their table: as their program, and not their text, has it, an answer
    in the very tick after the turn makes the turn vanish, stopping at exactly 2 s (1 s) is too late, a cough
    or side talk that an agent rightly talks through is not counted, and starting together is interrupting.
    """
    call = _Ticks(user, agent, duration_s, tick_s)
    events = TauEvents()
    for start, end, kinds in call.user_runs:
        kind = next(kind for kind in Sound if kind in kinds)
        if call.is_agent(start):
            _score_over_agent(events, call, start, kind, by_script=by_script)
        elif kind in (Sound.VOCAL_TIC, Sound.NON_DIRECTED):
            answered = call.agent_start_in(start, end + call.num(SELECTIVE_RESPONSE_WINDOW_S) + 1)
            events.selectivity[kind].append(answered is None)
    _score_responses(events, call, 0 if by_script else 1)
    for start, _end in call.agent_runs:
        events.num_agent_interruptions += call.is_user(start) and (by_script or call.is_user(start - 1))
    return events


def _score_over_agent(events: TauEvents, call: _Ticks, start: int, kind: Sound, *, by_script: bool) -> None:
    stop = next(end for begin, end in call.agent_runs if begin <= start < end)
    is_real = kind is Sound.TURN
    window = call.num(YIELD_WINDOW_S if is_real else SELECTIVE_YIELD_WINDOW_S)
    is_yield = stop - start <= window - by_script and stop < call.length
    if not is_real:
        if is_yield or kind is Sound.BACKCHANNEL or not by_script:
            events.selectivity[kind].append(not is_yield)
    elif is_yield:
        events.yield_s.append((stop - start) * call.tick_s)
    elif start + window <= call.length:  # a call that ended earlier tells nothing
        events.num_not_yielded += 1


def _score_responses(events: TauEvents, call: _Ticks, back: int) -> None:
    """Turns that ended with the agent silent, `back` ticks before their end.

    Answered = the agent begins before the next such turn; the call's end, unlike that turn, fails nobody.
    """
    turns = [
        (start, end)
        for start, end, kinds in call.user_runs
        if Sound.TURN in kinds and Sound.BACKCHANNEL not in kinds and not call.is_agent(end - back)
    ]
    for index, (_start, end) in enumerate(turns):
        again = turns[index + 1][0] if index + 1 < len(turns) else None
        answer = call.agent_start_in(end, call.length if again is None else again + 1)
        if answer is not None:
            events.response_s.append((answer - end) * call.tick_s)
        elif again is not None:
            events.num_unanswered += 1


class _Ticks:
    """Both sides of a call on ticks; ends are the first tick without speech."""

    def __init__(
        self, user: Sequence[UserSound], agent: Sequence[Segment], duration_s: float, tick_s: float
    ) -> None:
        self.tick_s = tick_s
        self.length = int(np.ceil(duration_s / tick_s - 1e-9))
        self._user = self._lay([one.span for one in user])
        self._agent = self._lay(agent)
        self.agent_runs = _runs(self._agent)
        self.user_runs = [(start, end, self._kinds(user, start, end)) for start, end in _runs(self._user)]

    def num(self, seconds: float) -> int:
        """Ticks in a window."""
        return round(seconds / self.tick_s)

    def is_agent(self, tick: int) -> bool:
        """The agent speaks in this tick."""
        return tick < self.length and bool(self._agent[tick])

    def is_user(self, tick: int) -> bool:
        """The caller speaks in this tick."""
        return tick >= 0 and bool(self._user[tick])

    def agent_start_in(self, start: int, end: int) -> int | None:
        """The first tick from `start` up to `end` in which the agent begins."""
        return next((begin for begin, _end in self.agent_runs if start <= begin < end), None)

    def _lay(self, spans: Sequence[Segment]) -> NDArray[np.bool_]:
        ticks = np.zeros(self.length, np.bool_)
        for span in spans:
            ticks[int(span.start_s / self.tick_s + 1e-9) : int(np.ceil(span.end_s / self.tick_s - 1e-9))] = (
                True
            )
        return ticks

    def _kinds(self, user: Sequence[UserSound], start: int, end: int) -> set[Sound]:
        start_s, end_s = start * self.tick_s, end * self.tick_s
        return {one.kind for one in user if one.span.start_s < end_s and start_s < one.span.end_s}


def _runs(ticks: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(first, first after) of each stretch of true ticks."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], ticks, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _figure(total: float, num: int) -> Figure:
    return Figure(total / num if num else float("nan"), num)
