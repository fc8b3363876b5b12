"""The scripted callers against the model alone: no telephone, no clock, as many calls at once as slots.

For trainers. Each step feeds every call one frame and hands its speaker what came back, so the loop is closed
as in a call, but bridge, jitter buffers and playout add nothing to a gap, and a slow machine takes longer and
does no worse. Both directions pass G.711.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from agent.duplex import LEAST_FRAMES, QUIET_FRAMES
from agent.energy_gate import Pcm
from agent.evaluation.placed_call import FRAME_S
from agent.evaluation.script import Script, ScriptedCaller
from agent.evaluation.virtual import DELEGATE_TIMEOUT_S
from agent.playout import DcBlocker, SilenceGate
from agent.tick_loop import Stepper
from model.channel import active_rms, fit, g711, resample
from model.order_line import UNKNOWN
from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ

WIRE_RATE_HZ = 8000
NOISE_S = 20.0


class Spelling(Protocol):
    """The tokens by which a model asks for something, and is answered."""

    @property
    def hangup(self) -> int:
        """The call is over once this has been said."""

    @property
    def transfer(self) -> int:
        """A person shall take over."""

    @property
    def nobody(self) -> int:
        """Nobody can."""

    @property
    def delegate(self) -> int:
        """Whoever runs the shop shall be asked; -1 if it has no such token."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""


class Answerer(Stepper, Protocol):
    """What callers can be held against: `model.engine.Engine`, `agent.cascade.engine.Cascade`."""

    @property
    def tokenizer(self) -> Spelling:
        """Its tokens."""


def over_the_wire(pcm: Pcm) -> Pcm:
    """Sound as PCMU leaves it: float32 [T] at 24 kHz -> the same."""
    wire = g711(resample(pcm, SAMPLE_RATE_HZ, WIRE_RATE_HZ), "pcmu")
    return fit(resample(wire, WIRE_RATE_HZ, SAMPLE_RATE_HZ), len(pcm))


@dataclass(slots=True)
class OfflineCall:
    """One caller and one slot, frame by frame."""

    script: Script
    caller: ScriptedCaller
    limit_s: float
    noise: Pcm | None = None  # float32 [N], added to what the caller sends, again and again
    _said: list[Pcm] = field(default_factory=list)
    _heard: list[Pcm] = field(default_factory=list)
    _centre: DcBlocker = field(default_factory=DcBlocker)
    _gate: SilenceGate = field(default_factory=SilenceGate)
    _request: int | None = None  # the token by which the model asks to hang up or to transfer
    _asked_frames: int = 0
    _quiet_frames: int = 0
    fallback_frame: int | None = None  # when the agent is told that nobody answers its question

    @property
    def num_heard(self) -> int:
        """Frames of the model's, so far."""
        return len(self._heard)

    def say(self) -> Pcm | None:
        """The caller's next frame, float32 [1920]; None when the call is over for the caller."""
        heard = self._heard[-1] if self._heard else np.zeros(FRAME_SAMPLES, np.float32)
        said = self.caller(heard)
        if said is None or len(self._said) * FRAME_S >= self.limit_s:
            return None
        self._said.append(said)
        return said if self.noise is None else said + self._noise_now(self.noise)

    def _noise_now(self, noise: Pcm) -> Pcm:
        places = (len(self._said) - 1) * FRAME_SAMPLES + np.arange(FRAME_SAMPLES)
        return noise[places % len(noise)]

    def hear(self, pcm: Pcm, text: int, requests: tuple[int, ...]) -> int | None:
        """Take the model's frame; one of the request tokens once the model has finished speaking after it."""
        frame = self._gate.push(self._centre.push(pcm))
        self._heard.append(frame)
        self._quiet_frames = 0 if frame.any() else self._quiet_frames + 1
        if text in requests and self._request is None:
            self._request, self._asked_frames = text, len(self._heard)
        waited = len(self._heard) - self._asked_frames
        if self._request is None or waited < LEAST_FRAMES or self._quiet_frames < QUIET_FRAMES:
            return None
        request, self._request = self._request, None
        return request

    def channels(self) -> tuple[Pcm, Pcm]:
        """(caller, agent) at the caller's end, float32 [T] each; a frame is answered in the next one."""
        silence = np.zeros(FRAME_SAMPLES, np.float32)
        caller = np.concatenate([silence, *self._said])
        agent = np.concatenate([*self._heard, silence])
        return caller, fit(over_the_wire(agent), len(caller))


def call_offline(
    engine: Answerer,
    scripts: list[Script],
    limit_s: float,
    on_done: Callable[[OfflineCall], None],
    snr_db: float | None = None,
) -> None:
    """Hold every script's call on the engine's slots; each is handed over when it has ended.

    With `snr_db` every caller is in a room whose pink noise is so far below the speech.
    """
    waiting = iter(scripts)
    slots: list[OfflineCall | None] = [None] * engine.num_slots
    while True:
        pcm = np.zeros((engine.num_slots, FRAME_SAMPLES), np.float32)
        active = np.zeros(engine.num_slots, bool)
        for slot in range(engine.num_slots):
            slots[slot] = slots[slot] or _begin(engine, slot, waiting, limit_s, snr_db)
            call = slots[slot]
            frame = call.say() if call is not None else None
            if frame is not None:
                pcm[slot], active[slot] = frame, True
            elif call is not None:
                _end(engine, slot, call, on_done)
                slots[slot] = None
        if not active.any() and not any(slots):
            return
        out = engine.step(pcm, active)
        for slot, call in enumerate(slots):
            if (
                call is not None
                and active[slot]
                and is_over(engine, slot, call, out.pcm[slot], int(out.text[slot]))
            ):
                _end(engine, slot, call, on_done)
                slots[slot] = None


def _begin(
    engine: Answerer, slot: int, waiting: Iterator[Script], limit_s: float, snr_db: float | None
) -> OfflineCall | None:
    script = next(waiting, None)
    if script is None:
        return None
    engine.start(slot, seed=script.number)
    return offline_call(script, limit_s, snr_db)


def offline_call(script: Script, limit_s: float, snr_db: float | None = None) -> OfflineCall:
    """The script's call at its first frame, its caller's sound as the wire leaves it."""
    # Each step whole: the wire's filters know no frames.
    steps = [replace(step, pcm=over_the_wire(step.pcm)) if len(step.pcm) else step for step in script.steps]
    noise = None if snr_db is None else over_the_wire(_room_noise(script, snr_db))
    return OfflineCall(script, ScriptedCaller(steps), limit_s, noise)


def _room_noise(script: Script, snr_db: float) -> Pcm:
    """Pink noise, float32 [T], below the mean level of this caller's turns; the same every time."""
    levels = [active_rms(step.pcm, SAMPLE_RATE_HZ) for step in script.steps if len(step.pcm)]
    rms = float(np.mean(levels)) * 10 ** (-snr_db / 20) if levels else 0.0
    rng = np.random.default_rng(script.number)
    spectrum = np.fft.rfft(rng.standard_normal(round(NOISE_S * SAMPLE_RATE_HZ)))
    hertz = np.fft.rfftfreq(round(NOISE_S * SAMPLE_RATE_HZ), 1 / SAMPLE_RATE_HZ)
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, 50.0)))
    return np.asarray(pink * rms / np.sqrt(np.mean(np.square(pink))), np.float32)


def _end(engine: Answerer, slot: int, call: OfflineCall, on_done: Callable[[OfflineCall], None]) -> None:
    engine.stop(slot)
    on_done(call)


def is_over(engine: Answerer, slot: int, call: OfflineCall, pcm: Pcm, text: int) -> bool:
    """Hand the model's frame to the call; a hang-up ends it (then true).

    A transfer finds nobody. A question that is passed on is answered by nobody: after a moment the agent is
    told to say so, as the session does.
    """
    tokens = engine.tokenizer
    if call.fallback_frame == call.num_heard:
        engine.say(slot, tokens.encode(UNKNOWN.text))
    asks = tuple(token for token in (tokens.hangup, tokens.transfer, tokens.delegate) if token >= 0)
    request = call.hear(pcm, text, asks)
    if request is None:
        return False
    if request == tokens.transfer:
        engine.force_text(slot, tokens.nobody)
    elif request == tokens.delegate:
        call.fallback_frame = call.num_heard + round(DELEGATE_TIMEOUT_S / FRAME_S)
    return request == tokens.hangup
