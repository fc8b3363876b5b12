"""Scripted callers: what one says in a call, and a speaker that says it in answer to what it hears.

Everything is drawn from a seed: the same seed gives the same words, voices and pauses. Callers use held-out
voices and held-out phrasings only.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from agent.energy_gate import EnergyGate, Pcm, Segment
from agent.evaluation.placed_call import FRAME_S
from model.channel import active_rms
from model.order_line import Intent, Request, draw_request
from model.training.bank import insert_pause
from model.voices import HELD_OUT_VOICES, SAMPLE_RATE_HZ, Voice, draw_voice, synthesize
from model.voices_styles import Style
from telephony.endpoint import FRAME_SAMPLES

REPLY_S = (0.4, 1.2)  # silence after the agent's end before the caller goes on
TRANSFER_REPLY_S = 2.5  # "I will put you through" is followed by "nobody is free"
PAUSE_S = (0.4, 1.0)
CUED_S = (0.6, 0.6)  # after the cue: an agent that begins of itself is heard before the caller
CUT_IN_S = (0.5, 0.9)  # of the agent's line, when it is interrupted
MISSED_CUT_S = 1.0  # the line was over before we could interrupt it: say our words all the same
NO_ANSWER_S = 5.5
GREETING_S = 6.0
SILENCE_S = 14.0  # how long a caller who says nothing waits to be asked
LAST_WORD_S = 6.0


class Manner(Enum):
    """How a turn begins."""

    REPLY = "reply"  # once the agent has finished
    CUT_IN = "cut_in"  # while it speaks
    OVER = "over"  # while it speaks, without wanting the floor: "mhm", a cough, a voice in the room
    SILENCE = "silence"  # nothing is said: the agent should ask
    CUE = "cue"  # when whoever placed the call says so


WAIT_S = {
    Manner.REPLY: REPLY_S,
    Manner.CUT_IN: CUT_IN_S,
    Manner.OVER: CUT_IN_S,
    Manner.SILENCE: (0.0, 0.0),
    Manner.CUE: CUED_S,
}


@dataclass(frozen=True, slots=True)
class Step:
    """One turn of the script; `has_pause` asks for a silence at an unfinished point."""

    request: Request | None
    manner: Manner = Manner.REPLY
    has_pause: bool = False


@dataclass(frozen=True, slots=True)
class SpokenStep:
    """A step as sound: float32 [T] at 24 kHz, and in seconds from its start where speech and pauses lie."""

    step: Step
    pcm: Pcm
    start_s: float
    end_s: float
    pauses: tuple[Segment, ...]
    wait_s: float  # until speaking: after the agent's end, or into its line
    sound: str = "turn"  # or what it is that is no turn
    complete: tuple[Segment, ...] = ()  # pauses at points where the turn might have ended


@dataclass(frozen=True, slots=True)
class Script:
    """One call's turns in one voice."""

    number: int
    voice: Voice
    steps: tuple[SpokenStep, ...]


@dataclass(slots=True)
class SaidTurn:
    """A step that was begun: at which of the caller's frames, 80 ms each, from the first one heard."""

    spoken: SpokenStep
    frame: int


def draw_steps(rng: random.Random, number: int) -> list[Step]:
    """A dozen turns; 4 of 9 whose answer is heard to its end are orders, and 4 in 10 hold a pause."""

    def ask(intent: Intent, *, pause: bool = False, manner: Manner = Manner.REPLY) -> Step:
        request = draw_request(rng, intent, held_out=True, all_slots=True)
        while pause and not request.incomplete_words():
            request = draw_request(rng, intent, held_out=True, all_slots=True)
        return Step(request, manner, pause)

    def answer() -> Intent:
        return rng.choice((Intent.YES, Intent.NO))

    places = (Intent.HOURS, Intent.WHERE, Intent.PERSON)
    order, cut = Intent.ORDER, Manner.CUT_IN
    steps = [
        ask(order, pause=True),
        ask(Intent.YES),  # its long answer is interrupted
        ask(order, pause=rng.random() < 0.5, manner=cut),
        ask(answer()),
        ask(rng.choice(places), pause=True),
        ask(rng.choice(places[:2])),  # interrupted
        ask(order, pause=rng.random() < 0.5, manner=cut),
        ask(Intent.REPEAT if rng.random() < 0.7 else Intent.OTHER),
        ask(order, pause=rng.random() < 0.5),  # its read-back is interrupted
        ask(rng.choice(places[:2]), manner=cut),
        ask(order, pause=True),
        ask(Intent.GOODBYE) if rng.random() < 0.6 else ask(answer()),
    ]
    if number % 5 == 0:
        steps.insert(5, Step(None, Manner.SILENCE))
    return steps


def make_script(number: int, seed: int) -> Script:
    """The script of call `number`, spoken: 0.1-0.3 s of CPU."""
    rng, draws = random.Random(f"{seed}/{number}"), np.random.default_rng([seed, number])
    voice = draw_voice(draws, HELD_OUT_VOICES)
    rate, pitch = draws.uniform(0.9, 1.15), draws.uniform(0.9, 1.15)
    level_dbfs = draws.uniform(-30.0, -20.0)
    steps = tuple(
        speak_step(step, voice, rng, rate=rate, pitch=pitch, level_dbfs=level_dbfs)
        for step in draw_steps(rng, number)
    )
    return Script(number, voice, steps)


def speak_step(
    step: Step,
    voice: Voice,
    rng: random.Random,
    *,
    rate: float,
    pitch: float,
    level_dbfs: float,
    style: Style | None = None,
) -> SpokenStep:
    """Synthesise a step, its pause included."""
    if step.request is None:
        return SpokenStep(step, np.zeros(0, np.float32), 0.0, 0.0, (), REPLY_S[0])
    said = synthesize(step.request.text, voice, rate=rate, pitch=pitch, style=style)
    pauses: tuple[Segment, ...] = ()
    if step.has_pause:
        after, pause_s = rng.choice(step.request.incomplete_words()), rng.uniform(*PAUSE_S)
        at_s = said.words[after - 1].end_s
        said, pauses = insert_pause(said, after, pause_s), (Segment(at_s, at_s + pause_s),)
    gain = 10 ** (level_dbfs / 20) / active_rms(said.pcm, SAMPLE_RATE_HZ)
    pcm = np.clip(said.pcm * np.float32(gain), -1, 1)
    wait_s = rng.uniform(*WAIT_S[step.manner])
    return SpokenStep(step, pcm, said.words[0].start_s, said.words[-1].end_s, pauses, wait_s)


@dataclass(slots=True)
class ScriptedCaller:
    """A speaker for `placed_call`: hears the agent by the energy gate, says each step when it is due."""

    steps: Sequence[SpokenStep]
    said: list[SaidTurn] = field(default_factory=list)
    _gate: EnergyGate = field(default_factory=EnergyGate)
    _frame: int = 0
    _next: int = 0
    _since_s: float = 0.0  # when we last stopped speaking
    _agent_until_s: float = 0.0  # when the agent last spoke; a comfort tone is no speech
    _left: Pcm = field(default_factory=lambda: np.zeros(0, np.float32))
    _cue_s: float | None = None

    @property
    def now_s(self) -> float:
        """The audio clock: seconds of the agent heard so far."""
        return self._frame * FRAME_S

    @property
    def answered_for_s(self) -> float:
        """For how long the agent has been silent since it answered our last words; 0 while it has not."""
        return self._gate.silent_for_s if self.said and not len(self._left) and self._has_spoken() else 0.0

    def cue(self) -> None:
        """Let the step that waits for it begin, its `wait_s` later."""
        self._cue_s = self.now_s

    def __call__(self, heard: Pcm) -> Pcm | None:
        """One frame of the call; None when the script is over and the agent has had its last word."""
        self._gate.push(heard)
        self._frame += 1
        if self._gate.is_speaking:
            self._agent_until_s = self.now_s
        if not len(self._left):
            if self._next == len(self.steps):
                return None if self._is_over() else np.zeros(FRAME_SAMPLES, np.float32)
            if self._is_due(self.steps[self._next]):
                self._begin(self.steps[self._next])
        return self._speak()

    def _begin(self, spoken: SpokenStep) -> None:
        self._next += 1
        self._cue_s = None
        self._since_s = self.now_s
        self.said.append(SaidTurn(spoken, self._frame))
        self._left = spoken.pcm

    def _speak(self) -> Pcm:
        now, self._left = self._left[:FRAME_SAMPLES], self._left[FRAME_SAMPLES:]
        if len(now):
            self._since_s = self.now_s
        return np.pad(now, (0, FRAME_SAMPLES - len(now)))

    def _is_due(self, spoken: SpokenStep) -> bool:
        if spoken.step.manner is Manner.CUE:
            return self._cue_s is not None and self.now_s - self._cue_s >= spoken.wait_s
        if self._waited_s > self._patience_s:
            return True
        if spoken.step.manner in (Manner.CUT_IN, Manner.OVER) and self.said:
            since_s = self._gate.open_since_s
            if since_s is not None and since_s > self._since_s:
                return self.now_s - since_s >= spoken.wait_s
            return self._has_spoken() and self._gate.silent_for_s >= MISSED_CUT_S
        return self._has_spoken() and self._gate.silent_for_s >= max(spoken.wait_s, self._least_wait_s)

    @property
    def _last(self) -> Step | None:
        return self.said[-1].spoken.step if self.said else None

    @property
    def _patience_s(self) -> float:
        """How long we wait for the agent to say anything at all."""
        if self._last is None:
            return GREETING_S
        return SILENCE_S if self._last.manner is Manner.SILENCE else NO_ANSWER_S

    @property
    def _least_wait_s(self) -> float:
        request = self._last.request if self._last is not None else None
        is_passed_on = request is not None and request.intent in (Intent.PERSON, Intent.STATUS)
        return TRANSFER_REPLY_S if is_passed_on else 0.0

    @property
    def _waited_s(self) -> float:
        """How long nobody has spoken."""
        return self.now_s - max(self._since_s, self._agent_until_s)

    def _has_spoken(self) -> bool:
        """The agent has said something since our last word, and is not speaking now."""
        last_voice_s = self._gate.now_s - self._gate.silent_for_s
        return last_voice_s > self._since_s + 0.1 and not self._gate.is_speaking

    def _is_over(self) -> bool:
        return (self._has_spoken() and self._gate.silent_for_s >= 2.0) or self._waited_s > LAST_WORD_S
