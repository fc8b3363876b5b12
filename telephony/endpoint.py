"""What a session needs from a call, whatever carries it: frames in, samples out, events. No I/O here.

One call is one `MediaEndpoint`. Everything here belongs to the asyncio thread; nothing may be called from
another one. Audio is float32 [T], mono, -1..1, at `SAMPLE_RATE_HZ`; a frame is `FRAME_SAMPLES` (80 ms) and is
made of `TICKS_PER_FRAME` ticks of the clock that all calls of a gateway share.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ: Final = 24_000
FRAME_SAMPLES: Final = 1_920
TICK_SAMPLES: Final = 480
TICKS_PER_FRAME: Final = FRAME_SAMPLES // TICK_SAMPLES
TICK_S: Final = TICK_SAMPLES / SAMPLE_RATE_HZ


class EndpointEventKind(StrEnum):
    """What can happen to a call besides audio."""

    RINGING = "ringing"  # outbound only: the far end sent a 18x
    ANSWERED = "answered"  # audio flows from here on
    DTMF = "dtmf"  # `digit` was pressed (RFC 4733), reported once, at its start
    HELD = "held"  # the far end put us on hold by re-INVITE; frames go on, as silence
    RESUMED = "resumed"
    TRANSFER = "transfer"  # NOTIFY about our REFER: `code` is the SIP status of the new call; final at >= 200
    ENDED = "ended"  # always the last event; `code` and `is_ours` say how and by whom


@dataclass(frozen=True, slots=True)
class EndpointEvent:
    """One event of a call, stamped with the monotonic clock when it was seen on the wire's side."""

    kind: EndpointEventKind
    at_s: float  # time.monotonic()
    digit: str = ""  # DTMF: one of 0-9 * # A-D
    code: int = 0  # ENDED, TRANSFER, RINGING: SIP status (200 for a BYE)
    reason: str = ""  # the SIP reason phrase, or the text of a Reason header
    is_ours: bool = False  # ENDED: we hung up


@dataclass(frozen=True, slots=True)
class HeardFrame:
    """One caller frame and what the caller was played in the very same ticks: a recording's two channels.

    `tick` counts the shared clock; it rises by `TICKS_PER_FRAME` from frame to frame, and by more where
    frames were lost, so that a recorder can keep its place.
    """

    pcm: NDArray[np.float32]  # [1920] the caller
    played: NDArray[np.float32]  # [1920] us, as it left for the caller
    tick: int  # number of the tick that completed this frame
    at_s: float  # time.monotonic() at which that tick ended


# Of each codec, how far a caller's sound is behind the wire when it is heard, and ours before it when it is
# played, in samples: 3 + 3 ms of resampling and 5 ms that the decoder keeps back to conceal losses; for G.722
# 1.5 + 1.5 ms, the same 5, and its two filter banks; for Opus, at our own rate, what its encoder looks ahead.
# The jitter buffer is not in it. Measured: docs/log.md.
PATH_SAMPLES = {"PCMU": 264, "PCMA": 264, "G722": 225, "opus": 156}


def path_samples(codec: str) -> int:
    """How far apart `pcm` and `played` of one tick are on the wire; `codec` as in `EndpointStats`."""
    return PATH_SAMPLES.get(codec.partition("/")[0], 0)


@dataclass(frozen=True, slots=True)
class EndpointStats:
    """A call's figures so far. Counts only grow; times are the latest value."""

    codec: str = ""  # "PCMU/8000"; "" before media
    rx_packets: int = 0
    rx_lost: int = 0
    rx_discarded: int = 0  # arrived, but too late or twice
    rx_jitter_s: float = 0.0
    tx_packets: int = 0
    tx_lost: int = 0  # as the far end reports by RTCP
    round_trip_s: float = 0.0  # by RTCP; 0 until known
    jitter_buffer_s: float = 0.0  # present delay of the jitter buffer
    foreign_packets: int = 0  # RTP from a source that is not the locked one: dropped
    frames_dropped: int = 0  # complete caller frames that nobody fetched in time
    playout_queue_s: float = 0.0  # sent but not yet played
    playout_late_samples: int = 0  # dropped because the queue was at its bound
    playout_underruns: int = 0  # ran dry in the middle of sound


class MediaEndpoint(Protocol):
    """One call as a session sees it."""

    @property
    def call_id(self) -> str:
        """Unique for the life of the gateway; the SIP Call-ID where there is one."""

    @property
    def remote(self) -> str:
        """Who is at the other end, as an URI. Personal: log it only under a `pii_` key."""

    def frames(self) -> AsyncIterator[NDArray[np.float32]]:
        """Caller frames, float32 [1920], one each 80 ms from ANSWERED until the call ends.

        Bounded: a reader that falls behind loses the oldest frames, which are counted. One reader at a time.
        """

    @property
    def latest(self) -> HeardFrame | None:
        """The frame that `frames()` yielded last, its place on the clock, and what was played meanwhile."""

    def set_frame_phase(self, phase: int) -> None:
        """Let frames end on ticks whose number is `phase` modulo `TICKS_PER_FRAME`, from the next frame on.

        A change in mid-call skips up to 60 ms of the caller's audio.
        """

    def send(self, pcm: NDArray[np.float32]) -> None:
        """Queue float32 [T] for the caller. Never blocks; past the bound the oldest is lost and counted."""

    def flush(self) -> int:
        """Drop what is queued (barge-in), with a 5 ms fade; the number of samples dropped."""

    @property
    def queued_samples(self) -> int:
        """Samples sent that the clock has not taken yet, at this instant (no second-old figure)."""

    def send_dtmf(self, digits: str) -> None:
        """Press digits (0-9 * # A-D) by RFC 4733. Raises TelephonyError if the call cannot."""

    def refer(self, target: str) -> None:
        """Ask the far end to call `target` instead (blind transfer); TRANSFER events tell the outcome."""

    def hang_up(self, code: int = 200, reason: str = "") -> None:
        """End the call: BYE when answered, else `code`. ENDED follows. Harmless when already ended."""

    def events(self) -> AsyncIterator[EndpointEvent]:
        """Every event from the call's start, ENDED the last, then the iterator is over. One reader."""

    def stats(self) -> EndpointStats:
        """The latest figures; cheap, at most a second old, and still there after the call has ended."""


class IncomingCall(Protocol):
    """A caller who waits for an answer. Exactly one of `answer` and `reject` must follow, and soon.

    No 180 has been sent yet: a gateway that has no slot rejects with 503 before the caller hears it ring.
    """

    @property
    def transport(self) -> str:
        """What carries it: "sip" or "webrtc"."""

    @property
    def call_id(self) -> str:
        """The SIP Call-ID; of a WebRTC call the id that its caller has been told."""

    @property
    def caller(self) -> str:
        """From URI. Untrusted and personal."""

    @property
    def called(self) -> str:
        """Request URI. Untrusted."""

    @property
    def source(self) -> str:
        """The IP address that the INVITE came from, as the network says; "" where there is none to tell."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Every header of the INVITE by lower-case name; repeated ones joined by ", ". Untrusted."""

    @property
    def trunk(self) -> str:
        """The trunk that it came by; "" where there is none."""

    @property
    def is_gone(self) -> bool:
        """True once the caller has cancelled or the call was answered or rejected."""

    def ring(self) -> None:
        """Send 180: a slot is being made ready."""

    async def answer(self) -> MediaEndpoint:
        """Send 200 and return once the caller has acknowledged and audio flows.

        Raises CallEnded if the caller has cancelled, or never acknowledged.
        """

    def reject(self, code: int, reason: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Send a final refusal: 486 busy, 503 with {"Retry-After": "5"} when full. Harmless when gone."""
