"""What comes back of the agent's own voice from a caller's loudspeaker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from model.rooms import pooled, reverberate

Pcm = NDArray[np.float32]

DELAY_MS = (40.0, 250.0)
RETURN_DB = (-40.0, -12.0)
_RATE_HZ = 24_000
_LOUDSPEAKER_HZ = (250.0, 3800.0)


@dataclass(frozen=True, slots=True)
class Echo:
    """A speaker-phone: when the agent's voice comes back, how much of it, and from which pooled room."""

    delay_ms: float
    return_db: float  # RMS that comes back relative to the RMS that was said
    room: int


def draw_echo(rng: np.random.Generator, *, num_rooms: int) -> Echo:
    """A speaker-phone within the ranges of this module."""
    return Echo(float(rng.uniform(*DELAY_MS)), float(rng.uniform(*RETURN_DB)), int(rng.integers(num_rooms)))


def echo_of(agent: Pcm, echo: Echo) -> Pcm:
    """float32 [T] at 24 kHz that the agent said -> its echo: same length, later, coloured, quieter."""
    small = sosfilt(_loudspeaker(), agent)
    _, response = pooled(echo.room)
    heard = reverberate(np.asarray(small, np.float32), response)
    late = round(echo.delay_ms * _RATE_HZ / 1000)
    heard = np.concatenate([np.zeros(late, np.float32), heard])[: len(agent)]
    if late >= len(agent):
        return np.zeros_like(agent)
    said, back = (
        float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))
        for x in (agent[: len(agent) - late], heard[late:])
    )
    if said == 0 or back == 0:
        return np.zeros_like(heard)
    return heard * np.float32(10 ** (echo.return_db / 20) * said / back)


def _loudspeaker() -> NDArray[np.float64]:
    return np.asarray(butter(2, _LOUDSPEAKER_HZ, "bandpass", fs=_RATE_HZ, output="sos"), np.float64)
