"""One recorded scene -> its trials: what happened at each turn, pause, sound and echo. No figures here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent.energy_gate import Pcm, Segment
from agent.evaluation.judge import FOIL_LINES, Judge, number_in, order_in, plain, without_offer
from agent.evaluation.metrics.floor import (
    backchannels_given,
    breaks_per_s,
    pause_trials,
    post_interrupt_response,
    self_stop,
    stutters,
)
from agent.evaluation.outcome import (
    CallOutcome,
    PlacedTurn,
    judge_call,
    line_seconds,
    place_turns,
)
from agent.evaluation.scenes import Scene
from agent.evaluation.scores import FALSE_STOP_S, RESUME_WINDOW_S, BargeIn
from agent.evaluation.script import SaidTurn
from agent.evaluation.segments import CallerTurn, speech_segments, talks
from model.order_line import AGENT_LINES, CALM_LINES, GREETING, Tone, in_tone

Json = dict[str, Any]

_LINES = frozenset(plain(line.text) for line in AGENT_LINES)
_TERSE_LINES = frozenset(plain(in_tone(line, Tone.HURRIED).text) for line in CALM_LINES) - {
    plain(line.text) for line in CALM_LINES
}
FINE_SPLIT_S = 0.06  # shows the breaks that the usual gate joins


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
    """Every trial of one call, from the agent's channel, float32 [T] at 24 kHz; times in seconds."""
    steps = [PlacedStep.from_json(row) for row in truth["steps"]]
    turns = [step for step in steps if step.sound == "turn"]
    segments = speech_segments(agent)
    outcome = judge_call(truth["number"], truth["voice"], [one.placed for one in turns], agent, judge)
    call = _Call(outcome, [one.placed.turn for one in turns], segments)
    given = backchannels_given(call.turns, segments)
    sounds = [_sound(step, call) for step in steps if step.sound != "turn"]
    return {
        **{key: truth[key] for key in ("family", "number", "condition")},
        **outcome.as_json(),
        "turns": [{**asdict(said), "answer_tone": answer_tone(said.heard)} for said in outcome.turns],
        "pauses": [row for one in turns for row in _pauses(one, segments)],
        "sounds": sounds,
        "interruptions": _interruptions(call),
        "stutters": _stutters(steps, sounds, agent),
        "lines": _lines(call),
        "given": {"num": given.num, "caller_speech_s": round(given.caller_speech_s, 3)},
        "agent": [[one.start_s, one.end_s] for one in segments],
        "reference": " ".join(said.text for said in outcome.turns),
        "transcript": " ".join(word["text"] for word in truth["words"] if word["speaker"] == "caller"),
    }


@dataclass(frozen=True, slots=True)
class _Call:
    outcome: CallOutcome
    turns: list[CallerTurn]
    agent: list[Segment]

    def line_before(self, at_s: float) -> Segment | None:
        """The line that is being said at a time: where it began, and where it should end."""
        talk = next((one for one in talks(self.agent) if one.start_s < at_s < one.end_s), None)
        before = [turn for turn in self.outcome.turns if turn.start_s < at_s]
        if talk is None or not before:
            return None
        return Segment(talk.start_s, talk.start_s + line_seconds(before[-1].expected[0]))


def _pauses(step: PlacedStep, agent: Sequence[Segment]) -> list[Json]:
    trials = pause_trials(step.placed.turn, agent, step.complete)
    return [{**asdict(trial), "is_in_rate": trial.is_in_rate} for trial in trials]


def _interruptions(call: _Call) -> list[Json]:
    """Each turn that was said into the agent's speech."""
    rows = []
    for turn, said in zip(call.turns, call.outcome.turns, strict=True):
        if said.barge_in is None:
            continue
        trial = BargeIn(**said.barge_in)
        after_s = post_interrupt_response(Segment(turn.start_s, turn.end_s), call.agent, trial)
        rows.append({**said.barge_in, "is_yielded": trial.is_success, "response_s": after_s})
    return rows


def _sound(step: PlacedStep, call: _Call) -> Json:
    """A sound over the agent's speech: the agent should go on."""
    span = Segment(step.placed.turn.start_s, step.placed.turn.end_s)
    row: Json = {"sound": step.sound, "start_s": round(span.start_s, 3), "end_s": round(span.end_s, 3)}
    line = call.line_before(span.start_s)
    if line is None:
        return {**row, "is_eligible": False, "why_not": "the agent was silent"}
    if line.end_s - span.start_s < RESUME_WINDOW_S + FALSE_STOP_S:
        return {**row, "is_eligible": False, "why_not": "the line was nearly over"}
    until_s = min(span.end_s + RESUME_WINDOW_S, line.end_s - FALSE_STOP_S)
    silence_s = silence_from(span.start_s, until_s, call.agent)
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


def _stutters(steps: Sequence[PlacedStep], sounds: Sequence[Json], agent: Pcm) -> Json:
    """Short breaks after each sound that the agent went on over, and how often its speech breaks anyway."""
    fine = speech_segments(agent, split_s=FINE_SPLIT_S)
    events = [Segment(one.placed.turn.start_s, one.placed.turn.end_s) for one in steps]
    kept = [
        Segment(row["start_s"], row["end_s"])
        for row in sounds
        if row["is_eligible"] and not row["is_stopped"]
    ]
    trials = [trial for trial in stutters(kept, fine) if trial.is_eligible]
    return {"breaks": [len(one.silences_s) for one in trials], "breaks_per_s": breaks_per_s(events, fine)}


def _lines(call: _Call) -> list[Json]:
    """The greeting and every answer while nobody speaks: was it said to its end?"""
    outcome, turns = call.outcome, call.turns
    until_s = turns[0].start_s if turns else outcome.seconds
    greeting_s, heard = outcome.greeting_after_s, outcome.greeting_heard
    rows = [
        {"is_eligible": False}
        if greeting_s is None
        else _line(greeting_s, until_s, GREETING.text, heard, call)
    ]
    for index, said in enumerate(outcome.turns):
        until_s = turns[index + 1].start_s if index + 1 < len(turns) else outcome.seconds
        if not said.is_judged or said.gap_s is None:
            rows.append({"is_eligible": False})
        else:
            rows.append(_line(said.end_s + said.gap_s, until_s, said.expected[0], said.heard, call))
    return rows


def _line(start_s: float, until_s: float, text: str, heard: str, call: _Call) -> Json:
    line = Segment(start_s, start_s + line_seconds(text))
    stopped_s = self_stop(line, [one for one in call.agent if one.start_s < until_s])
    return {"is_eligible": True, "is_stopped": stopped_s is not None and not is_whole_line(heard)}


def is_whole_line(words: str) -> bool:
    """Whether these are all the words of a line, the agent's or a foil; what breaks off is none."""
    said = without_offer(words)
    is_fixed = said in FOIL_LINES or said in _LINES
    return is_fixed or order_in(words) is not None or number_in(words) is not None


def answer_tone(words: str) -> str:
    """For callers of which tone an answer is, by its words; "" if it is none of the order line's."""
    if not is_whole_line(words) or words in FOIL_LINES:
        return ""
    if without_offer(words) != words:
        return str(Tone.ANGRY.value)
    is_terse = words in _TERSE_LINES or (words.endswith("right") and not words.endswith("is that right"))
    tone = Tone.HURRIED if is_terse else Tone.CALM
    return str(tone.value)
