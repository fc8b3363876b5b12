"""A WebRTC caller for measuring and testing: aiortc's stock peer, as a browser would be one.

It shares no code with the gateway's media, so that neither hides the other's mistakes. Each packet is stamped
with the monotonic clock as it passes the network's edge; what arrives is decoded as it comes, without a
jitter buffer.
"""

from __future__ import annotations

import asyncio
import fractions
import json
import secrets
import struct
import time
from types import TracebackType
from typing import Any, Self, cast

import aiohttp
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs.opus import OpusDecoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtp import RtpPacket, is_rtcp
from av import AudioFrame
from numpy.typing import NDArray

from agent.bench_impairment import Impairment, Network
from agent.errors import WorkerUnavailable

SAMPLE_RATE_HZ = 24_000
PACKET_SAMPLES = 480
PACKET_S = PACKET_SAMPLES / SAMPLE_RATE_HZ
WIRE_HZ = 48_000
EVENTS_TYPE = 110
DIGITS = "0123456789*#ABCD"
Pcm = NDArray[np.float32]


class Microphone(MediaStreamTrack):
    """Silence and whatever was given to `say`, 20 ms by 20 ms."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.num_sent = 0  # packets' worth
        self._unsaid = np.zeros(0, np.float32)
        self._began_s: float | None = None

    def say(self, pcm: Pcm) -> int:
        """Queue float32 [T] at 24 kHz; the number of the packet that will hold its first sample."""
        first = self.num_sent + -(-len(self._unsaid) // PACKET_SAMPLES)
        padding = np.zeros(-len(self._unsaid) % PACKET_SAMPLES, np.float32)
        self._unsaid = np.concatenate([self._unsaid, padding, pcm])
        return first

    async def recv(self) -> AudioFrame:
        """The next packet's sound, when it is due."""
        now_s = time.monotonic()
        self._began_s = now_s if self._began_s is None else self._began_s
        await asyncio.sleep(max(0.0, self._began_s + self.num_sent * PACKET_S - now_s))
        pcm = np.zeros(PACKET_SAMPLES, np.float32)
        head = self._unsaid[:PACKET_SAMPLES]
        pcm[: len(head)] = head
        self._unsaid = self._unsaid[PACKET_SAMPLES:]
        # Each sample twice, and both channels alike: aiortc's encoder takes this without a resampler's delay.
        stereo = np.repeat((pcm * 32767).astype(np.int16), 4)
        frame = AudioFrame.from_ndarray(stereo[None], format="s16", layout="stereo")
        frame.sample_rate, frame.time_base = WIRE_HZ, fractions.Fraction(1, WIRE_HZ)
        frame.pts = self.num_sent * 2 * PACKET_SAMPLES
        self.num_sent += 1
        return frame


class WebPeer:
    """One call to the Live API of a gateway; an async context manager that closes it."""

    def __init__(
        self,
        url: str,
        key: str,
        impairment: Impairment | None = None,
        seed: int = 0,
        configuration: RTCConfiguration | None = None,
    ) -> None:
        """`configuration` is the browser's: its STUN and TURN servers, and whether only a relay will do."""
        self.base = f"{url}/v1"
        self._headers = {"Authorization": f"Bearer {key}"}
        self.microphone = Microphone()
        self.events: list[dict[str, Any]] = []
        self.event_times_s: dict[str, float] = {}  # by event id, when it came
        self.id = ""
        self.sent_s: list[float] = []  # when each packet left us, lost ones included
        self.received: list[tuple[float, Pcm]] = []  # when each packet came, and its sound
        self.pc = RTCPeerConnection(configuration or RTCConfiguration(iceServers=[]))
        self.channel = self.pc.createDataChannel("oai-events")
        self.pc.addTrack(self.microphone)
        self.channel.on("message", self._on_message)
        self._decoder = OpusDecoder()
        self._came = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._to_gateway = Network(impairment or Impairment(), 2 * seed)
        self._from_gateway = Network(impairment or Impairment(), 2 * seed + 1)
        self._late: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.pc.close()
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)

    @property
    def heard(self) -> Pcm:
        """What it was sent so far, float32 [T] at 24 kHz, lost packets left out."""
        return np.concatenate([pcm for _, pcm in self.received] or [np.zeros(0, np.float32)])

    async def offer(self) -> str:
        """Its SDP offer, telephone events added, which aiortc does not know."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        self._stand_at_the_edge()
        lines = []
        for line in self.pc.localDescription.sdp.splitlines():
            if line.startswith("m=audio"):
                lines += [f"{line} {EVENTS_TYPE}", f"a=rtpmap:{EVENTS_TYPE} telephone-event/{WIRE_HZ}"]
            else:
                lines.append(line)
        return "\r\n".join(lines) + "\r\n"

    async def take(self, live_id: str, sdp: str) -> None:
        """Apply the answer."""
        self.id = live_id
        await self.pc.setRemoteDescription(RTCSessionDescription(sdp, "answer"))

    async def call(self, model: str = "offhook") -> dict[str, Any]:
        """Call, and return the `session.started` event. Raises WorkerUnavailable if it is refused."""
        body = {"session": {"model": model}, "transport": {"type": "webrtc", "sdp": await self.offer()}}
        async with (
            aiohttp.ClientSession(headers=self._headers) as http,
            http.post(f"{self.base}/live/sessions", json=body) as got,
        ):
            answer = await got.json()
        if got.status != 201:
            raise WorkerUnavailable(f"the gateway refused the session: {got.status} {answer['error']}")
        await self.take(answer["session"]["id"], answer["transport"]["sdp"])
        return await self.wait("session.started")

    async def post_hangup(self) -> int:
        """Hang up by HTTP; the status."""
        url = f"{self.base}/live/sessions/{self.id}/hangup"
        async with aiohttp.ClientSession(headers=self._headers) as http, http.post(url) as got:
            return got.status

    def send(self, kind: str, **fields: Any) -> None:
        """Send one client event."""
        self.channel.send(json.dumps({"type": kind, **fields}))

    async def wait(self, kind: str, timeout_s: float = 10.0) -> dict[str, Any]:
        """The first event of this type, which is taken out of `events`. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while True:
                for number, event in enumerate(self.events):
                    if event["type"] == kind:
                        return self.events.pop(number)
                self._came.clear()
                await self._came.wait()

    async def press(self, digit: str) -> None:
        """Press a digit for 100 ms, its end three times (RFC 4733)."""
        ssrc, stamp, sequence = secrets.randbits(32), secrets.randbits(32), secrets.randbits(15)
        for number in range(8):
            is_end = number >= 5
            event = struct.pack("!BBH", DIGITS.index(digit), is_end << 7 | 10, 960 * min(number + 1, 6))
            marker = 0x80 if number == 0 else 0
            head = struct.pack("!BBHII", 0x80, marker | EVENTS_TYPE, sequence + number, stamp, ssrc)
            await self._transport._send_rtp(head + event)
            await asyncio.sleep(PACKET_S)

    def vanish(self) -> None:
        """Be gone without a word: no goodbye of any layer."""
        for protocol in self._transport.transport._connection._protocols:
            protocol.transport.abort()

    @property
    def _transport(self) -> Any:
        return self.pc.getSenders()[0].transport

    def _stand_at_the_edge(self) -> None:
        """Put the network between aiortc's media and its transport, both ways."""
        transport, receiver = self._transport, cast(Any, self.pc.getReceivers()[0])
        send = transport._send_rtp

        async def send_rtp(data: bytes) -> None:
            if is_rtcp(data) or data[1] & 0x7F == EVENTS_TYPE:
                await send(data)
                return
            now_s = time.monotonic()
            self.sent_s.append(now_s)
            due_s = self._to_gateway.delivery_s(now_s)
            if due_s is not None:
                await self._later(due_s - now_s, send, data)

        async def handle_rtp(packet: RtpPacket, arrival_time_ms: int) -> None:
            now_s = time.monotonic()
            due_s = self._from_gateway.delivery_s(now_s)
            if due_s is not None:
                stereo = self._decode(packet).reshape(-1, 2).mean(axis=1)  # at 48 kHz
                self.received.append((due_s, stereo.reshape(-1, 2).mean(axis=1)))

        transport._send_rtp = send_rtp
        receiver._handle_rtp_packet = handle_rtp

    async def _later(self, delay_s: float, send: Any, data: bytes) -> None:
        if delay_s <= 0:
            await send(data)
            return

        async def wait() -> None:
            await asyncio.sleep(delay_s)
            try:
                await send(data)
            except ConnectionError:
                return  # the call is over

        task = self._loop.create_task(wait())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    def _decode(self, packet: RtpPacket) -> Pcm:
        frames = self._decoder.decode(JitterFrame(data=packet.payload, timestamp=packet.timestamp))
        sound = np.concatenate([cast(AudioFrame, frame).to_ndarray().reshape(-1) for frame in frames])
        return sound.astype(np.float32) / np.float32(32768)

    def _on_message(self, message: str) -> None:
        event = json.loads(message)
        self.events.append(event)
        self.event_times_s[event["event_id"]] = time.monotonic()
        self._came.set()
