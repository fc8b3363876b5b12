"""One recorded scene -> its trials: what happened at each turn, pause, sound and echo. No figures here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent.energy_gate import Pcm, Segment
from agent.evaluation.judge import Judge
from agent.evaluation.outcome import (
    CallOutcome,
    PlacedTurn,
    TurnOutcome,
    judge_call,
    line_seconds,
    place_turns,
)
from agent.evaluation.scenes import Scene
from agent.evaluation.scores import FALSE_STOP_S, RESUME_WINDOW_S, backchannels, early_starts
from agent.evaluation.script import SaidTurn
from agent.evaluation.segments import CallerTurn, speech_segments, talks

Json = dict[str, Any]

WHOLE_LINE = 0.9  # of a line's length: who says so much of it has not stopped in it


@dataclass(frozen=True, slots=True)
class PlacedStep:
    """A step as it lies in the call: a turn, or a sound that wants no answer."""

    sound: str
    placed: PlacedTurn
    complete: tuple[Segment, ...]  # pauses at points where the turn might have ended

    def as_json(self) -> Json:
        """Plain values."""
        complete = [[pause.start_s, pause.end_s] for pause in self.complete]
        return {"sound": self.sound, "placed": self.placed.as_json(), "complete": complete}

    @classmethod
    def from_json(cls, row: Json) -> PlacedStep:
        """What `as_json` gave."""
        complete = tuple(Segment(*pause) for pause in row["complete"])
        return cls(row["sound"], PlacedTurn.from_json(row["placed"]), complete)


def place_steps(said: Sequence[SaidTurn], caller: Pcm) -> list[PlacedStep]:
    """Where each step lies in the caller's channel, float32 [T]. Raises AgentError if one has holes."""
    found = []
    for one, placed in zip(said, place_turns(said, caller), strict=False):
        at_s = placed.turn.start_s - one.spoken.start_s
        complete = tuple(Segment(p.start_s + at_s, p.end_s + at_s) for p in one.spoken.complete)
        found.append(PlacedStep(one.spoken.sound, placed, complete))
    return found


def truth_of(scene: Scene, steps: Sequence[PlacedStep], words: Sequence[Json]) -> Json:
    """What is kept of a held call beside its sound: enough to judge it without the scene."""
    return {
        "family": scene.family.value,
        "number": scene.number,
        "voice": scene.voice,
        "condition": scene.condition,
        "steps": [step.as_json() for step in steps],
        "words": list(words),
    }


def judge_scene(truth: Json, agent: Pcm, judge: Judge) -> Json:
    """Every trial of one call, from the agent's channel, float32 [T] at 24 kHz."""
    steps = [PlacedStep.from_json(row) for row in truth["steps"]]
    turns = [step for step in steps if step.sound == "turn"]
    segments = speech_segments(agent)
    outcome = judge_call(truth["number"], truth["voice"], [one.placed for one in turns], agent, judge)
    return {
        **{key: truth[key] for key in ("family", "number", "voice", "condition")},
        **outcome.as_json(),
        "pauses": [
            row
            for one, said in zip(turns, outcome.turns, strict=True)
            for row in _pauses(one, said, segments)
        ],
        "given": [_given(one, segments) for one in turns],
        "sounds": [_sound(step, outcome, segments) for step in steps if step.sound != "turn"],
        "lines": [_line(said, outcome, index, segments) for index, said in enumerate(outcome.turns)],
        "agent": [[one.start_s, one.end_s] for one in segments],
        "caller": [[one.placed.turn.start_s, one.placed.turn.end_s] for one in turns],
        "reference": " ".join(said.text for said in outcome.turns),
        "transcript": " ".join(word["text"] for word in truth["words"] if word["speaker"] == "caller"),
    }


def _pauses(step: PlacedStep, said: TurnOutcome, agent: Sequence[Segment]) -> list[Json]:
    """Each pause of a turn: did the agent take over from there on? An earlier take-over spoils the later."""
    turn, rows, is_spoilt = step.placed.turn, [], False
    kinds = [(pause, "incomplete") for pause in turn.pauses] + [
        (pause, "complete") for pause in step.complete
    ]
    starts = early_starts(turn, agent)
    ordered = sorted(kinds, key=lambda one: one[0].start_s)
    for index, (pause, kind) in enumerate(ordered):
        until_s = ordered[index + 1][0].start_s if index + 1 < len(ordered) else turn.end_s
        is_taken = any(pause.start_s < start_s < until_s for start_s in starts)
        rows.append({
            "kind": kind, "pause_s": round(pause.duration_s, 3), "is_eligible": not is_spoilt,
            "is_premature": is_taken,
        })  # fmt: skip
        is_spoilt = is_spoilt or any(start_s < until_s for start_s in starts)
    return rows


def _given(step: PlacedStep, agent: Sequence[Segment]) -> Json:
    turn = step.placed.turn
    return {
        "speech_s": turn.end_s - turn.start_s,
        "starts_s": [one.start_s for one in backchannels(turn, agent)],
    }


def _host(at_s: float, outcome: CallOutcome, agent: Sequence[Segment]) -> tuple[Segment, float] | None:
    """The talk that was going on, and when its line would have ended had nobody spoken into it."""
    talk = next((one for one in talks(agent) if one.start_s < at_s < one.end_s), None)
    before = next((turn for turn in reversed(outcome.turns) if turn.start_s < at_s), None)
    if talk is None or before is None:
        return None
    return talk, talk.start_s + line_seconds(before.expected[0])


def _sound(step: PlacedStep, outcome: CallOutcome, agent: Sequence[Segment]) -> Json:
    """A sound over the agent's speech: the agent should go on."""
    start_s, end_s = step.placed.turn.start_s, step.placed.turn.end_s
    row: Json = {"sound": step.sound, "start_s": round(start_s, 3), "end_s": round(end_s, 3)}
    host = _host(start_s, outcome, agent)
    if host is None:
        return {**row, "is_eligible": False, "why_not": "the agent was silent"}
    due_s = host[1]
    if due_s - start_s < RESUME_WINDOW_S + FALSE_STOP_S:
        return {**row, "is_eligible": False, "why_not": "the line was nearly over"}
    until_s = min(end_s + RESUME_WINDOW_S, due_s - FALSE_STOP_S)
    silence_s = silence_from(start_s, until_s, agent)
    return {**row, "is_eligible": True, "is_stopped": silence_s is not None, "silence_s": _finite(silence_s)}


def silence_from(start_s: float, until_s: float, agent: Sequence[Segment]) -> float | None:
    """How long the agent, speaking at `start_s`, fell silent before `until_s`, if for more than 300 ms."""
    for index, one in enumerate(agent):
        if start_s < one.end_s < until_s:
            next_s = agent[index + 1].start_s if index + 1 < len(agent) else float("inf")
            if next_s - one.end_s > FALSE_STOP_S:
                return next_s - one.end_s
    return None


def _finite(value_s: float | None) -> float | None:
    return None if value_s is None or value_s == float("inf") else round(value_s, 3)


def _line(said: TurnOutcome, outcome: CallOutcome, index: int, agent: Sequence[Segment]) -> Json:
    """The answer to one turn, undisturbed: was it said to its end? (What stops there stopped by itself.)"""
    until_s = outcome.turns[index + 1].start_s if index + 1 < len(outcome.turns) else outcome.seconds
    if not said.is_judged or said.gap_s is None:
        return {"is_eligible": False, "why_not": "no answer to be heard out"}
    start_s = said.end_s + said.gap_s
    due_s = start_s + WHOLE_LINE * line_seconds(said.expected[0])
    silence_s = silence_from(start_s, min(due_s, until_s), agent)
    return {"is_eligible": True, "is_stopped": silence_s is not None and not said.is_right}
