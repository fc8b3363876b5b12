"""One answered SIP call as a `MediaEndpoint`. asyncio thread only; the gateway feeds it events and ticks."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from telephony.endpoint import (
    SAMPLE_RATE_HZ,
    TICKS_PER_FRAME,
    EndpointEvent,
    EndpointEventKind,
    EndpointStats,
    HeardFrame,
)
from telephony.errors import CallEnded, TelephonyError
from telephony.sip_call import CallLink, SipCall
from telephony.sip_media import RingCounts
from telephony.sip_uri import checked_uri

Act = Callable[[int, Callable[[SipCall], None]], None]

MAX_WAITING_FRAMES = 4  # 320 ms that a session may be behind before the oldest frame is dropped
MAX_WAITING_EVENTS = 256
MAX_DIGITS = 32  # PJSIP's queue of outgoing digits
DIGITS = frozenset("0123456789*#ABCD")


class SipEndpoint:
    """One answered SIP call, in either direction; a `MediaEndpoint`."""

    def __init__(self, link: CallLink, act: Act, give_back: Callable[[CallLink], None]) -> None:
        self._link, self._act, self._give_back = link, act, give_back
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
    def call_id(self) -> str:
        """The SIP Call-ID."""
        return self._link.call_id

    @property
    def remote(self) -> str:
        """The far end's URI. Personal."""
        return self._link.remote

    @property
    def latest(self) -> HeardFrame | None:
        """What `frames()` yielded last."""
        return self._latest

    @property
    def queued_samples(self) -> int:
        """Samples sent that the clock has not taken yet."""
        return self._link.audio.queued_samples if self._link.audio else 0

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
        if self._link.audio:
            self._link.audio.set_bound(samples)

    def send(self, pcm: NDArray[np.float32]) -> None:
        """Queue float32 [T] for the caller; past the bound the oldest is lost. Harmless after ENDED."""
        if self._link.audio:
            self._link.audio.write(pcm)

    def flush(self) -> int:
        """Drop what is queued; the number of samples the caller will not hear."""
        return self._link.audio.flush() if self._link.audio else 0

    def send_dtmf(self, digits: str) -> None:
        """Press digits by RFC 4733.

        Raises TelephonyError for other characters, more than 32 of them, or a far end that takes no
        telephone-event; CallEnded after the call.
        """
        if not digits or not DIGITS.issuperset(digits) or len(digits) > MAX_DIGITS:
            raise TelephonyError(f"DTMF is 1 to {MAX_DIGITS} of 0-9 * # A-D; these {len(digits)} are not")
        self._check_alive()
        if not self._link.has_telephone_event:
            raise TelephonyError("the far end takes no telephone-event (RFC 4733), so no digit can reach it")
        self._act(self._link.number, lambda call: call.press(digits))

    def refer(self, target: str) -> None:
        """Blind transfer by REFER. Raises BadUri, or CallEnded after the call."""
        uri = checked_uri(target)
        self._check_alive()
        self._act(self._link.number, lambda call: call.transfer(uri))

    def hang_up(self, code: int = 200, reason: str = "") -> None:
        """End the call; ENDED follows. Harmless when already ended."""
        if self.ended is None:
            self._act(self._link.number, lambda call: call.end(code, reason))

    def stats(self) -> EndpointStats:
        """The latest figures."""
        counts = self._final_counts or (self._link.audio.counts() if self._link.audio else RingCounts())
        return replace(
            self._link.stats,
            frames_dropped=self._frames_dropped + -(-counts.ticks_lost // TICKS_PER_FRAME),
            playout_queue_s=self.queued_samples / SAMPLE_RATE_HZ,
            playout_late_samples=counts.late_samples,
            playout_underruns=counts.underruns,
        )

    def on_tick(self) -> None:
        """Fetch the frames that are complete; called by the gateway 50 times a second."""
        audio = self._link.audio
        if audio is None or self.answered is None:
            return
        while (frame := audio.read(self._phase)) is not None:
            if len(self._frames) == MAX_WAITING_FRAMES:
                self._frames.popleft()
                self._frames_dropped += 1
            self._frames.append(frame)
            self._woken.set()

    def on_event(self, event: EndpointEvent) -> None:
        """Take one event from the sip thread; with ENDED the audio goes back to the pool."""
        if event.kind is EndpointEventKind.ANSWERED:
            self.answered = event
        elif event.kind is EndpointEventKind.ENDED:
            self.on_tick()
            self.ended = event
            if self._link.audio is not None:
                self._final_counts = self._link.audio.counts()
                self._give_back(self._link)
        self._events.append(event)
        self._notified.set()
        self._woken.set()

    async def settled(self) -> EndpointEvent:
        """Wait until the call is answered or over; that event. It stays in `events()` as well."""
        while (event := self.ended or self.answered) is None:
            self._woken.clear()
            await self._woken.wait()
        return event

    def _check_alive(self) -> None:
        if self.ended is not None:
            raise CallEnded("the call is over")
