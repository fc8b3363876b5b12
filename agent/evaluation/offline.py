"""The scripted callers against the model alone: no telephone, no clock, as many calls at once as slots.

For trainers. Each step feeds every call one frame and hands its speaker what came back, so the loop is closed
as in a call, but bridge, jitter buffers and playout add nothing to a gap, and a slow machine takes longer and
does no worse. Both directions pass G.711.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from agent.duplex import LEAST_FRAMES, QUIET_FRAMES
from agent.energy_gate import Pcm
from agent.evaluation.placed_call import FRAME_S
from agent.evaluation.script import Script, ScriptedCaller
from agent.playout import DcBlocker, SilenceGate
from model.channel import fit, g711, resample
from model.engine import Engine
from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ

WIRE_RATE_HZ = 8000


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
    _said: list[Pcm] = field(default_factory=list)
    _heard: list[Pcm] = field(default_factory=list)
    _centre: DcBlocker = field(default_factory=DcBlocker)
    _gate: SilenceGate = field(default_factory=SilenceGate)
    _request: int | None = None  # the token by which the model asks to hang up or to transfer
    _asked_frames: int = 0
    _quiet_frames: int = 0

    def say(self) -> Pcm | None:
        """The caller's next frame, float32 [1920]; None when the call is over for the caller."""
        heard = self._heard[-1] if self._heard else np.zeros(FRAME_SAMPLES, np.float32)
        said = self.caller(heard)
        if said is None or len(self._said) * FRAME_S >= self.limit_s:
            return None
        self._said.append(said)
        return said

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
    engine: Engine, scripts: list[Script], limit_s: float, on_done: Callable[[OfflineCall], None]
) -> None:
    """Hold every script's call on the engine's slots; each is handed over when it has ended."""
    waiting = iter(scripts)
    slots: list[OfflineCall | None] = [None] * engine.num_slots
    while True:
        pcm = np.zeros((engine.num_slots, FRAME_SAMPLES), np.float32)
        active = np.zeros(engine.num_slots, bool)
        for slot in range(engine.num_slots):
            slots[slot] = slots[slot] or _begin(engine, slot, waiting, limit_s)
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


def _begin(engine: Engine, slot: int, waiting: Iterator[Script], limit_s: float) -> OfflineCall | None:
    script = next(waiting, None)
    if script is None:
        return None
    engine.start(slot, seed=script.number)
    return offline_call(script, limit_s)


def offline_call(script: Script, limit_s: float) -> OfflineCall:
    """The script's call at its first frame, its caller's sound as the wire leaves it."""
    # Each step whole: the wire's filters know no frames.
    steps = [replace(step, pcm=over_the_wire(step.pcm)) if len(step.pcm) else step for step in script.steps]
    return OfflineCall(script, ScriptedCaller(steps), limit_s)


def _end(engine: Engine, slot: int, call: OfflineCall, on_done: Callable[[OfflineCall], None]) -> None:
    engine.stop(slot)
    on_done(call)


def is_over(engine: Engine, slot: int, call: OfflineCall, pcm: Pcm, text: int) -> bool:
    """Hand the model's frame to the call; a transfer finds nobody, a hang-up ends it (then true)."""
    tokenizer = engine.tokenizer
    request = call.hear(pcm, text, (tokenizer.hangup, tokenizer.transfer))
    if request == tokenizer.transfer:
        engine.force_text(slot, tokenizer.nobody)
    return request == tokenizer.hangup
