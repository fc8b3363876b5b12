"""The gateway-worker stream: framed binary messages. `read_message` is the only I/O here.

One message is `u32 length | u8 version | u8 type | fields` in network byte order; `length` counts what
follows it. Sound travels as 16-bit samples at 24 kHz: the telephone side has no more, so a caller's samples
cross unchanged. Every field is bounded: a peer can neither make us allocate without limit nor hand us a NaN.

    worker                             gateway
      Challenge  --------------------->           each proves that it knows the secret; over a unix socket
                 <---------------------  Proof    that may be empty, the socket's mode is the protection
      Verdict    --------------------->
      Hello      --------------------->
                 <---------------------  ClockProbe; ClockReply comes back (clock offset, round trip)
                 <---------------------  Claim; Claimed or Refused comes back
                 <---------------------  CallerFrame, one per slot and 80 ms; each gets one Reply
                 <---------------------  ForceText, Say, Silence, Release, Drain
      Stats      --------------------->           once a second, also the heartbeat; Fault, Drain

A message about a slot names the claim's generation; one that names an earlier claim is dropped and counted.
The stream is authenticated when it opens, not encrypted: between machines it belongs on a private network.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

from agent.wire_fields import (
    MAX_VOICE_BYTES,
    Cursor,
    Field,
    MalformedMessage,
    array,
    flag,
    number,
    octets,
    profile,
    samples,
    seconds,
    text,
    texts,
)
from model.control import CallProfile

PROTOCOL_VERSION = 2
FRAME_SAMPLES = 1920  # 80 ms at 24 kHz
SAMPLE_RATE_HZ = 24_000
PERIOD_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
MAX_MESSAGE_BYTES = 8 << 20  # a claim with ten minutes of history and a minute of the caller's sound
MAX_GREETING_BYTES = 256  # nobody who has not proved the secret makes us read more
MAX_HELLO_BYTES = 48 << 10  # a worker that has proved it may list its voices
MAX_DETAIL_BYTES = 256  # of a name, and of a refusal's reason in words
MAX_VOICES = 256
MAX_SAY_TOKENS = 2048
MAX_SILENCE_FRAMES = 45_000  # an hour
NONCE_BYTES = MAC_BYTES = 32
MIN_SECRET_BYTES = 16

_LENGTH = struct.Struct("!I")
_HEAD = struct.Struct("!BB")

Samples = NDArray[np.int16]  # sound on the wire, [T]
Tokens = NDArray[np.int16]  # [1 + 2K], or [T, 1 + 2K] for a history


class RefusalReason(IntEnum):
    """Why a claim got no slot."""

    FULL = 1
    DRAINING = 2
    ALREADY_CLAIMED = 3  # this call holds a slot here, claimed by whomever
    STALE_FENCING = 4  # the number was used, or is older than one that was, for this call
    ENGINE = 5  # the engine could not start the slot
    PROMPT = 6  # this model cannot take the voice, role, sampling or history; another try changes nothing


SlotIndex = Annotated[int, number("H", 1023)]
U16 = Annotated[int, number("H", 2**16 - 1)]
U32 = Annotated[int, number("I", 2**32 - 1)]
U64 = Annotated[int, number("Q", 2**64 - 1)]
I32 = Annotated[int, number("i", 2**31 - 1)]
Seconds = Annotated[float, seconds()]
Name = Annotated[str, text(MAX_DETAIL_BYTES)]
Nonce = Annotated[bytes, octets(NONCE_BYTES)]
Mac = Annotated[bytes, octets(MAC_BYTES)]
Frame = Annotated[Samples, samples(FRAME_SAMPLES)]
Row = Annotated[Tokens, array("<i2", 256)]
History = Annotated[Tokens, array("<i2", 8192, 256)]
Voices = Annotated[tuple[str, ...], texts(MAX_VOICES, MAX_VOICE_BYTES)]
Flag = Annotated[bool, flag()]
Profile = Annotated[CallProfile, profile()]
Sentence = Annotated[NDArray[np.int32], array("<i4", MAX_SAY_TOKENS)]
SilentFrames = Annotated[int, number("I", MAX_SILENCE_FRAMES)]
Speech = Annotated[Samples, array("<i2", 60 * SAMPLE_RATE_HZ)]
Durations = Annotated[NDArray[np.float32], array("<f4", 256)]
NO_HISTORY: Tokens = np.zeros((0, 0), np.int16)
NO_SPEECH: Samples = np.zeros(0, np.int16)
DEFAULT_PROFILE = CallProfile()


class Message:
    """Base of all messages; `TYPE` is the byte on the wire."""

    TYPE: ClassVar[int]

    def encode(self) -> bytes:
        """The whole message, length prefix first; a value out of its bounds is our own fault and asserts."""
        body = b"".join(codec.pack(getattr(self, name)) for name, codec in _LAYOUTS[self.TYPE])
        assert len(body) + _HEAD.size <= MAX_MESSAGE_BYTES, len(body)
        return _LENGTH.pack(len(body) + _HEAD.size) + _HEAD.pack(PROTOCOL_VERSION, self.TYPE) + body


@dataclass(frozen=True, eq=False)
class Challenge(Message):
    """The worker's first word."""

    TYPE = 1
    nonce: Nonce


@dataclass(frozen=True, eq=False)
class Proof(Message):
    """The gateway knows the secret, and asks the same of the worker."""

    TYPE = 2
    nonce: Nonce
    mac: Mac


@dataclass(frozen=True, eq=False)
class Verdict(Message):
    """The worker accepts, and knows the secret too; a refused peer sees the connection close instead."""

    TYPE = 3
    mac: Mac


@dataclass(frozen=True, eq=False)
class Hello(Message):
    """What the worker is. Tick n begins at `tick_s + n * period_s` on the worker's monotonic clock."""

    TYPE = 4
    worker_id: Name
    model: Name
    num_slots: U16
    num_columns: U16  # 1 + 2K: text, agent codes, caller codes
    frame_samples: U32
    period_s: Seconds
    tick_s: Seconds
    voices: Voices  # that a profile may name; none: the model has one
    takes_role: Flag  # whether a profile may hold one
    step_p99_s: Seconds  # measured with every slot in a long call; 0: not measured


@dataclass(frozen=True, eq=False)
class ClockProbe(Message):
    """The gateway's clock when it asked."""

    TYPE = 5
    sent_s: Seconds


@dataclass(frozen=True, eq=False)
class ClockReply(Message):
    """The probe's time, and the worker's clock when it answered."""

    TYPE = 6
    probe_sent_s: Seconds
    worker_s: Seconds


@dataclass(frozen=True, eq=False)
class Claim(Message):
    """A call asks for a slot; with a history it goes on where that ended and does not greet."""

    TYPE = 7
    call_id: Name
    fencing: U64
    seed: U64
    history: History  # NO_HISTORY: a new call
    caller_pcm: Speech  # the caller's last seconds, or NO_SPEECH
    profile: Profile


@dataclass(frozen=True, eq=False)
class Claimed(Message):
    """The slot is this call's until Release, Fault, or the end of the connection; frames may come."""

    TYPE = 8
    call_id: Name
    fencing: U64
    slot: SlotIndex
    generation: U32
    start_seconds: Seconds  # how long the engine took to prepare it


@dataclass(frozen=True, eq=False)
class Refused(Message):
    """No slot for this claim."""

    TYPE = 9
    call_id: Name
    fencing: U64
    reason: U16  # a RefusalReason; one we do not know yet still means no
    detail: Name  # what the engine says of a prompt; may be empty


@dataclass(frozen=True, eq=False)
class CallerFrame(Message):
    """80 ms of one caller."""

    TYPE = 10
    slot: SlotIndex
    generation: U32
    number: U32  # counted by the gateway from 0
    pcm: Frame


@dataclass(frozen=True, eq=False)
class Reply(Message):
    """What the engine made of one caller frame; times are the worker's clock."""

    TYPE = 11
    slot: SlotIndex
    generation: U32
    number: U32  # of the caller frame
    text: I32
    caller_text: I32
    collected_s: Seconds
    delivered_s: Seconds
    step_s: Seconds
    tokens: Row
    pcm: Frame


@dataclass(frozen=True, eq=False)
class ForceText(Message):
    """The slot's next step takes this text token."""

    TYPE = 12
    slot: SlotIndex
    generation: U32
    token: I32


@dataclass(frozen=True, eq=False)
class Release(Message):
    """The call is over; the slot is free."""

    TYPE = 13
    slot: SlotIndex
    generation: U32


@dataclass(frozen=True, eq=False)
class Fault(Message):
    """The engine failed in this slot; the slot is free again."""

    TYPE = 14
    slot: SlotIndex
    generation: U32
    reason: Name


@dataclass(frozen=True, eq=False)
class Stats(Message):
    """Heartbeat, with counts since the worker started; `tick_seconds` since the last Stats, no idle ticks."""

    TYPE = 15
    num_slots_used: U16
    num_ticks: U64
    num_steps: U64  # catch-up steps included
    num_catch_ups: U64
    num_deadline_misses: U64
    num_frames_dropped: U64  # too late, so that lag does not accumulate
    num_frames_missing: U64  # a claimed slot had no frame at the tick
    num_stale: U64  # messages that named an earlier generation, or replies to one
    num_faults: U64
    cpu_s: Seconds  # of the whole worker
    tick_age_s: Seconds  # since the engine thread was last seen between two ticks
    tick_seconds: Durations


@dataclass(frozen=True, eq=False)
class Drain(Message):
    """From a worker: it takes no more claims. From a gateway: please take no more."""

    TYPE = 16


@dataclass(frozen=True, eq=False)
class Say(Message):
    """Let the agent say these text tokens next, in place of what was queued; none: stop saying."""

    TYPE = 17
    slot: SlotIndex
    generation: U32
    tokens: Sentence


@dataclass(frozen=True, eq=False)
class Silence(Message):
    """Keep the agent silent for so many frames; 0 ends a silence."""

    TYPE = 18
    slot: SlotIndex
    generation: U32
    frames: SilentFrames


_KINDS: tuple[type[Message], ...] = (
    Challenge, Proof, Verdict, Hello, ClockProbe, ClockReply, Claim, Claimed, Refused, CallerFrame, Reply,
    ForceText, Release, Fault, Stats, Drain, Say, Silence,
)  # fmt: skip
_TYPES = {kind.TYPE: kind for kind in _KINDS}


def _layout(kind: type[Message]) -> tuple[tuple[str, Field], ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple((name, hint.__metadata__[0]) for name, hint in hints.items() if name != "TYPE")


_LAYOUTS = {kind.TYPE: _layout(kind) for kind in _KINDS}


def parse(body: bytes | memoryview) -> Message:
    """One message without its length prefix.

    Raises MalformedMessage for anything else than exactly one message of this version.
    """
    cursor = Cursor(memoryview(body))
    version, code = cursor.unpack(_HEAD)
    if version != PROTOCOL_VERSION:
        raise MalformedMessage(f"peer speaks version {version}, we {PROTOCOL_VERSION}: update the older side")
    if code not in _TYPES:
        raise MalformedMessage(f"no message has type {code}")
    kind = _TYPES[code]
    message = kind(**{name: codec.unpack(cursor) for name, codec in _LAYOUTS[code]})
    if cursor.num_left:
        raise MalformedMessage(f"{cursor.num_left} bytes too many in a {kind.__name__}")
    return message


async def read_message(reader: asyncio.StreamReader, max_bytes: int = MAX_MESSAGE_BYTES) -> Message | None:
    """The next message, or None when the peer has closed the stream between two messages.

    Raises MalformedMessage for a length beyond `max_bytes`, a message cut short, or one that does not parse.
    """
    try:
        (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if not _HEAD.size <= size <= max_bytes:
            raise MalformedMessage(f"message of {size} bytes where {max_bytes} fit")
        return parse(await reader.readexactly(size))
    except asyncio.IncompleteReadError as error:
        if error.partial or error.expected != _LENGTH.size:
            raise MalformedMessage("the stream ended inside a message") from None
        return None


def gateway_mac(secret: bytes, worker_nonce: bytes, gateway_nonce: bytes) -> bytes:
    """What a gateway that knows the secret puts into Proof."""
    return hmac.digest(secret, b"offhook gateway" + worker_nonce + gateway_nonce, hashlib.sha256)


def worker_mac(secret: bytes, worker_nonce: bytes, gateway_nonce: bytes) -> bytes:
    """What a worker that knows the secret puts into Verdict; no gateway's can be reflected to us as it."""
    return hmac.digest(secret, b"offhook worker" + worker_nonce + gateway_nonce, hashlib.sha256)


def same_mac(one: bytes, other: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(one, other)
