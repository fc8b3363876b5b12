"""What an engine says when it is told to: sentences in its own voice, as a caller hears them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from agent.energy_gate import Pcm
from agent.evaluation.segments import speech_segments, talks
from agent.evaluation.virtual import WireLeg
from agent.playout import DcBlocker, SilenceGate
from agent.tick_loop import Stepper
from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ
from telephony.resample import WAIT_S

ENDS_AFTER_S = 1.2  # of silence
GIVES_UP_S = 4.0  # on a sentence that does not begin
LIMIT_S = 15.0
MARGIN_S = 0.1
PAUSE_S = 0.8  # inside one sentence
_FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ


class Spelling(Protocol):
    """What is asked of the tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""


def say_all(
    stepper: Stepper, spelling: Spelling, texts: Sequence[str], on_said: Callable[[int, Pcm], None]
) -> None:
    """Let fresh calls with silent callers say one text each; hands over its number and its sound.

    The sound is float32 [T] at 24 kHz after G.711, from the first voice to the last; empty if there is none.
    """
    for first in range(0, len(texts), stepper.num_slots):
        numbers = range(first, min(first + stepper.num_slots, len(texts)))
        for slot, sound in enumerate(_say_some(stepper, spelling, [texts[number] for number in numbers])):
            on_said(numbers[slot], sound)


def _say_some(stepper: Stepper, spelling: Spelling, texts: Sequence[str]) -> list[Pcm]:
    active = np.arange(stepper.num_slots) < len(texts)
    for slot, text in enumerate(texts):
        stepper.start(slot, seed=slot)
        stepper.say(slot, spelling.encode(text))
    heard: list[list[Pcm]] = [[] for _ in texts]
    ears = [(DcBlocker(), SilenceGate(), WireLeg(2 * WAIT_S)) for _ in texts]
    silence = np.zeros((stepper.num_slots, FRAME_SAMPLES), np.float32)
    while not all(_is_done(sound) for sound in heard):
        out = stepper.step(silence, active)
        for slot, (centre, gate, leg) in enumerate(ears):
            heard[slot].append(leg.push(gate.push(centre.push(out.pcm[slot]))))
    for slot in range(len(texts)):
        stepper.stop(slot)
    return [first_talk(np.concatenate(sound)) for sound in heard]


def _is_done(sound: Sequence[Pcm]) -> bool:
    seconds = len(sound) * _FRAME_S
    voiced = [number for number, frame in enumerate(sound) if np.abs(frame).max() > 0.01]
    if not voiced:
        return seconds >= GIVES_UP_S
    return seconds >= LIMIT_S or seconds - (voiced[-1] + 1) * _FRAME_S >= ENDS_AFTER_S


def first_talk(pcm: Pcm) -> Pcm:
    """The first talk in float32 [T], with a little of what lies around it."""
    found = talks(speech_segments(pcm), PAUSE_S)
    if not found:
        return np.zeros(0, np.float32)
    first = max(0, round((found[0].start_s - MARGIN_S) * SAMPLE_RATE_HZ))
    return pcm[first : round((found[0].end_s + MARGIN_S) * SAMPLE_RATE_HZ)]
