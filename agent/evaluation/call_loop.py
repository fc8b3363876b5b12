"""The loop that holds calls without a telephone: speakers against an engine, as many at once as it has slots.

Each step feeds every call one frame and hands its speaker what came back, so the loop is closed as in a call,
and a slow machine takes longer and does no worse. What lies between the two is a call's own business:
`agent.evaluation.virtual` has a telephone's delays, `agent.evaluation.offline` none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.duplex import LEAST_FRAMES, QUIET_FRAMES
from agent.energy_gate import Pcm
from agent.evaluation.placed_call import FRAME_S
from agent.playout import DcBlocker, SilenceGate
from agent.tick_loop import StepOutput, Stepper
from model.order_line import UNKNOWN
from telephony.endpoint import FRAME_SAMPLES

DELEGATE_TIMEOUT_S = 1.5  # there is nobody whom a question could be passed on to


class Signals(Protocol):
    """What a call asks of the tokenizer."""

    @property
    def hangup(self) -> int:
        """The token by which the model hangs up; -1 if it has none."""

    @property
    def transfer(self) -> int:
        """The token by which it asks for a person."""

    @property
    def nobody(self) -> int:
        """The token that tells it nobody is free."""

    @property
    def delegate(self) -> int:
        """The token by which it asks whoever runs the shop."""

    def piece(self, token: int) -> str:
        """Spelling of a text token."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""


@dataclass(slots=True)
class AgentSide:
    """What an agent says in one call, as the bridge passes it on, and what it asks for meanwhile."""

    num_frames: int = 0
    is_hung_up: bool = False
    _centre: DcBlocker = field(default_factory=DcBlocker)
    _gate: SilenceGate = field(default_factory=SilenceGate)
    _request: int | None = None  # the token by which the model asks for something
    _asked_frames: int = 0
    _quiet_frames: int = 0
    _fallback_frame: int | None = None  # when it is told that nobody answers its question

    def push(self, pcm: Pcm, text: int, signals: Signals) -> tuple[Pcm, int | None]:
        """The model's frame -> what is sent of it, float32 [1920], and a request once it is due.

        A request is due when the model has finished speaking after it.
        """
        frame = self._gate.push(self._centre.push(pcm))
        self.num_frames += 1
        self._quiet_frames = 0 if frame.any() else self._quiet_frames + 1
        if text in {signals.hangup, signals.transfer, signals.delegate} - {-1} and self._request is None:
            self._request, self._asked_frames = text, self.num_frames
        waited = self.num_frames - self._asked_frames
        if self._request is None or waited < LEAST_FRAMES or self._quiet_frames < QUIET_FRAMES:
            return frame, None
        request, self._request = self._request, None
        return frame, request

    def obey(self, request: int | None, stepper: Stepper, slot: int, signals: Signals) -> None:
        """Do what is asked: a transfer finds nobody, a question that is passed on gets no answer in time."""
        if self._fallback_frame == self.num_frames:
            stepper.say(slot, signals.encode(UNKNOWN.text))
        if request is None:
            return
        if request == signals.hangup:
            self.is_hung_up = True
        elif request == signals.delegate:
            self._fallback_frame = self.num_frames + round(DELEGATE_TIMEOUT_S / FRAME_S)
        elif signals.nobody >= 0:
            stepper.force_text(slot, signals.nobody)


class LoopCall(Protocol):
    """One caller, frame by frame."""

    @property
    def number(self) -> int:
        """What seeds its slot."""

    @property
    def agent(self) -> AgentSide:
        """The other end."""

    def say(self) -> Pcm | None:
        """What the model hears next, float32 [1920]; None when the call is over for the caller."""

    def hear(self, pcm: Pcm, text: int, caller_text: int, signals: Signals) -> int | None:
        """Take the model's frame; what it asks for, once that is due."""

    def finish(self) -> None:
        """The call is over."""


Call = TypeVar("Call", bound=LoopCall)


def hold_calls(
    stepper: Stepper, signals: Signals, calls: Iterator[Call], on_done: Callable[[Call], None]
) -> None:
    """Hold every call on the engine's slots; each is handed over when it has ended."""
    slots: list[Call | None] = [None] * stepper.num_slots
    while True:
        pcm = np.zeros((stepper.num_slots, FRAME_SAMPLES), np.float32)
        active = np.zeros(stepper.num_slots, np.bool_)
        was_busy = False
        for slot in range(stepper.num_slots):
            slots[slot] = call = slots[slot] or _begin(stepper, slot, calls)
            was_busy = was_busy or call is not None
            frame = call.say() if call is not None else None
            if frame is not None:
                pcm[slot], active[slot] = frame, True
            elif call is not None:
                _end(stepper, slot, call, on_done)
                slots[slot] = None
        if not was_busy:
            return  # an end in this frame is no end of the calls that wait
        if active.any():
            _step(stepper, signals, pcm, active, slots, on_done)


def _step(
    stepper: Stepper,
    signals: Signals,
    pcm: Pcm,
    active: NDArray[np.bool_],
    slots: list[Call | None],
    on_done: Callable[[Call], None],
) -> None:
    out = stepper.step(pcm, active)
    for slot, call in enumerate(slots):
        if call is not None and active[slot] and take_frame(stepper, signals, slot, call, out):
            _end(stepper, slot, call, on_done)
            slots[slot] = None


def take_frame(stepper: Stepper, signals: Signals, slot: int, call: LoopCall, out: StepOutput) -> bool:
    """Hand a step's frame to the slot's call and do what it asks; whether the agent has hung up."""
    request = call.hear(out.pcm[slot], int(out.text[slot]), int(out.caller_text[slot]), signals)
    call.agent.obey(request, stepper, slot, signals)
    return call.agent.is_hung_up


def _begin(stepper: Stepper, slot: int, calls: Iterator[Call]) -> Call | None:
    call = next(calls, None)
    if call is not None:
        stepper.start(slot, seed=call.number)
    return call


def _end(stepper: Stepper, slot: int, call: Call, on_done: Callable[[Call], None]) -> None:
    stepper.stop(slot)
    call.finish()
    on_done(call)
