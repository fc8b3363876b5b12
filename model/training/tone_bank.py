"""Callers for the listener to how they speak: the same words by the same voice, once in each tone.

Speed and pitch are drawn anew for each, so that neither tells the tone; words are those of any caller. Each
speaker has a vocal tract of their own: with the bank's voices alone, strange ones were taken for angry.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from model.phrasings import Intent, Tone
from model.requests import draw_request
from model.training.bank import Manner, Stem, Turn, build_shards, speak_request, with_own_tract
from model.voices import TRAIN_VOICES, draw_voice

REQUESTS_PER_STEM = 3
_INTENTS = {
    Intent.ORDER: 4.0, Intent.NUMBER: 1.5, Intent.HOURS: 1.5, Intent.WHERE: 1.5, Intent.CHANGE: 1.0,
    Intent.STATUS: 1.0, Intent.OTHER: 1.0, Intent.PERSON: 0.7, Intent.CANCEL: 0.7, Intent.REPEAT: 0.7,
    Intent.YES: 0.7, Intent.NO: 0.7,
}  # fmt: skip


def make_tone_stem(seed: int) -> Stem:
    """A speaker who says a few things as the synthesiser does and in each tone, drawn from the seed.

    Raises SpeechSynthesisError.
    """
    rng, draws = random.Random(f"tones/{seed}"), np.random.default_rng([seed, 7])
    voice = with_own_tract(draw_voice(draws, TRAIN_VOICES), draws)
    turns: list[Turn] = []
    for _ in range(REQUESTS_PER_STEM):
        intent = rng.choices(list(_INTENTS), list(_INTENTS.values()))[0]
        request = draw_request(rng, intent, is_lively=rng.random() < 0.5)
        for tone, is_styled in ((Tone.CALM, False), *((tone, True) for tone in Tone)):
            rate, pitch = draws.uniform(0.85, 1.2), draws.uniform(0.85, 1.2)
            manner = Manner(rate, pitch, is_styled=is_styled, draws=draws)
            turns.append(speak_request(replace(request, tone=tone), voice, rng, manner))
    return Stem(voice.name, turns)


def build_tone_bank(folder: Path, num_shards: int, first_seed: int, num_workers: int = 0) -> Iterator[Path]:
    """Write the shards that are missing; each path once it is there."""
    yield from build_shards(folder, num_shards, first_seed, num_workers, make_tone_stem)
