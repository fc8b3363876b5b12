"""A WebRTC peer that is not ours: aiortc's stock RTCPeerConnection, as a browser would be one."""

from __future__ import annotations

import asyncio
import fractions
import json
import secrets
import struct
import time
from types import TracebackType
from typing import Any, Self

import aiohttp
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame

from agent.energy_gate import Pcm
from telephony.endpoint import SAMPLE_RATE_HZ
from telephony.webrtc_rtp import DIGITS

PACKET_SAMPLES = 480
WIRE_HZ = 48_000
EVENTS_TYPE = 110


class Microphone(MediaStreamTrack):
    """Silence and whatever was given to `say`, 20 ms by 20 ms."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.num_sent = 0
        self._waiting = np.zeros(0, np.float32)
        self._began_s: float | None = None

    def say(self, pcm: Pcm) -> None:
        """Queue float32 [T] at 24 kHz."""
        self._waiting = np.concatenate([self._waiting, pcm])

    async def recv(self) -> AudioFrame:
        """The next packet's sound, when it is due."""
        now_s = time.monotonic()
        self._began_s = now_s if self._began_s is None else self._began_s
        await asyncio.sleep(max(0.0, self._began_s + self.num_sent * 0.02 - now_s))
        pcm = np.zeros(PACKET_SAMPLES, np.float32)
        head = self._waiting[:PACKET_SAMPLES]
        pcm[: len(head)] = head
        self._waiting = self._waiting[PACKET_SAMPLES:]
        stereo = np.repeat((pcm * 32767).astype(np.int16), 2)  # both channels alike, as browsers send speech
        frame = AudioFrame.from_ndarray(stereo[None], format="s16", layout="stereo")
        frame.sample_rate, frame.time_base = SAMPLE_RATE_HZ, fractions.Fraction(1, SAMPLE_RATE_HZ)
        frame.pts = self.num_sent * PACKET_SAMPLES
        self.num_sent += 1
        return frame


class WebPeer:
    """One call to the Live API of a gateway; an async context manager that closes it."""

    def __init__(self, http_port: int) -> None:
        self.base = f"http://127.0.0.1:{http_port}/v1"
        self.microphone = Microphone()
        self.events: list[dict[str, Any]] = []
        self.times_s: list[float] = []  # when each event came
        self.id = ""
        self.answer_sdp = ""
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.channel = self.pc.createDataChannel("oai-events")
        self.pc.addTrack(self.microphone)
        self.pc.on("track", self._on_track)
        self.channel.on("message", self._on_message)
        self._heard: list[Pcm] = []
        self._listening: asyncio.Task[None] | None = None
        self._came = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.pc.close()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    @property
    def heard(self) -> Pcm:
        """What it was played so far, float32 [T] at 24 kHz."""
        return np.concatenate(self._heard) if self._heard else np.zeros(0, np.float32)

    async def offer(self) -> str:
        """Its SDP offer, telephone events added, which aiortc does not know."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        lines = []
        for line in self.pc.localDescription.sdp.splitlines():
            if line.startswith("m=audio"):
                lines += [f"{line} {EVENTS_TYPE}", f"a=rtpmap:{EVENTS_TYPE} telephone-event/{WIRE_HZ}"]
            else:
                lines.append(line)
        return "\r\n".join(lines) + "\r\n"

    async def take(self, live_id: str, sdp: str) -> None:
        """Apply the answer."""
        self.id, self.answer_sdp = live_id, sdp
        await self.pc.setRemoteDescription(RTCSessionDescription(sdp, "answer"))

    async def call(self) -> dict[str, Any]:
        """Call, and return the `session.started` event."""
        body = {
            "session": {"model": "offhook"},
            "transport": {"type": "webrtc", "sdp": await self.offer()},
        }
        async with aiohttp.ClientSession() as http, http.post(f"{self.base}/live/sessions", json=body) as got:
            answer = await got.json()
            assert got.status == 201, answer
        await self.take(answer["session"]["id"], answer["transport"]["sdp"])
        return await self.wait("session.started")

    async def post_hangup(self) -> int:
        """Hang up by HTTP; the status."""
        url = f"{self.base}/live/sessions/{self.id}/hangup"
        async with aiohttp.ClientSession() as http, http.post(url) as got:
            return got.status

    def send(self, kind: str, **fields: Any) -> None:
        """Send one client event."""
        self.channel.send(json.dumps({"type": kind, **fields}))

    async def wait(self, kind: str, timeout_s: float = 10.0) -> dict[str, Any]:
        """The first event of this type, which is taken out of `events`."""
        async with asyncio.timeout(timeout_s):
            while True:
                for number, event in enumerate(self.events):
                    if event["type"] == kind:
                        return self.events.pop(number)
                self._came.clear()
                await self._came.wait()

    async def press(self, digit: str) -> None:
        """Press a digit for 100 ms (RFC 4733), its end three times."""
        transport = self.pc.getSenders()[0].transport
        ssrc, stamp, sequence = secrets.randbits(32), secrets.randbits(32), secrets.randbits(15)
        for number in range(8):
            is_end = number >= 5
            event = struct.pack("!BBH", DIGITS.index(digit), is_end << 7 | 10, 960 * min(number + 1, 6))
            marker = 0x80 if number == 0 else 0
            head = struct.pack("!BBHII", 0x80, marker | EVENTS_TYPE, sequence + number, stamp, ssrc)
            await transport._send_rtp(head + event)
            await asyncio.sleep(0.02)

    async def vanish(self) -> None:
        """Be gone without a word: no goodbye of any layer."""
        for transport in {self.pc.sctp.transport.transport}:
            for protocol in transport._connection._protocols:
                protocol.transport.abort()

    def _on_message(self, message: str) -> None:
        self.events.append(json.loads(message))
        self.times_s.append(time.monotonic())
        self._came.set()

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._listening = asyncio.ensure_future(self._listen(track))

    async def _listen(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                frame = await track.recv()
                stereo = frame.to_ndarray().reshape(-1, 2).astype(np.float32) / 32768
                self._heard.append(stereo.mean(axis=1).reshape(-1, 2).mean(axis=1))
        except MediaStreamError:
            return
