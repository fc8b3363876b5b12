"""The scripted callers against the model alone: no telephone, no clock, no delay.

For trainers. Bridge, jitter buffers and playout add nothing to a gap; both directions pass G.711.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from agent.energy_gate import Pcm
from agent.evaluation.call_loop import AgentSide, Signals, hold_calls
from agent.evaluation.placed_call import FRAME_S
from agent.evaluation.script import Script, ScriptedCaller
from agent.tick_loop import Stepper
from model.channel import active_rms, fit, g711, resample
from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ

WIRE_RATE_HZ = 8000
NOISE_S = 20.0
_SILENCE = np.zeros(FRAME_SAMPLES, np.float32)


class Answerer(Stepper, Protocol):
    """What callers can be held against: `model.engine.Engine`, `agent.cascade.engine.Cascade`."""

    @property
    def tokenizer(self) -> Signals:
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
    agent: AgentSide = field(default_factory=AgentSide)
    _said: list[Pcm] = field(default_factory=list)
    _heard: list[Pcm] = field(default_factory=list)

    @property
    def number(self) -> int:
        """The script's."""
        return self.script.number

    def say(self) -> Pcm | None:
        """The caller's next frame, float32 [1920]; None when the call is over for the caller."""
        said = self.caller(self._heard[-1] if self._heard else _SILENCE)
        if said is None or len(self._said) * FRAME_S >= self.limit_s:
            return None
        self._said.append(said)
        return said if self.noise is None else said + self._noise_now(self.noise)

    def _noise_now(self, noise: Pcm) -> Pcm:
        places = (len(self._said) - 1) * FRAME_SAMPLES + np.arange(FRAME_SAMPLES)
        return noise[places % len(noise)]

    def hear(self, pcm: Pcm, text: int, caller_text: int, signals: Signals) -> int | None:
        """Take the model's frame; one of the signals once the model has finished speaking after it."""
        frame, request = self.agent.push(pcm, text, signals)
        self._heard.append(frame)
        return request

    def finish(self) -> None:
        """Nothing is open."""

    def channels(self) -> tuple[Pcm, Pcm]:
        """(caller, agent) at the caller's end, float32 [T] each; a frame is answered in the next one."""
        caller = np.concatenate([_SILENCE, *self._said])
        agent = np.concatenate([*self._heard, _SILENCE])
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
    calls = (offline_call(script, limit_s, snr_db) for script in scripts)
    hold_calls(engine, engine.tokenizer, calls, on_done)


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
