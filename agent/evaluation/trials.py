"""One recorded scene -> its trials: what happened at each turn, pause, sound and echo. No figures here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent.energy_gate import Pcm, Segment
from agent.evaluation.answered_tone import tones_heard
from agent.evaluation.judge import Judge, is_own_line, plain
from agent.evaluation.metrics.floor import (
    LEFT_OF_LINE_S,
    backchannels_given,
    breaks_per_s,
    pause_trials,
    post_interrupt_response,
    self_stop,
    stutters,
)
from agent.evaluation.outcome import (
    ANSWER_PAUSE_S,
    CallOutcome,
    HeardAgent,
    PlacedTurn,
    judge_call,
    line_seconds,
    place_turns,
)
from agent.evaluation.scenes import Family, Scene
from agent.evaluation.scores import (
    EARLY_S,
    FALSE_STOP_S,
    RESUME_WINDOW_S,
    SUSTAINED_S,
    BargeIn,
    without_backchannels,
)
from agent.evaluation.script import SaidTurn
from agent.evaluation.segments import CallerTurn, speech_segments, talks
from model.order_line import AGENT_LINES, GOODBYE, GREETING, Tone, in_tone

Json = dict[str, Any]

_SPELT = {plain(line.text): line.text for line in AGENT_LINES}  # with the commas that make its pauses
_GOODBYES = frozenset(in_tone(GOODBYE, tone).text for tone in Tone)
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


def truth_of(scene: Scene, steps: Sequence[PlacedStep], words: Sequence[Json] | None) -> Json:
    """What is kept of a held call beside its sound: enough to judge it without the scene.

    `words` of None: the line did not tell its transcript.
    """
    return {
        "family": scene.family.value,
        "number": scene.number,
        "voice": scene.voice,
        "condition": scene.condition,
        "planned_turns": sum(step.sound == "turn" for step in scene.steps),
        "steps": [step.as_json() for step in steps],
        "words": None if words is None else list(words),
    }


def judge_scene(truth: Json, agent: Pcm, judge: Judge) -> Json:
    """Every trial of one call, from the agent's channel, float32 [T] at 24 kHz; times in seconds."""
    steps = [PlacedStep.from_json(row) for row in truth["steps"]]
    turns = [step for step in steps if step.sound == "turn"]
    heard = HeardAgent(agent, judge)
    segments = heard.segments
    outcome = judge_call(truth["number"], truth["voice"], [one.placed for one in turns], agent, judge, heard)
    call = _Call(outcome, [one.placed.turn for one in turns], segments)
    given = backchannels_given(call.turns, segments)
    plain_outcome = outcome.as_json()
    tones = tones_heard(plain_outcome, agent)
    sounds = [_sound(step, call) for step in steps if step.sound != "turn"]
    return {
        **{key: truth[key] for key in ("family", "number", "condition")},
        **plain_outcome,
        "turns": [
            {**turn, "answer_tone": tone} for turn, tone in zip(plain_outcome["turns"], tones, strict=True)
        ],
        "pauses": [row for one in turns for row in _pauses(one, segments)],
        "sounds": sounds,
        "interruptions": _interruptions(call),
        "stutters": _stutters(steps, sounds, agent),
        "planned_turns": planned_turns(truth["planned_turns"], outcome),
        "said_lines": said_lines(heard, call.turns) if truth["family"] == Family.DIALOGUE else [],
        "lines": _lines(call),
        "given": {"num": given.num, "caller_speech_s": round(given.caller_speech_s, 3)},
        "agent": [[one.start_s, one.end_s] for one in segments],
        "reference": " ".join(said.text for said in outcome.turns),
        "transcript": _transcript(truth["words"]),
    }


def planned_turns(scripted: int, outcome: CallOutcome) -> int:
    """Turns that an agent without fault would have heard: none after it was right to say goodbye."""
    is_over = bool(outcome.turns) and bool(_GOODBYES.intersection(outcome.turns[-1].expected))
    return len(outcome.turns) if is_over else scripted


def _transcript(words: Sequence[Json] | None) -> str | None:
    if words is None:
        return None
    return " ".join(word["text"] for word in words if word["speaker"] == "caller")


def said_lines(heard: HeardAgent, turns: Sequence[CallerTurn]) -> list[bool]:
    """Each talk of over 1 s, its backchannels apart: is it one of the agent's sentences, right or not?

    A talk that the end of the call cut off tells nothing.
    """
    segments = heard.segments
    for turn in turns:
        segments = without_backchannels(turn, segments)
    whole = [one for one in talks(segments, ANSWER_PAUSE_S) if one.end_s < heard.seconds - FALSE_STOP_S]
    return [is_own_line(heard.verdict(one).words) for one in whole if one.duration_s > SUSTAINED_S]


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
        said = before[-1]
        # A wrong answer that was heard whole is as long as it is; one that broke off is heard as no line.
        if said.is_right or not is_own_line(said.heard):
            return Segment(talk.start_s, talk.start_s + line_seconds(said.expected[0]))
        return Segment(talk.start_s, talk.start_s + line_seconds(_SPELT.get(said.heard, said.heard)))


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
    """The greeting and every answer while nobody speaks: was it said to its end, did it answer itself?"""
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
    is_stopped = stopped_s is not None and not is_own_line(heard)
    return {"is_eligible": True, "is_stopped": is_stopped, "answers_itself": _goes_on(line, until_s, call)}


def _goes_on(line: Segment, until_s: float, call: _Call) -> bool:
    """Whether the agent speaks again after a line, for over 1 s, before the caller has said a turn more.

    It heard something to answer where nobody spoke, or where the caller had only begun.
    """
    turn = next((turn for turn in call.turns if turn.start_s >= until_s - 1e-6), None)
    end_s = until_s if turn is None else turn.end_s - EARLY_S
    spoken = talks(call.agent, FALSE_STOP_S)
    # What comes sooner than the line was due to end is the line itself, after a stop.
    later = [one for one in spoken if line.end_s - LEFT_OF_LINE_S < one.start_s < end_s]
    return any(one.duration_s > SUSTAINED_S for one in later)
