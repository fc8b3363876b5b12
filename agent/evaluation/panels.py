"""Judged calls -> the figures of published panels: turn statistics, EVA's score, tau-Voice's interaction."""

from __future__ import annotations

import math
from collections.abc import Sequence

from agent.energy_gate import Segment
from agent.evaluation.metrics.eva import eva_score, eva_turns
from agent.evaluation.metrics.intervals import Estimate, mean
from agent.evaluation.metrics.tau import Figure, Sound, UserSound, tau_events, tau_panel
from agent.evaluation.metrics.turn_statistics import turn_statistics
from agent.evaluation.trials import Json

_SOUNDS = {"backchannel": Sound.BACKCHANNEL, "cough": Sound.VOCAL_TIC, "side_talk": Sound.NON_DIRECTED}
STATISTICS = ("units", "pauses", "gaps", "overlaps")


def conversation(calls: Sequence[Json]) -> dict[str, Estimate]:
    """Of calls in which nobody is interrupted: how turns follow one another, per minute, and EVA's score."""
    sides = [(_turns(call), _agent(call), call["seconds"]) for call in calls if call["turns"]]
    told = [turn_statistics(*side) for side in sides]
    found = {
        f"{name}_per_minute": mean([[getattr(one, name).num_per_minute] for one in told])
        for name in STATISTICS
    }
    return {**found, "eva": mean([[eva_score(eva_turns(*side)).score] for side in sides])}


def interaction(calls: Sequence[Json]) -> dict[str, Estimate]:
    """tau-Voice's panel of calls that are spoken into; its sounds are the caller's own and those beside."""
    events = [tau_events(_user_sounds(call), _agent(call), call["seconds"]) for call in calls]
    panel = tau_panel(events)
    names = ("r_r", "r_y", "l_r", "l_y", "i_a", "s_bc", "s_vt", "s_nd")
    return {f"tau_{name}": _estimate(getattr(panel, name)) for name in names}


def _estimate(figure: Figure) -> Estimate:
    """Without an interval: the panel pools its events."""
    return Estimate(figure.value, math.nan, math.nan, figure.num_events, figure.num_events)


def _turns(call: Json) -> list[Segment]:
    return [Segment(turn["start_s"], turn["end_s"]) for turn in call["turns"]]


def _agent(call: Json) -> list[Segment]:
    return [Segment(*pair) for pair in call["agent"]]


def _user_sounds(call: Json) -> list[UserSound]:
    turns = [UserSound(span, Sound.TURN) for span in _turns(call)]
    beside = [
        UserSound(Segment(row["start_s"], row["end_s"]), _SOUNDS[row["sound"]])
        for row in call["sounds"]
        if row["sound"] in _SOUNDS
    ]
    return sorted([*turns, *beside], key=lambda one: one.span.start_s)
