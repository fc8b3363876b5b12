"""Rooms between a mouth and a telephone: impulse responses of shoeboxes, for training and evaluation.

Mirror images of the mouth up to `_EARLY_S` (J. B. Allen, D. A. Berkley, JASA 65, 1979), then fading noise
of just the power that the remaining images would have: their number grows as fast as each one fades. Own:
pyroomacoustics does more than is wanted here and would bring a compiled extension along.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve

Pcm = NDArray[np.float32]

RT60_S = (0.15, 0.7)
DISTANCE_M = (0.1, 1.5)
_SOUND_M_PER_S = 343.0
_EARLY_S = 0.03
_SIDES_M = ((2.5, 8.0), (2.0, 6.0), (2.3, 3.2))
_WALL_M = 0.4  # nobody speaks nearer to a wall
_POOL_RATE_HZ = 24_000


@dataclass(frozen=True, slots=True)
class Room:
    """A room by its size and decay, with a mouth and a microphone in it."""

    sides_m: tuple[float, float, float]
    rt60_s: float
    mouth_m: tuple[float, float, float]
    microphone_m: tuple[float, float, float]

    @property
    def distance_m(self) -> float:
        """From mouth to microphone."""
        return float(np.linalg.norm(np.subtract(self.mouth_m, self.microphone_m)))

    @property
    def reflection(self) -> float:
        """Share of the pressure that a wall gives back, by Eyring's formula."""
        x, y, z = self.sides_m
        surface_m2 = 2 * (x * y + y * z + x * z)
        absorbed = 1 - np.exp(-24 * np.log(10) * x * y * z / (_SOUND_M_PER_S * surface_m2 * self.rt60_s))
        return float(np.sqrt(1 - absorbed))


def draw_room(
    rng: np.random.Generator,
    *,
    rt60_s: tuple[float, float] = RT60_S,
    distance_m: tuple[float, float] = DISTANCE_M,
) -> Room:
    """A room of a home or an office; near distances are as likely as far ones, by the octave."""
    sides = tuple(float(rng.uniform(*side)) for side in _SIDES_M)
    apart_m = float(np.exp(rng.uniform(*np.log(distance_m))))
    for _ in range(1000):
        mouth = np.array([rng.uniform(_WALL_M, side - _WALL_M) for side in sides])
        way = rng.standard_normal(3) * (1, 1, 0.3)
        microphone = mouth + apart_m * way / np.linalg.norm(way)
        if np.all(microphone > 0.1) and np.all(microphone < np.array(sides) - 0.1):
            break
    x, y, z = sides
    return Room((x, y, z), float(rng.uniform(*rt60_s)), _triple(mouth), _triple(microphone))


def _triple(place: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(place[0]), float(place[1]), float(place[2])


def impulse_response(room: Room, rate_hz: int, rng: np.random.Generator) -> Pcm:
    """float32 [about RT60 * rate]: a click at the mouth as the microphone hears it, direct sound first."""
    direct_m = max(room.distance_m, 0.05)
    length = round(room.rt60_s * rate_hz)
    response = np.zeros(length)
    delays_s, gains = _images(room)
    at = np.rint((delays_s - direct_m / _SOUND_M_PER_S) * rate_hz).astype(int)
    inside = (at >= 0) & (at < min(length, round(_EARLY_S * rate_hz)))
    np.add.at(response, at[inside], gains[inside] * direct_m)
    late = np.arange(round(_EARLY_S * rate_hz), length)
    power = 4 * np.pi * _SOUND_M_PER_S / np.prod(room.sides_m) / rate_hz * direct_m**2
    decay = 10 ** (-3 * (late / rate_hz + direct_m / _SOUND_M_PER_S) / room.rt60_s)
    response[late] = rng.standard_normal(len(late)) * np.sqrt(power) * decay
    return np.asarray(response, np.float32)


def _images(room: Room) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Delay and gain of every image whose sound arrives early."""
    reach_m = _EARLY_S * _SOUND_M_PER_S + room.distance_m
    axes = []
    for side, mouth, microphone in zip(room.sides_m, room.mouth_m, room.microphone_m, strict=True):
        index = np.arange(-int(reach_m / side) - 2, int(reach_m / side) + 3)
        # An image left of the origin and its mirror: 2 n L + x and 2 n L - x.
        place = np.concatenate([2 * index * side + mouth, 2 * index * side - mouth]) - microphone
        bounces = np.concatenate([np.abs(2 * index), np.abs(2 * index - 1)])
        axes.append((place, bounces))
    squares = [place**2 for place, _ in axes]
    bounces3 = axes[0][1][:, None, None] + axes[1][1][None, :, None] + axes[2][1][None, None, :]
    apart_m = np.sqrt(squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :])
    near = apart_m < reach_m
    apart_m, bounces3 = apart_m[near], bounces3[near]
    return apart_m / _SOUND_M_PER_S, room.reflection**bounces3 / np.maximum(apart_m, 0.05)


@lru_cache(maxsize=256)
def pooled(seed: int) -> tuple[Room, Pcm]:
    """A room by its number, drawn once: the room, and its response at 24 kHz."""
    rng = np.random.default_rng([seed, 7_531])
    room = draw_room(rng)
    return room, impulse_response(room, _POOL_RATE_HZ, rng)


def reverberate(pcm: Pcm, response: Pcm) -> Pcm:
    """float32 [T] as heard in the room: same length, direct sound in place and as loud as before."""
    return np.asarray(oaconvolve(pcm, response)[: len(pcm)], np.float32)
