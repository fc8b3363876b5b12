"""Sounds a caller's end makes without wanting the floor."""

from __future__ import annotations

import numpy as np

from agent.energy_gate import Pcm
from model.channel import active_rms
from model.voices import SAMPLE_RATE_HZ, Voice, synthesize

OVER_SOUNDS = ("backchannel", "cough", "side_talk", "background", "music")
BACKCHANNELS = ("mhm", "uh huh", "okay", "right", "yeah")


def make_sound(
    sound: str, voice: Voice, level_dbfs: float, draws: np.random.Generator
) -> tuple[Pcm, float, float]:
    """The sound, float32 [T] at 24 kHz, and from when to when in it, in seconds."""
    if sound == "backchannel":
        said = synthesize(BACKCHANNELS[int(draws.integers(len(BACKCHANNELS)))], voice)
        pcm, span = said.pcm, (said.words[0].start_s, said.words[-1].end_s)
    else:
        pcm = draws.standard_normal(SAMPLE_RATE_HZ // 2).astype(np.float32) * 0.1
        span = (0.0, 0.5)
    gain = 10 ** (level_dbfs / 20) / active_rms(pcm, SAMPLE_RATE_HZ)
    return np.clip(pcm * np.float32(gain), -1, 1), *span
