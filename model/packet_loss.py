"""Lost packets and what a receiver plays in their place. Whole signals.

Losses come in bursts (E. N. Gilbert, Bell System Technical Journal 39, 1960: a good state that loses nothing,
a bad one that loses all). In their place: silence, the last packet again with a fade, or the last period
again, found where the wave before the gap is most like itself (in the manner of ITU-T G.711 appendix I).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.float32]
Concealment = Literal["silence", "repeat", "waveform"]

PACKET_S = 0.02
_FADE_AFTER_S, _FADE_S = 0.02, 0.06  # full loudness, then down to nothing
_PITCH_HZ = (66.0, 400.0)
_JOIN_S = 0.004  # overlap where the gap ends


@dataclass(frozen=True, slots=True)
class Loss:
    """Share of packets that is lost, mean length of a burst of them, and how a receiver hides it."""

    rate: float
    burst_packets: float = 1.5
    concealment: Concealment = "waveform"


def draw_lost(num_packets: int, loss: Loss, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which packets are lost: bool [num_packets]."""
    if not loss.rate:
        return np.zeros(num_packets, bool)
    ends = 1 / max(1.0, loss.burst_packets)
    begins = min(1.0, ends * loss.rate / (1 - loss.rate)) if loss.rate < 1 else 1.0
    draws = rng.random(num_packets)
    lost = np.zeros(num_packets, bool)
    bad = rng.random() < loss.rate
    for n in range(num_packets):
        lost[n] = bad
        bad = draws[n] >= ends if bad else draws[n] < begins
    return lost


def conceal(pcm: Pcm, rate_hz: int, lost: NDArray[np.bool_], concealment: Concealment) -> Pcm:
    """float32 [T] with its lost packets of `PACKET_S` hidden; the rest is untouched but for a short join."""
    out = np.array(pcm, np.float32)
    size = round(PACKET_S * rate_hz)
    for first, last in _gaps(lost):
        start, stop = first * size, min(last * size, len(out))
        if start >= len(out):
            break
        join = min(round(_JOIN_S * rate_hz), len(out) - stop)
        made = _made_up(out[:start], stop - start + join, rate_hz, concealment)
        out[start:stop] = made[: stop - start]
        ramp = np.linspace(0, 1, join, dtype=np.float32)
        out[stop : stop + join] = ramp * out[stop : stop + join] + (1 - ramp) * made[stop - start :]
    return out


def _gaps(lost: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lost, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _made_up(before: Pcm, num_samples: int, rate_hz: int, concealment: Concealment) -> Pcm:
    """What is played after `before` while nothing arrives: float32 [num_samples]."""
    size = round(PACKET_S * rate_hz)
    if concealment == "silence" or len(before) < 3 * size:
        return np.zeros(num_samples, np.float32)
    period = size if concealment == "repeat" else _period(before[-3 * size :], rate_hz)
    made = np.resize(before[-period:], num_samples)
    times_s = np.arange(num_samples) / rate_hz
    return np.asarray(made * np.clip(1 - (times_s - _FADE_AFTER_S) / _FADE_S, 0, 1), np.float32)


def _period(recent: Pcm, rate_hz: int) -> int:
    """The lag in samples at which the wave is most like itself."""
    low, high = (round(rate_hz / hz) for hz in reversed(_PITCH_HZ))
    size = len(recent) - high
    end = recent[-size:]
    past = np.lib.stride_tricks.sliding_window_view(recent, size)[: high + 1][::-1]  # row n: lag n
    power = np.sqrt(np.square(past).sum(1) * np.square(end).sum()) + 1e-9
    return low + int(np.argmax((past @ end)[low : high + 1] / power[low : high + 1]))
