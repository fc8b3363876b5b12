"""The native audio port's Python face: one call's rings, their pool, and the clock that all calls share.

The clock thread is PJSIP's and never enters Python. `AudioPool` belongs to the sip thread; a `CallAudio` that
is lent out is read and written by asyncio alone.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
import offhook_pjsua2 as pj
from numpy.typing import NDArray

from telephony.endpoint import FRAME_SAMPLES, HeardFrame


@dataclass(frozen=True, slots=True)
class RingCounts:
    """What a call's rings have lost so far."""

    ticks_lost: int = 0  # 20 ms of the caller each, because nobody read
    underruns: int = 0  # playout ran dry in the middle of sound
    late_samples: int = 0  # of ours, dropped at the queue's bound
    played_samples: int = 0


def _new_frame() -> NDArray[np.float32]:
    return np.empty(FRAME_SAMPLES, np.float32)


class CallAudio:
    """One call's audio: a pooled native port that the clock fills and drains without Python."""

    def __init__(self, port: pj.RingPort) -> None:
        self.port = port
        self._heard, self._played = (
            _new_frame(),
            _new_frame(),
        )  # for the next frame; asked for 50 times a second

    def read(self, phase: int) -> HeardFrame | None:
        """The oldest complete frame that ends on a tick of this phase; None while there is none."""
        heard, played = self._heard, self._played
        place = self.port.readFrame(heard, played, phase)
        if place is None:
            return None
        self._heard, self._played = _new_frame(), _new_frame()
        return HeardFrame(heard, played, *place)

    def write(self, pcm: NDArray[np.float32]) -> int:
        """Queue float32 [T] for the caller; the number of samples dropped, oldest first, at the bound."""
        dropped: int = self.port.write(np.ascontiguousarray(pcm, np.float32))
        return dropped

    def flush(self) -> int:
        """Drop what is queued, with a fade; the number of samples the caller will not hear."""
        dropped: int = self.port.clear()
        return dropped

    @property
    def queued_samples(self) -> int:
        """Written but not yet played."""
        queued: int = self.port.queued()
        return queued

    def set_bound(self, samples: int) -> None:
        """Let at most this many samples wait; it starts at 120 ms and may not exceed 30,000."""
        assert 0 < samples <= 30_000, samples
        self.port.setBound(samples)

    def counts(self) -> RingCounts:
        """The counters since the port was lent."""
        return RingCounts(*self.port.counters())


class AudioPool:
    """Every native port there will ever be. They stay on the bridge for the library's life: a port that is
    destroyed while the clock runs races with it. The one returned longest ago is lent first, so that no sound
    of an old call can reach a new one.
    """

    DEFAULT_BOUND_SAMPLES = FRAME_SAMPLES + FRAME_SAMPLES // 2

    def __init__(self, size: int) -> None:
        self._free: deque[pj.RingPort] = deque()
        self._all: list[pj.RingPort] = []
        for number in range(size):
            port = pj.RingPort()
            port.open(f"offhook-{number}")
            self._all.append(port)
        self._free.extend(self._all)
        self.clock = pj.TickClock()  # the last port: when it ticks, every call has had the tick
        self.clock.open()

    @property
    def num_free(self) -> int:
        """Ports that wait for a call."""
        return len(self._free)

    def lend(self) -> CallAudio | None:
        """Audio for a new call, silent until its port is started; None when every port is lent."""
        if not self._free:
            return None
        audio = CallAudio(self._free.popleft())
        audio.set_bound(self.DEFAULT_BOUND_SAMPLES)
        return audio

    def give_back(self, audio: CallAudio) -> None:
        """Take back what `lend` gave; the caller must not touch it again."""
        assert audio.port not in self._free
        audio.port.stop()
        self._free.append(audio.port)
