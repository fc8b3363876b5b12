"""One call that we place ourselves: frame by frame, both channels kept on one clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from agent.energy_gate import Pcm
from agent.errors import AudioFileError
from model.channel import resample
from telephony.endpoint import (
    FRAME_SAMPLES,
    SAMPLE_RATE_HZ,
    TICK_SAMPLES,
    EndpointEvent,
    EndpointEventKind,
    EndpointStats,
    HeardFrame,
    MediaEndpoint,
)
from telephony.settings import SipSettings

if TYPE_CHECKING:
    from telephony.sip import SipGateway

FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
AHEAD_SAMPLES = FRAME_SAMPLES  # what we keep queued, so that a late wake-up leaves no hole in our speech
ANSWER_S = 30.0
CALLER_RTP_PORTS = (30_000, 39_999)  # apart from the gateway's own

Speaker = Callable[[Pcm], Pcm | None]
"""Takes what was heard, float32 [1920]; returns what to say next, as long, or None to hang up."""


class Tape:
    """A call as it sounded at the caller's end: what we said and heard, cut from the same ticks."""

    def __init__(self) -> None:
        self._frames: list[HeardFrame] = []

    def push(self, frame: HeardFrame) -> None:
        """Keep one frame."""
        self._frames.append(frame)

    @property
    def seconds(self) -> float:
        """How long it is so far."""
        return len(self._frames) * FRAME_S

    def channels(self) -> tuple[Pcm, Pcm]:
        """(caller, agent), float32 [T] each; frames that were lost keep their place as silence."""
        if not self._frames:
            return np.zeros(0, np.float32), np.zeros(0, np.float32)
        first = self._frames[0].tick
        places = [(frame.tick - first) * TICK_SAMPLES for frame in self._frames]
        both = np.zeros((2, places[-1] + FRAME_SAMPLES), np.float32)
        for place, frame in zip(places, self._frames, strict=True):
            both[0, place : place + FRAME_SAMPLES] = frame.played
            both[1, place : place + FRAME_SAMPLES] = frame.pcm
        return both[0], both[1]


@dataclass(slots=True)
class PlacedCall:
    """A call that is over."""

    tape: Tape = field(default_factory=Tape)
    ended: EndpointEvent | None = None
    stats: EndpointStats = field(default_factory=EndpointStats)
    call_id: str = ""  # the SIP Call-ID

    @property
    def is_ended_by_us(self) -> bool:
        """True if we hung up."""
        return self.ended is not None and self.ended.is_ours


def caller_settings(sip_port: int = 0, codecs: Sequence[str] = ("PCMU",)) -> SipSettings:
    """A test caller's end: its own ports, outbound calls on."""
    low, high = CALLER_RTP_PORTS
    return SipSettings(
        port=sip_port,
        transports=("udp", "tcp"),
        rtp_port_min=low,
        rtp_port_max=high,
        max_calls=16,
        codecs=tuple(codecs),
        outbound_enabled=True,
    )


@asynccontextmanager
async def calling_end(codecs: Sequence[str] = ("PCMU",)) -> AsyncIterator[SipGateway]:
    """A SIP end that can place calls, until left."""
    from telephony.sip import SipGateway  # loads the native library: not for `--help`

    async with SipGateway(caller_settings(codecs=codecs)) as phone:
        yield phone


async def place_call(
    phone: SipGateway, uri: str, speaker: Speaker, limit_s: float, answer_s: float = ANSWER_S
) -> PlacedCall:
    """Call, converse until either side hangs up or the limit is reached, and return what was heard.

    Raises BadUri, CallRefused, or TimeoutError when nobody answers within `answer_s`.
    """
    endpoint = await phone.call(uri, timeout_s=answer_s)
    endpoint.set_playout_bound(4 * FRAME_SAMPLES)
    return await converse(endpoint, speaker, limit_s)


async def converse(endpoint: MediaEndpoint, speaker: Speaker, limit_s: float) -> PlacedCall:
    """Let `speaker` hold an answered call; returns once it is over."""
    call = PlacedCall(call_id=endpoint.call_id)
    try:
        endpoint.send(np.zeros(AHEAD_SAMPLES, np.float32))
        async for pcm in endpoint.frames():
            assert endpoint.latest is not None
            call.tape.push(endpoint.latest)
            reply = speaker(pcm)
            if reply is None or call.tape.seconds >= limit_s:
                break
            endpoint.send(reply)
    finally:
        endpoint.hang_up()
    async with asyncio.timeout(10):
        async for event in endpoint.events():
            if event.kind is EndpointEventKind.ENDED:
                call.ended = event
    call.stats = endpoint.stats()
    return call


def read_audio(path: Path, channel: int | None = None) -> Pcm:
    """A recording as float32 [T] at 24 kHz. Raises AudioFileError.

    Several channels are averaged, or `channel` taken of those that it has (mono has one for all).
    """
    try:
        sound, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise AudioFileError(f"cannot read {path}: {error}; give a WAV, FLAC or Ogg file") from None
    if not len(sound):
        raise AudioFileError(f"{path} holds no sound; record it again")
    mono = sound.mean(1) if channel is None else sound[:, min(channel, sound.shape[1] - 1)]
    return resample(np.asarray(mono, np.float32), rate_hz, SAMPLE_RATE_HZ)


def write_channels(path: Path, caller: Pcm, agent: Pcm) -> None:
    """Both channels, caller left, as 16-bit WAV or FLAC by the suffix. Raises AudioFileError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.stack([caller, agent], axis=1), SAMPLE_RATE_HZ, subtype="PCM_16")
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise AudioFileError(f"cannot write {path}: {error}; give a .wav or .flac file") from None
