"""What the agent says, on its way to the caller: true silence between words, and a queue that never grows.

One `Playout` per call, event loop only. The queue itself is the endpoint's ring; here its length is held to a
small margin. Sound that comes too late is lost and counted, because playing it would make every later word
late. Lengths change for nothing only in silence, where nobody can hear it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ, TICK_SAMPLES, MediaEndpoint

Pcm = NDArray[np.float32]

FADE_SAMPLES = 120  # 5 ms: what turns a cut into no click


class DcBlocker:
    """Take a decoder's constant offset away (a pole at 20 Hz); the voice stays, and silence becomes silent.

    An offset is inaudible, but to every gate it is sound that never ends. The first sample sets the start.
    """

    POLE = float(np.exp(-2 * np.pi * 20 / SAMPLE_RATE_HZ))
    _DECAY = POLE ** np.arange(1, FRAME_SAMPLES + 1)  # at the end 4e-5: far from underflow
    _GROWTH = 1 / _DECAY

    def __init__(self) -> None:
        self._last: float | None = None  # sample in
        self._sum = 0.0  # last sample out

    def push(self, frame: Pcm) -> Pcm:
        """The stream's next frame, float32 [1920], without its offset.

        y[n] = POLE y[n - 1] + x[n] - x[n - 1], summed in closed form.
        """
        assert frame.shape == (FRAME_SAMPLES,), frame.shape
        steps = frame.astype(np.float64)
        steps[1:] -= frame[:-1]
        steps[0] -= frame[0] if self._last is None else self._last
        steps *= self._GROWTH
        np.cumsum(steps, out=steps)
        steps += self._sum
        steps *= self._DECAY
        self._last, self._sum = float(frame[-1]), float(steps[-1])
        return steps.astype(np.float32)


class SilenceGate:
    """Near-silence of a decoder -> exact zeros, so that the caller hears a quiet line and gates can measure.

    Opens for a whole frame when any 10 ms of it reach `open_dbfs`; closes only after `hold_frames` in which
    nothing reached `close_dbfs`. So no onset is ever cut, and no tail above -52 dBFS, 27 dB under the
    voice. Expects a stream without offset.
    """

    HOP_SAMPLES = 240

    def __init__(self, open_dbfs: float = -47.0, close_dbfs: float = -52.0, hold_frames: int = 2) -> None:
        self._open_power = 10 ** (open_dbfs / 10)
        self._close_power = 10 ** (close_dbfs / 10)
        self._hold_frames = hold_frames
        self._quiet_frames = 0
        self.is_open = False
        self.is_sounding = False  # the last frame reached the closing level

    def push(self, frame: Pcm) -> Pcm:
        """Take float32 [1920]; the same samples, or zeros, with a 5 ms ramp where the gate moved."""
        hops = np.add.reduce(np.square(frame.reshape(-1, self.HOP_SAMPLES)), axis=1)
        power = float(hops.max() / np.float32(self.HOP_SAMPLES))
        self.is_sounding = power > self._close_power
        self._quiet_frames = 0 if self.is_sounding else self._quiet_frames + 1
        if self.is_open:
            if self._quiet_frames <= self._hold_frames:
                return frame
            self.is_open = False
            return _ramp(frame, rising=False)
        if power <= self._open_power:
            return np.zeros_like(frame)
        self.is_open = True
        return _ramp(frame, rising=True)


def _ramp(frame: Pcm, *, rising: bool) -> Pcm:
    shaped = frame.copy() if rising else np.zeros_like(frame)
    slope = np.linspace(0.0, 1.0, FADE_SAMPLES, dtype=np.float32)
    shaped[:FADE_SAMPLES] = frame[:FADE_SAMPLES] * (slope if rising else slope[::-1])
    return shaped


@dataclass(slots=True)
class PlayoutCounts:
    """What happened so far; counts only grow. Underruns are the endpoint's to count: it alone sees them."""

    frames: int = 0
    late_samples: int = 0  # sound lost because it came too late
    flushed_samples: int = 0  # dropped because the model had fallen silent


class Playout:
    """Keeps the endpoint's queue between `margin` and `most`: enough for a late step, no more."""

    def __init__(
        self,
        endpoint: MediaEndpoint,
        margin_samples: int = TICK_SAMPLES,
        most_samples: int = 2 * TICK_SAMPLES,
    ) -> None:
        assert 0 <= margin_samples <= most_samples < FRAME_SAMPLES, (margin_samples, most_samples)
        self._endpoint = endpoint
        self._margin = margin_samples
        self._most = most_samples
        self._ended_in_sound = False
        self.counts = PlayoutCounts()
        self.queued_before_samples = 0  # what stood before the newest frame when it was sent

    def push(self, frame: Pcm) -> None:
        """Send float32 [1920]; frames of exact zeros also set the queue's length right."""
        self.counts.frames += 1
        waiting = self._endpoint.queued_samples
        is_silent = not frame.any()
        if is_silent:
            frame = self._resized(frame, waiting)
        elif waiting > self._most:
            frame = self._without_late(frame, waiting - self._margin)
        elif not self._ended_in_sound and waiting < self._margin:
            # Sound begins after silence on a queue that ran low: silence first costs 20 ms, once.
            frame = np.concatenate([np.zeros(self._margin - waiting, np.float32), frame])
            waiting = self._margin
        self.queued_before_samples = waiting
        self._ended_in_sound = not is_silent
        self._endpoint.send(frame)

    def flush(self) -> int:
        """The model has fallen silent: drop what waits, and keep its place with silence; samples dropped."""
        dropped = self._endpoint.flush()
        if dropped:
            self._endpoint.send(np.zeros(dropped, np.float32))
            self.counts.flushed_samples += dropped
        self._ended_in_sound = False
        return dropped

    @property
    def queued_s(self) -> float:
        """Seconds of sound that wait."""
        return self._endpoint.queued_samples / SAMPLE_RATE_HZ

    def _resized(self, silence: Pcm, waiting: int) -> Pcm:
        return np.zeros(max(0, len(silence) + self._margin - waiting), np.float32)

    def _without_late(self, frame: Pcm, excess: int) -> Pcm:
        """Drop `excess` samples from the frame's head, joined without a click."""
        excess = min(excess, len(frame) - FADE_SAMPLES)
        kept = frame[excess:].copy()
        kept[:FADE_SAMPLES] *= np.linspace(0.0, 1.0, FADE_SAMPLES, dtype=np.float32)
        self.counts.late_samples += excess
        return kept
