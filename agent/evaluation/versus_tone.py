"""Does an answer fit how something was said? The same words, calm, hurried, angry and whispered.

The order line answers each tone in its own way: with fewer words, after the offer of a person, softly. An
engine that hears words alone answers all four alike and is right in one of four. Callers are at one level;
rate and pitch are drawn anew for each call, so that neither tells the tone.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from agent.evaluation.answered_tone import NO_LINE, tones_heard
from agent.evaluation.offline import Answerer
from agent.evaluation.quick import OFFLINE, Plan
from agent.evaluation.script import Script, Step, speak_step
from agent.evaluation.summary import Share
from agent.evaluation.versus import held
from model.order_line import Intent, Tone, draw_request
from model.voices import HELD_OUT_VOICES, draw_voice
from model.voices_styles import Style

TONES = tuple(Tone)
OUTCOMES = "timed answers"  # what a kept outcome tells; folders of others are refused
CHANCE = 1 / len(TONES)
LEVEL_DBFS = -25.0
_ASKED = (Intent.ORDER, Intent.HOURS, Intent.WHERE, Intent.NUMBER)  # each tone answers these in other words

Json = dict[str, Any]


def tone_script(number: int, seed: int) -> Script:
    """One request; four calls in a row have the same words and voice, and one tone each."""
    alike = random.Random(f"tones/{seed}/{number // len(TONES)}")
    request = draw_request(alike, alike.choice(_ASKED), held_out=True)
    voice = draw_voice(np.random.default_rng([seed, number // len(TONES), 11]), HELD_OUT_VOICES)
    own = random.Random(f"tone/{seed}/{number}")
    step = speak_step(
        Step(request), voice, own, rate=own.uniform(0.9, 1.15), pitch=own.uniform(0.9, 1.15),
        level_dbfs=LEVEL_DBFS, style=Style(tone_of(number).value),
    )  # fmt: skip
    return Script(number, voice, (step,))


def tone_of(number: int) -> Tone:
    """The tone of a call."""
    return TONES[number % len(TONES)]


@dataclass(frozen=True, slots=True)
class ToneFigures:
    """One engine's answers: how many of each tone, or of none, every tone of callers got."""

    engine: str
    answers: dict[str, dict[str, int]]  # caller's tone: answer's tone: how many

    @property
    def in_tone(self) -> Share:
        """Answers in the caller's own tone."""
        right = sum(got.get(tone, 0) for tone, got in self.answers.items())
        return Share(right, sum(sum(got.values()) for got in self.answers.values()))

    def as_json(self) -> Json:
        """Plain values."""
        return asdict(self)


def hold_tones(
    name: str, engine: Answerer, digest: str, folder: Path, *, calls: int, seed: int
) -> ToneFigures:
    """Hold so many calls of each tone, those that the folder does not have yet, and sum up all."""
    plan = Plan(
        folder / f"{name}-tones", seed, calls * len(TONES), engine.num_slots, OFFLINE, f"{digest}/{OUTCOMES}"
    )
    _summary, outcomes = held(plan, engine, tone_script)
    heard = []
    for number, outcome in enumerate(outcomes):
        sound, _rate_hz = soundfile.read(plan.sound(number), dtype="float32")
        tones = tones_heard(outcome, np.ascontiguousarray(sound[:, 1]))
        heard.append((tone_of(number), next(iter(tones), NO_LINE)))
    return tone_figures(name, heard)


def tone_figures(engine: str, heard: Iterable[tuple[Tone, str]]) -> ToneFigures:
    """Count (the caller's tone, the answer's)."""
    counts = Counter((caller.value, answer) for caller, answer in heard)
    answers: dict[str, dict[str, int]] = {tone.value: {} for tone in TONES}
    for (caller, answer), num in sorted(counts.items()):
        answers[caller][answer] = num
    return ToneFigures(engine, answers)
