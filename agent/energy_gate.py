"""Where one channel holds speech, by energy alone: what live metrics and `offhook eval` both measure with.

Pure computation on samples: no clock, no I/O. The same samples give the same segments whatever the chunks.

A 10 ms hop is *voiced* when its RMS exceeds a threshold, which is fixed on a quiet line and follows the noise
on a noisy one, and stays voiced until it falls `hysteresis_db` below; with `tail_db`, until it is that far
below the segment's own level (or 10 dB above the noise, once 3 s of it are known). A segment opens at its
first voiced hop and is *confirmed* by 100 ms of voiced hops; it ends with its last voiced hop when 200 ms of
silence follow.
"""

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.float32]

SILENCE_DBFS = -90.0


@dataclass(frozen=True, slots=True)
class GateConfig:
    """Constants of the gate; with the defaults all speech of the agent is found, and callers' with a tail.

    The biases are what the gate reports late (positive) at an onset and at an offset of speech with known
    times; they are subtracted. Measured on 220 synthetic utterances of held-out voices, through mu-law at
    8 kHz: onset 0 ms at the median (5th to 95th percentile -3..41), offset 8 ms early (-38..6), because last
    consonants are weak.
    """

    rate_hz: int = 24_000
    hop_s: float = 0.01
    threshold_dbfs: float = -42.0
    hysteresis_db: float = 4.0
    confirm_s: float = 0.1  # voiced time that makes a segment
    confirm_gap_s: float = 0.1  # silence that drops one not yet confirmed
    split_s: float = 0.2  # silence that ends a confirmed one
    noise_window_s: float = 3.0
    noise_margin_db: float = 10.0
    threshold_max_dbfs: float = -27.0
    tail_db: float | None = None  # for voices of unknown level, whose last consonants a fixed threshold cuts
    onset_bias_s: float = 0.0
    offset_bias_s: float = -0.008

    @property
    def hop_samples(self) -> int:
        """Samples in one hop."""
        return round(self.rate_hz * self.hop_s)


class Edge(Enum):
    """Which end of a segment a gate event tells of."""

    ONSET = "onset"
    OFFSET = "offset"


@dataclass(frozen=True, slots=True)
class GateEvent:
    """An edge of a confirmed segment: where it lies, and when the gate could first know (media time)."""

    edge: Edge
    at_s: float
    known_at_s: float


@dataclass(frozen=True, slots=True)
class Segment:
    """One confirmed stretch of speech, in seconds from the first sample."""

    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s


class NoiseFloor:
    """Least 50 ms level of the last seconds: speech always leaves such a hole, steady noise does not."""

    def __init__(self, config: GateConfig) -> None:
        self._smoothed: deque[float] = deque(maxlen=5)
        self._size = round(config.noise_window_s / config.hop_s)
        self._count = 0  # hops taken
        # Only levels that no later one is below can become the least: they rise from left to right.
        # Seeded with silence, so that a call that opens with speech is not taken for a noisy line.
        self._rising: deque[tuple[int, float]] = deque([(-1, SILENCE_DBFS)])  # hop, level

    def push(self, level_dbfs: float) -> float:
        """Take the next hop's level; the floor in dBFS."""
        self._smoothed.append(level_dbfs)
        mean = sum(self._smoothed) / len(self._smoothed)
        rising = self._rising
        while rising and rising[-1][1] >= mean:
            rising.pop()
        rising.append((self._count, mean))
        if rising[0][0] <= self._count - self._size:
            rising.popleft()
        self._count += 1
        return rising[0][1]


class EnergyGate:
    """Streaming gate over one channel; push samples of any count, get the edges that became known."""

    def __init__(self, config: GateConfig | None = None) -> None:
        self.config = config or GateConfig()
        self.may_trail = True  # False: no tail for now
        self._rest = np.zeros(0, np.float32)
        self._noise = NoiseFloor(self.config)
        self._hops = 0
        self._is_voiced = False
        self._first: int | None = None  # first voiced hop of the open segment
        self._last = -1  # last voiced hop of the open segment
        self._voiced_hops = 0
        self._loudness = 0.0  # summed power of the open segment's hops that exceeded the opening threshold
        self._loud_hops = 0
        self._is_confirmed = False

    @property
    def now_s(self) -> float:
        """Media time up to which whole hops have been judged."""
        return self._hops * self.config.hop_s

    @property
    def is_speaking(self) -> bool:
        """True from a segment's confirmation until its end is known (200 ms after its last voiced hop)."""
        return self._is_confirmed

    @property
    def open_since_s(self) -> float | None:
        """Onset of the confirmed segment that is still open."""
        return self._edge_s(self._first, 0, self.config.onset_bias_s) if self._is_confirmed else None

    @property
    def silent_for_s(self) -> float:
        """Media time since the last voiced hop of the open segment (or of anything voiced)."""
        return (self._hops - 1 - self._last) * self.config.hop_s

    def push(self, pcm: Pcm) -> list[GateEvent]:
        """Judge float32 [T]; edges in the order in which they became known."""
        size = self.config.hop_samples
        joined = np.concatenate([self._rest, pcm]) if len(self._rest) else pcm
        count = len(joined) // size
        self._rest = joined[count * size :].copy()
        if not count:
            return []
        hops = joined[: count * size].reshape(count, size).astype(np.float64)
        events: list[GateEvent] = []
        powers: list[float] = (np.add.reduce(np.square(hops), axis=1) / size).tolist()  # np.mean, but quicker
        for power in powers:
            events += self._hop(power)
        return events

    def finish(self) -> list[GateEvent]:
        """End of the audio: close what is open."""
        return [self._close()] if self._is_confirmed else []

    def _hop(self, power: float) -> list[GateEvent]:
        level = max(SILENCE_DBFS, 10.0 * math.log10(power)) if power > 0 else SILENCE_DBFS
        self._judge(level, power)
        index, self._hops = self._hops, self._hops + 1
        if self._is_voiced:
            return self._voiced(index)
        return self._silent(index)

    def _judge(self, level_dbfs: float, power: float) -> None:
        config = self.config
        noise_dbfs = self._noise.push(level_dbfs) + config.noise_margin_db
        # A hundred times a second on each side of each call: no more calls than needed.
        threshold = config.threshold_dbfs if noise_dbfs < config.threshold_dbfs else noise_dbfs
        if threshold > config.threshold_max_dbfs:
            threshold = config.threshold_max_dbfs
        if self._first is None:
            self._loudness, self._loud_hops = 0.0, 0
        if level_dbfs > threshold:
            self._loudness += power
            self._loud_hops += 1
        if self._is_voiced:
            threshold -= config.hysteresis_db
        # No tail while the line's noise is not known yet: it might never end.
        if (
            self._is_confirmed
            and config.tail_db is not None
            and self.may_trail
            and self.now_s >= config.noise_window_s
        ):
            spoken_dbfs = 10.0 * math.log10(self._loudness / self._loud_hops)
            threshold = min(threshold, max(noise_dbfs, spoken_dbfs - config.tail_db))
        self._is_voiced = level_dbfs > threshold

    def _voiced(self, index: int) -> list[GateEvent]:
        if self._first is None:
            self._first, self._voiced_hops = index, 0
        self._last = index
        self._voiced_hops += 1
        if self._is_confirmed or self._voiced_hops * self.config.hop_s < self.config.confirm_s - 1e-9:
            return []
        self._is_confirmed = True
        return [GateEvent(Edge.ONSET, self._edge_s(self._first, 0, self.config.onset_bias_s), self.now_s)]

    def _silent(self, index: int) -> list[GateEvent]:
        if self._first is None:
            return []
        silence_s = (index - self._last) * self.config.hop_s
        if self._is_confirmed and silence_s >= self.config.split_s - 1e-9:
            return [self._close()]
        if not self._is_confirmed and silence_s >= self.config.confirm_gap_s - 1e-9:
            self._first = None
        return []

    def _close(self) -> GateEvent:
        event = GateEvent(Edge.OFFSET, self._edge_s(self._last, 1, self.config.offset_bias_s), self.now_s)
        self._first, self._is_confirmed = None, False
        return event

    def _edge_s(self, hop: int | None, side: int, bias_s: float) -> float:
        assert hop is not None
        return max(0.0, (hop + side) * self.config.hop_s - bias_s)


def find_segments(pcm: Pcm, config: GateConfig | None = None) -> list[Segment]:
    """All confirmed segments of a whole channel, float32 [T] at the configured rate."""
    gate = EnergyGate(config)
    events = gate.push(pcm) + gate.finish()
    onsets = [event.at_s for event in events if event.edge is Edge.ONSET]
    offsets = [event.at_s for event in events if event.edge is Edge.OFFSET]
    return [Segment(start, end) for start, end in zip(onsets, offsets, strict=True)]
