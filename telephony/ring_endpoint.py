"""What every endpoint does with a call's rings and events, whatever carries its packets. asyncio only."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator

import numpy as np
from numpy.typing import NDArray

from telephony.endpoint import (
    SAMPLE_RATE_HZ,
    TICKS_PER_FRAME,
    EndpointEvent,
    EndpointEventKind,
    HeardFrame,
)
from telephony.errors import CallEnded
from telephony.sip_media import CallAudio, RingCounts

MAX_WAITING_FRAMES = 4  # 320 ms that a session may be behind before the oldest frame is dropped
MAX_WAITING_EVENTS = 256


class RingEndpoint(ABC):
    """The common half of a `MediaEndpoint`: frames, playout and events."""

    def __init__(self) -> None:
        self._phase = 0
        self._frames: deque[HeardFrame] = deque()
        self._frames_dropped = 0
        self._latest: HeardFrame | None = None
        self._events: deque[EndpointEvent] = deque(maxlen=MAX_WAITING_EVENTS)
        self._woken = asyncio.Event()  # for frames()
        self._notified = asyncio.Event()  # for events()
        self._final_counts: RingCounts | None = None
        self.answered: EndpointEvent | None = None
        self.ended: EndpointEvent | None = None

    @property
    @abstractmethod
    def _audio(self) -> CallAudio | None:
        """The call's rings; None before it has any, and after the end."""

    @abstractmethod
    def _give_back(self) -> None:
        """The call is over: return the rings to their pool."""

    @property
    def latest(self) -> HeardFrame | None:
        """What `frames()` yielded last."""
        return self._latest

    @property
    def frame_phase(self) -> int:
        """Frames end on ticks whose number leaves this rest by TICKS_PER_FRAME."""
        return self._phase

    @property
    def queued_samples(self) -> int:
        """Samples sent that the clock has not taken yet."""
        audio = self._audio
        return audio.queued_samples if audio else 0

    async def frames(self) -> AsyncIterator[NDArray[np.float32]]:
        """Caller frames, float32 [1920], until the call ends; `MAX_WAITING_FRAMES` wait at most."""
        while True:
            while self._frames:
                self._latest = self._frames.popleft()
                yield self._latest.pcm
            if self.ended is not None:
                return
            self._woken.clear()
            await self._woken.wait()

    async def events(self) -> AsyncIterator[EndpointEvent]:
        """Every event, ENDED the last; past `MAX_WAITING_EVENTS` unread ones the oldest are dropped."""
        while True:
            while self._events:
                event = self._events.popleft()
                yield event
                if event.kind is EndpointEventKind.ENDED:
                    return
            self._notified.clear()
            await self._notified.wait()

    def set_frame_phase(self, phase: int) -> None:
        """Let frames end on ticks of this phase."""
        self._phase = phase % TICKS_PER_FRAME

    def set_playout_bound(self, samples: int) -> None:
        """Let at most this many samples wait to be played (120 ms unless told)."""
        audio = self._audio
        if audio:
            audio.set_bound(samples)

    def send(self, pcm: NDArray[np.float32]) -> None:
        """Queue float32 [T] for the caller; past the bound the oldest is lost. Harmless after ENDED."""
        audio = self._audio
        if audio:
            audio.write(pcm)

    def flush(self) -> int:
        """Drop what is queued; the number of samples the caller will not hear."""
        audio = self._audio
        return audio.flush() if audio else 0

    def on_tick(self) -> None:
        """Fetch the frames that are complete; called at each tick at which one of this phase may be."""
        audio = self._audio
        if audio is None or self.answered is None:
            return
        while (frame := audio.read(self._phase)) is not None:
            if len(self._frames) == MAX_WAITING_FRAMES:
                self._frames.popleft()
                self._frames_dropped += 1
            self._frames.append(frame)
            self._woken.set()
            self._on_frame(frame)

    def _on_frame(self, frame: HeardFrame) -> None:  # noqa: B027  # not every endpoint cares
        """A frame is complete; the reader may not have it yet."""

    def on_event(self, event: EndpointEvent) -> None:
        """Take one event of the call; with ENDED the audio goes back to the pool."""
        if event.kind is EndpointEventKind.ANSWERED:
            self.answered = event
        elif event.kind is EndpointEventKind.ENDED:
            self.on_tick()
            self.ended = event
            audio = self._audio
            if audio is not None:
                self._final_counts = audio.counts()
                self._give_back()
        self._events.append(event)
        self._notified.set()
        self._woken.set()

    async def settled(self) -> EndpointEvent:
        """Wait until the call is answered or over; that event. It stays in `events()` as well."""
        while (event := self.ended or self.answered) is None:
            self._woken.clear()
            await self._woken.wait()
        return event

    def _ring_figures(self) -> dict[str, float]:
        """The fields of `EndpointStats` that the rings know."""
        audio = self._audio
        counts = self._final_counts or (audio.counts() if audio else RingCounts())
        return {
            "frames_dropped": self._frames_dropped + -(-counts.ticks_lost // TICKS_PER_FRAME),
            "playout_queue_s": self.queued_samples / SAMPLE_RATE_HZ,
            "playout_late_samples": counts.late_samples,
            "playout_underruns": counts.underruns,
        }

    def _check_alive(self) -> None:
        if self.ended is not None:
            raise CallEnded("the call is over")
