"""Synthetic speakers for training, tests and evaluation: text in; sound, timed words and timed phones out.

Three engines in Debian (espeak-ng, flite, festival) times accents, variants, and changes of vocal-tract
length: a voice is played faster or slower (formants and F0 move together) while the engine's own speed and F0
dials undo the rest, which costs nothing and keeps every time exact. The agent's voice is never a caller.
Held-out voices are never trained on; flite kal is held out as an 8 kHz build of a speaker whose others train.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model import voices_espeak, voices_festival, voices_flite
from model.channel import resample
from model.voices_phones import (
    PHONE_IDS,
    PHONES,
    SILENCE,
    Speech,
    SpeechSynthesisError,
    TimedPhone,
    TimedWord,
    as_written,
    speakable,
)

__all__ = [
    "AGENT_VOICE", "HELD_OUT_VOICES", "PHONES", "PHONE_IDS", "SAMPLE_RATE_HZ", "SILENCE", "TRAIN_VOICES",
    "SpeechSynthesisError", "TimedPhone", "TimedWord", "Utterance", "Voice", "draw_voice", "synthesize",
]  # fmt: skip

SAMPLE_RATE_HZ = 24_000
_PEAK = 0.5


@dataclass(frozen=True, slots=True)
class Voice:
    """One speaker: an engine's voice, its formants and F0 scaled, and its share of the draws.

    `speaker` is the engine's name of it; for espeak-ng the accent, with `variant` on top. `formants` < 1 is a
    longer vocal tract. `f0` is the final F0 relative to the engine's own voice (flite rms ignores it).
    """

    engine: Literal["espeak", "flite", "festival"]
    speaker: str
    variant: str = ""
    formants: float = 1.0
    f0: float = 1.0
    weight: float = 1.0

    @property
    def name(self) -> str:
        """A unique, readable name such as "espeak/en-us+f3" or "flite/awb*0.88@1.25"."""
        variant = f"+{self.variant}" if self.variant else ""
        warp = f"*{self.formants:g}@{self.f0:g}" if (self.formants, self.f0) != (1.0, 1.0) else ""
        return f"{self.engine}/{self.speaker}{variant}{warp}"


@dataclass(frozen=True, slots=True)
class Utterance:
    """Speech with its truth: float32 [T] mono at 24 kHz, peak 0.5; times in seconds from the first sample."""

    pcm: NDArray[np.float32]
    words: list[TimedWord]
    phones: list[TimedPhone]

    @property
    def duration_s(self) -> float:
        return len(self.pcm) / SAMPLE_RATE_HZ

    @property
    def lead_s(self) -> float:
        """Silence before the first word."""
        return self.words[0].start_s

    @property
    def trail_s(self) -> float:
        """Silence after the last word."""
        return self.duration_s - self.words[-1].end_s


def synthesize(
    text: str, voice: Voice, *, rate: float = 1.0, pitch: float = 1.0, rng: np.random.Generator | None = None
) -> Utterance:
    """Say `text` (English in ASCII); `rate` > 1 is faster, `pitch` scales the voice's F0.

    With `rng` the speaker varies a little from call to call: rate 8 %, F0 6 %, formants 3 %, each way.
    Not thread-safe: the engines keep global state. Raises SpeechSynthesisError.
    """
    formants = voice.formants
    if rng is not None:
        rate *= rng.uniform(0.92, 1.08)
        pitch *= rng.uniform(0.94, 1.06)
        formants *= 1 + 0.01 * int(rng.integers(-3, 4))
    speech = _speak(speakable(text), voice, rate / formants, voice.f0 * pitch / formants)
    pcm = resample(speech.pcm, speech.rate_hz * formants, SAMPLE_RATE_HZ)
    peak = float(np.abs(pcm).max(initial=1e-6))
    return Utterance(
        (pcm * (_PEAK / peak)).astype(np.float32),
        [TimedWord(as_written(w.text), w.start_s / formants, w.end_s / formants) for w in speech.words],
        _cover(
            [TimedPhone(p.phone, p.start_s / formants, p.end_s / formants) for p in speech.phones], len(pcm)
        ),
    )


def _cover(phones: list[TimedPhone], num_samples: int) -> list[TimedPhone]:
    """Phones from the first to the last sample: the engines' last silence is a few ms longer or shorter."""
    end_s = num_samples / SAMPLE_RATE_HZ
    kept = [TimedPhone(p.phone, p.start_s, min(p.end_s, end_s)) for p in phones if p.start_s < end_s]
    if kept[-1].end_s < end_s:
        kept.append(TimedPhone(SILENCE, kept[-1].end_s, end_s))
    return kept


def draw_voice(rng: np.random.Generator, voices: Sequence[Voice]) -> Voice:
    """One voice, by weight."""
    weights = np.array([voice.weight for voice in voices])
    return voices[int(rng.choice(len(voices), p=weights / weights.sum()))]


def _speak(text: str, voice: Voice, rate: float, pitch: float) -> Speech:
    if voice.engine == "espeak":
        return voices_espeak.speak(text, voice.speaker, voice.variant, rate, pitch)
    if voice.engine == "flite":
        return voices_flite.speak(text, voice.speaker, rate, pitch)
    return voices_festival.speak(text, voice.speaker, rate, pitch)


_HELD_OUT_VARIANTS = ("f3", "m5", "Andy", "linda", "david", "iven3", "steph3", "Henrique")
_TRAIN_VARIANTS = tuple(
    """Alex Alicia Andrea Annie Denis Diogo Gene Gene2 Hugo Jacky Lee Marco Mario Michael Mike Nguyen
    RicishayMax RicishayMax2 RicishayMax3 adam anika announcer antonio aunty belinda benjamin boris
    caleb ed edward edward2 f1 f2 f4 f5 grandma grandpa gustave iven iven2 iven4 john kaukovalta klatt
    klatt2 klatt3 klatt4 m1 m2 m3 m4 m6 m7 m8 marcelo max michel miguel norbert pablo paul pedro
    quincy rob robert sandro shelby steph steph2 travis victor zac""".split()
)
_ACCENT_WEIGHTS = {
    "en-us": 3.0, "en-us-nyc": 1.5, "en": 2.0, "en-gb-x-rp": 1.0, "en-gb-scotland": 1.0,
    "en-gb-x-gbclan": 0.7, "en-gb-x-gbcwmd": 0.7, "en-029": 0.7,
}  # fmt: skip


def _espeak_voices(variants: Sequence[str], share: float) -> tuple[Voice, ...]:
    each = share / sum(_ACCENT_WEIGHTS.values()) / len(variants)
    return tuple(
        Voice("espeak", accent, variant, weight=each * accent_weight)
        for accent, accent_weight in _ACCENT_WEIGHTS.items()
        for variant in variants
    )


AGENT_VOICE = Voice("flite", "rms")

# Human-derived speakers make half of the draws; warps in the directions that a recogniser still understands.
TRAIN_VOICES: tuple[Voice, ...] = (
    Voice("flite", "slt", weight=0.05),
    Voice("flite", "slt", formants=1.08, f0=1.15, weight=0.03),
    Voice("flite", "slt", formants=1.15, f0=1.3, weight=0.02),
    Voice("flite", "slt", formants=0.94, f0=0.9, weight=0.03),
    Voice("flite", "slt", formants=0.88, f0=0.58, weight=0.04),
    Voice("flite", "awb", weight=0.06),
    Voice("flite", "awb", formants=0.88, f0=0.85, weight=0.03),
    Voice("flite", "awb", formants=0.94, f0=0.92, weight=0.03),
    Voice("flite", "awb", formants=1.1, f0=1.3, weight=0.03),
    Voice("flite", "kal16", weight=0.04),
    Voice("flite", "kal16", formants=0.88, f0=0.88, weight=0.03),
    Voice("flite", "kal16", formants=1.1, f0=1.25, weight=0.02),
    Voice("flite", "kal16", formants=1.2, f0=1.7, weight=0.03),
    Voice("festival", "kal", weight=0.04),
    Voice("festival", "kal", formants=1.15, f0=1.6, weight=0.04),
    *_espeak_voices(("", *_TRAIN_VARIANTS), share=0.5),
)
HELD_OUT_VOICES: tuple[Voice, ...] = (
    Voice("festival", "ked", weight=0.35),
    Voice("flite", "kal", weight=0.15),
    *_espeak_voices(_HELD_OUT_VARIANTS, share=0.5),
)
