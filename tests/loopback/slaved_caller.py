"""A caller without a clock of its own: it speaks when, and only when, the gateway's packets have come.

So there is one time line for both ways, and nobody's recorder made it: the RTP timestamps of the packets that
the gateway sends, one for each tick of its bridge, whenever the machine lets that tick happen. What the agent
says stands on it as it left. What the caller says is a talkspurt that is sent whole, at once, when the packet
of tick n has come: the bridge cannot take it in before tick n + 1, and does so then unless the packets were
held up on their way. No jitter buffer blurs this: it has run empty in the pause before, and the spurt is as
long as the most that it may wait for, so it lets the spurt go whole and in order from one tick on.

A recording is made at the bridge. Between bridge and wire lie delays that are the same at every moment:
RESAMPLER_SAMPLES each way, and CONCEALMENT_SAMPLES on the caller's. Its time line is the wire's, later by
what the caller's sound needs to the bridge: BEHIND_SAMPLES, on both channels.
"""

from __future__ import annotations

import secrets
import select
import socket
from pathlib import Path
from typing import Self

import numpy as np
import soundfile
from scipy.signal import resample_poly

from agent.bench_rtp import PACKET_SAMPLES, PAYLOAD_TYPES, RATE_HZ, RtpPacket, encode, in_order
from agent.bench_sip import SipPeer, sdp
from telephony.endpoint import SAMPLE_RATE_HZ, TICK_SAMPLES
from telephony.settings import PTIME_MS, JitterSettings
from tests.signals import Pcm, click_track, find_clicks, lag_samples

RESAMPLER_SAMPLES = 72  # 3 ms at 24 kHz, 8 <-> 24 kHz: half of speex's filter at quality 3 (docs/log.md)
CONCEALMENT_SAMPLES = 120  # 5 ms: what PJSIP's G.711 decoder keeps back (PJMEDIA_WSOLA_DELAY_MSEC)
BEHIND_SAMPLES = RESAMPLER_SAMPLES + CONCEALMENT_SAMPLES
MS_SAMPLES = SAMPLE_RATE_HZ // 1000
UP = SAMPLE_RATE_HZ // RATE_HZ

SPURT_PACKETS = JitterSettings().max_ms * 4 // 5 // PTIME_MS  # what SipThread lets the jitter buffer wait for
SPURT_SAMPLES = SPURT_PACKETS * PACKET_SAMPLES
FIRST_SPURT = 2 * RATE_HZ  # by then the stand-in has greeted
EVERY_PACKETS = 25  # 500 ms, and a packet more each time: no two distances between clicks are the same
LISTEN_SAMPLES = RATE_HZ  # silence in the end, so that all is heard and recorded
RTP_TIMEOUT_S = 10.0  # the gateway sends every 20 ms from the answer on


class SlavedCaller:
    """One G.711 call as the wire had it.

    Places are samples at 8 kHz, counted by RTP timestamp from the first packet that the gateway sent.
    """

    def __init__(self, codec: str = "PCMU") -> None:
        self.codec = codec
        self.clicks: list[int] = []  # where ours enter the bridge if nothing holds them up
        self._received: list[RtpPacket] = []
        self._ssrc, self._sequence = secrets.randbits(32), secrets.randbits(15)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(RTP_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def call(self, gateway: tuple[str, int], seconds: float) -> None:
        """Call, click now and then, and hang up after this much of the gateway's media time."""
        end = round(seconds * RATE_HZ)
        with SipPeer(gateway) as peer:
            answer = peer.call(sdp(self._socket.getsockname()[1], self.codec))
            due = FIRST_SPURT
            while (newest := self._await_packets()) < end:
                if due <= newest < end - LISTEN_SAMPLES:
                    self._speak((gateway[0], answer.media_port), newest + PACKET_SAMPLES)
                    due = newest + (EVERY_PACKETS + len(self.clicks)) * PACKET_SAMPLES
            peer.hang_up()

    @property
    def heard(self) -> Pcm:
        """All that the agent said, float32 [T] at 24 kHz; the filter that raises the rate delays nothing."""
        return np.asarray(resample_poly(in_order(self._received, self.codec), UP, 1), np.float32)

    def _await_packets(self) -> int:
        """Wait for a packet, take all that have come, and return the newest one's place."""
        self._received.append(RtpPacket.parse(self._socket.recv(2048)))
        while select.select([self._socket], [], [], 0)[0]:
            self._received.append(RtpPacket.parse(self._socket.recv(2048)))
        return (self._received[-1].timestamp - self._received[0].timestamp) % 2**32

    def _speak(self, remote: tuple[str, int], start: int) -> None:
        """Send a talkspurt with one click, each time elsewhere, and never in the spurt's last 60 ms."""
        place = 40 + len(self.clicks) * 97 % (SPURT_SAMPLES - 520)
        pieces = np.split(click_track([place], SPURT_SAMPLES), SPURT_PACKETS)
        kind = PAYLOAD_TYPES[self.codec]
        for number, piece in enumerate(pieces):
            at, payload = start + number * PACKET_SAMPLES, encode(piece, self.codec)
            packet = RtpPacket(kind, self._sequence, at, self._ssrc, payload, marker=not number)
            self._socket.sendto(packet.pack(), remote)
            self._sequence = (self._sequence + 1) % 2**16
        self.clicks.append(start + place)


class Recorded:
    """A recording of such a call; places in samples at 24 kHz from its first."""

    def __init__(self, path: Path, call: SlavedCaller) -> None:
        self.stereo, rate_hz = soundfile.read(path, dtype="float32")
        assert rate_hz == SAMPLE_RATE_HZ
        self._call = call
        lag = lag_samples(call.heard, self.agent, SAMPLE_RATE_HZ)
        # Which tick the recording begins with nobody tells: it is found, but it must be a tick.
        self._zero = round((lag + BEHIND_SAMPLES) / TICK_SAMPLES) * TICK_SAMPLES

    @property
    def caller(self) -> Pcm:
        """Channel 0, float32 [T]."""
        return np.asarray(self.stereo[:, 0], np.float32)

    @property
    def agent(self) -> Pcm:
        """Channel 1, float32 [T]."""
        return np.asarray(self.stereo[:, 1], np.float32)

    @property
    def agent_truth(self) -> Pcm:
        """What left on the wire, float32 [T], where the agent's channel must have it."""
        start = self._zero - BEHIND_SAMPLES
        wire = self._call.heard
        wire = wire[start:] if start >= 0 else np.concatenate([np.zeros(-start, np.float32), wire])
        return wire[: len(self.agent)]

    def caller_errors(self) -> list[int]:
        """By how much each of the caller's clicks stands behind its true place."""
        late = self._zero - BEHIND_SAMPLES
        places = find_clicks(self.caller)
        return [place + late - UP * click for place, click in zip(places, self._call.clicks, strict=True)]


def assert_caller_in_place(errors: list[int]) -> None:
    """Each click is within 1 ms of its place, or whole ticks late, where the machine held packets up.

    Nothing can be early. And were the recorder late by ticks of its own, every click would be from then on:
    so in each third of the call one at least must be on time.
    """
    ticks = [round(error / TICK_SAMPLES) for error in errors]
    assert all(abs(e - t * TICK_SAMPLES) <= MS_SAMPLES for e, t in zip(errors, ticks, strict=True)), errors
    assert [min(part) for part in np.array_split(ticks, 3)] == [0, 0, 0], errors
