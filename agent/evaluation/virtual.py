"""Calls on a virtual clock: any speaker against any engine, no telephone, as many at once as slots.

Each step feeds every call one frame and hands its speaker what came back. What a real line puts between the
two is there as samples: G.711 and its resamplers as the bridge streams them, and a constant delay each way
that was measured on the bridge. So the figures are the telephone's, a slow machine takes longer and does no
worse, and there is no deadline to miss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from agent.duplex import LEAST_FRAMES, QUIET_FRAMES
from agent.energy_gate import Pcm
from agent.evaluation.placed_call import FRAME_S, Speaker
from agent.playout import DcBlocker, SilenceGate
from agent.tick_loop import Stepper
from agent.transcript import Speaker as Side
from agent.transcript import TimedWord, WordStream
from model.line_codecs import g711
from model.order_line import UNKNOWN
from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ
from telephony.resample import WAIT_S, StreamResampler

WIRE_RATE_HZ = 8000
# From the caller's mouth to the model, beyond the frame itself, and from there to the caller's ear, the
# step of two calls in it (22 ms): so long that scenes have the times that they have over SIP (docs/log.md).
UP_DELAY_S = 0.030
DOWN_DELAY_S = 0.100
DELEGATE_TIMEOUT_S = 1.5  # there is nobody whom a question could be passed on to
_SILENCE = np.zeros(FRAME_SAMPLES, np.float32)


class Signals(Protocol):
    """What a virtual call asks of the tokenizer."""

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


class WireLeg:
    """One direction of a telephone line: G.711 between the bridge's resamplers, then a constant delay."""

    def __init__(self, delay_s: float) -> None:
        """`delay_s` is the whole leg's, its two resamplers included."""
        self._down = StreamResampler(SAMPLE_RATE_HZ, WIRE_RATE_HZ)
        self._up = StreamResampler(WIRE_RATE_HZ, SAMPLE_RATE_HZ)
        waiting = round((delay_s - 2 * WAIT_S) * SAMPLE_RATE_HZ)
        self._waiting = np.zeros(max(0, waiting), np.float32)

    def push(self, frame: Pcm) -> Pcm:
        """The next frame in, float32 [1920]; as long a one comes out."""
        wire = g711(self._down.push(frame), "pcmu")
        joined = np.concatenate([self._waiting, self._up.push(wire)])
        self._waiting = joined[len(frame) :]
        return joined[: len(frame)]


@dataclass(slots=True)
class VirtualCall:
    """One caller and one slot, frame by frame."""

    number: int
    speaker: Speaker
    limit_s: float
    up_s: float = UP_DELAY_S
    down_s: float = DOWN_DELAY_S
    is_hung_up: bool = False  # by the agent
    fallback_frame: int | None = None  # when the agent is told that nobody answers its question
    words: list[TimedWord] = field(default_factory=list)  # of both, on the call's clock
    _said: list[Pcm] = field(default_factory=list)
    _heard: list[Pcm] = field(default_factory=lambda: [_SILENCE])  # a frame is answered in the next one
    _centre: DcBlocker = field(default_factory=DcBlocker)
    _gate: SilenceGate = field(default_factory=SilenceGate)
    _request: int | None = None  # the token by which the model asks to hang up or to transfer
    _asked_frames: int = 0
    _quiet_frames: int = 0
    _legs: tuple[WireLeg, WireLeg] = field(init=False)
    _texts: tuple[WordStream, WordStream] | None = None

    def __post_init__(self) -> None:
        self._legs = (WireLeg(self.up_s), WireLeg(self.down_s))

    def say(self) -> Pcm | None:
        """What the model hears next, float32 [1920]; None when the caller hangs up or at the limit."""
        slot = len(self._said)  # the frame that begins now; what was heard is known up to the one before
        said = self.speaker(self._heard[slot - 1] if slot else _SILENCE)
        if said is None or len(self._said) * FRAME_S >= self.limit_s:
            return None
        self._said.append(said)
        return self._legs[0].push(said)

    def hear(self, pcm: Pcm, text: int, caller_text: int, signals: Signals) -> int | None:
        """Take the model's frame; one of the signals once the model has finished speaking after it."""
        frame = self._gate.push(self._centre.push(pcm))
        self._heard.append(self._legs[1].push(frame))
        self._note_words(text, caller_text, signals)
        self._quiet_frames = 0 if frame.any() else self._quiet_frames + 1
        asks = {signals.hangup, signals.transfer, signals.delegate} - {-1}
        if text in asks and self._request is None:
            self._request, self._asked_frames = text, len(self._heard)
        waited = len(self._heard) - self._asked_frames
        if self._request is None or waited < LEAST_FRAMES or self._quiet_frames < QUIET_FRAMES:
            return None
        request, self._request = self._request, None
        return request

    def _note_words(self, text: int, caller_text: int, signals: Signals) -> None:
        if self._texts is None:
            self._texts = (WordStream(Side.AGENT, signals), WordStream(Side.CALLER, signals))
        at_s = (len(self._heard) - 1) * FRAME_S
        for stream, token in zip(self._texts, (text, caller_text), strict=True):
            if (word := stream.push(token, at_s)) is not None:
                self.words.append(word)

    @property
    def num_frames(self) -> int:
        """Of the model, so far."""
        return len(self._heard) - 1

    def finish(self) -> None:
        """The call is over: write down the words that were still open."""
        for stream in self._texts or ():
            if (word := stream.finish()) is not None:
                self.words.append(word)

    def channels(self) -> tuple[Pcm, Pcm]:
        """(caller, agent) at the caller's end, float32 [T] each."""
        heard = [*self._heard, _SILENCE][: len(self._said)]
        return np.concatenate([_SILENCE[:0], *self._said]), np.concatenate([_SILENCE[:0], *heard])


def hold_calls(
    stepper: Stepper,
    signals: Signals,
    calls: Iterator[VirtualCall],
    on_done: Callable[[VirtualCall], None],
) -> None:
    """Hold every call on the engine's slots; each is handed over when it has ended."""
    slots: list[VirtualCall | None] = [None] * stepper.num_slots
    while True:
        pcm = np.zeros((stepper.num_slots, FRAME_SAMPLES), np.float32)
        active = np.zeros(stepper.num_slots, bool)
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
            return
        if active.any():
            _step(stepper, signals, pcm, active, slots, on_done)


def _step(
    stepper: Stepper,
    signals: Signals,
    pcm: Pcm,
    active: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    slots: list[VirtualCall | None],
    on_done: Callable[[VirtualCall], None],
) -> None:
    out = stepper.step(pcm, active)
    for slot, call in enumerate(slots):
        if call is None or not active[slot]:
            continue
        if call.fallback_frame == call.num_frames:
            stepper.say(slot, signals.encode(UNKNOWN.text))
        request = call.hear(out.pcm[slot], int(out.text[slot]), int(out.caller_text[slot]), signals)
        if request is not None and request == signals.hangup:
            call.is_hung_up = True
            _end(stepper, slot, call, on_done)
            slots[slot] = None
        elif request is not None and request == signals.delegate:
            call.fallback_frame = call.num_frames + round(DELEGATE_TIMEOUT_S / FRAME_S)
        elif request is not None and signals.nobody >= 0:
            stepper.force_text(slot, signals.nobody)


def _begin(stepper: Stepper, slot: int, calls: Iterator[VirtualCall]) -> VirtualCall | None:
    call = next(calls, None)
    if call is not None:
        stepper.start(slot, seed=call.number)
    return call


def _end(stepper: Stepper, slot: int, call: VirtualCall, on_done: Callable[[VirtualCall], None]) -> None:
    stepper.stop(slot)
    call.finish()
    on_done(call)
