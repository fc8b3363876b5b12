"""One WebRTC call as a `MediaEndpoint`: packets between the peer and the native port. asyncio thread only."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import structlog
from aiortc import RTCDataChannel
from aiortc.rtp import AnyRtcpPacket, RtcpRrPacket, RtcpSrPacket, RtpPacket

from telephony.endpoint import EndpointEvent, EndpointEventKind, EndpointStats
from telephony.errors import CallEnded, MalformedPacket, TelephonyError
from telephony.packet_audio import PacketAudio, PacketCounts
from telephony.ring_endpoint import RingEndpoint
from telephony.settings import WebRtcSettings
from telephony.webrtc_peer import Peer
from telephony.webrtc_rtp import HeardStream, PressedDigits, SentStream, report_packet
from telephony.webrtc_sdp import Offer

CODEC = "opus/48000"
REPORT_S = 2.0  # between two RTCP reports
CLOSING_S = 0.5  # for the last messages on the data channel
CLOSING_LOOKS = 50
REQUEST_TIMEOUT = 408
OnChannel = Callable[[RTCDataChannel], None]

log = structlog.get_logger()


class WebRtcEndpoint(RingEndpoint):
    """One answered WebRTC call; a `MediaEndpoint`. `live` is its one task."""

    def __init__(
        self,
        call_id: str,
        remote: str,
        offer: Offer,
        settings: WebRtcSettings,
        give_back: Callable[[PacketAudio], None],
        about: object = None,
    ) -> None:
        """`about` is whatever its asker wants to find again."""
        super().__init__()
        self.about = about
        self.call_id = call_id
        self.remote = remote
        self._offer, self._settings, self._return = offer, settings, give_back
        self._sent, self._heard, self._digits = SentStream(offer.opus), HeardStream(), PressedDigits()
        self._peer = Peer(offer, settings, self, self._sent.ssrc)
        self._packets: PacketAudio | None = None
        self._final_packets = PacketCounts()
        self._has_packets = asyncio.Event()
        self._over: asyncio.Future[tuple[int, str, bool]] = asyncio.get_running_loop().create_future()
        self._channels: list[RTCDataChannel] = []
        self._on_channel: OnChannel | None = None
        self.num_malformed = 0  # RTP that is no digit though it says so

    @property
    def _audio(self) -> PacketAudio | None:
        return self._packets

    def _give_back(self) -> None:
        packets, self._packets = self._packets, None
        if packets is not None:
            self._final_packets = packets.packet_counts()
            self._return(packets)

    # ---- the call ----

    async def begin(self, audio: PacketAudio) -> str:
        """Take the audio; our SDP answer. Raises TelephonyError if there is none."""
        self._packets = audio
        return await self._peer.answer()

    async def live(self) -> None:
        """Connect, carry packets until somebody hangs up, and give everything back. Never raises."""
        code, reason, is_ours = REQUEST_TIMEOUT, "", False
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                await self._connect_or_end()
            if not self._over.done():
                code, reason, is_ours = await self._carry()
            else:
                code, reason, is_ours = self._over.result()
        except TimeoutError:
            reason = f"not connected within {self._settings.connect_timeout_s:g} s"
        except CallEnded as error:
            reason = str(error)
        except Exception as error:
            code, reason = 500, type(error).__name__
            log.exception("webrtc_call_failed")
        finally:
            await self._peer.close()
            ended = EndpointEvent(
                EndpointEventKind.ENDED, time.monotonic(), code=code, reason=reason, is_ours=is_ours
            )
            self.on_event(ended)

    async def _connect_or_end(self) -> None:
        """Return when the peer is connected or `hang_up` was called. Raises CallEnded."""
        connecting = asyncio.ensure_future(self._peer.connect())
        try:
            jobs: set[asyncio.Future[Any]] = {connecting, self._over}
            await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            if connecting.done():
                connecting.result()
        finally:
            connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError, CallEnded):
                await connecting

    async def _carry(self) -> tuple[int, str, bool]:
        assert self._packets is not None
        self._packets.port.start()
        self.on_event(EndpointEvent(EndpointEventKind.ANSWERED, time.monotonic(), code=200))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job()) for job in (self._send_packets, self._send_reports)]
            ending = await self._over
            if ending[2]:
                await self._drain()
            for task in tasks:
                task.cancel()
        return ending

    async def _drain(self) -> None:
        """We hang up: let what was just written on the data channels reach the peer."""
        for _ in range(CLOSING_LOOKS):
            if not self._peer.has_unsent_messages:
                return
            await asyncio.sleep(CLOSING_S / CLOSING_LOOKS)

    def hang_up(self, code: int = 200, reason: str = "") -> None:
        """End the call; ENDED follows. Harmless when already ended."""
        self._end(code, reason, is_ours=True)

    def _end(self, code: int, reason: str, *, is_ours: bool) -> None:
        if not self._over.done():
            self._over.set_result((code, reason, is_ours))

    def send_dtmf(self, digits: str) -> None:
        """Raises TelephonyError: WebRTC peers play no telephone-events to anybody."""
        raise TelephonyError("a WebRTC peer takes no digits; they reach telephones only")

    def refer(self, target: str) -> None:
        """Raises TelephonyError: there is no REFER in WebRTC."""
        raise TelephonyError("a WebRTC call cannot be transferred; only telephone calls can")

    # ---- data channels ----

    def on_data_channel(self, listener: OnChannel) -> None:
        """Tell of every data channel that the peer opens, those already open first."""
        self._on_channel = listener
        for channel in self._channels:
            listener(channel)

    def on_channel(self, channel: RTCDataChannel) -> None:
        """Take a channel from the peer."""
        self._channels.append(channel)
        if self._on_channel is not None:
            self._on_channel(channel)

    # ---- packets ----

    def on_rtp(self, packet: RtpPacket) -> None:
        """Take one packet as it arrives."""
        audio = self._packets
        if audio is None or self.answered is None:
            return
        if packet.payload_type == self._offer.opus:
            self._heard.note(packet)
            audio.put(packet.timestamp, packet.payload)
            return
        try:
            digit = self._digits.read(packet)
        except MalformedPacket:
            self.num_malformed += 1
            return
        if digit:
            self.on_event(EndpointEvent(EndpointEventKind.DTMF, time.monotonic(), digit=digit))

    def on_rtcp(self, packet: AnyRtcpPacket) -> None:
        """Take one report."""
        if isinstance(packet, RtcpSrPacket):
            self._heard.note_report(packet)
        if isinstance(packet, (RtcpSrPacket, RtcpRrPacket)):
            for report in packet.reports:
                self._sent.note(report)
            if self._packets is not None:
                self._packets.expect_loss(self._sent.loss_percent)

    def on_lost(self, *, is_clean: bool) -> None:
        """The transport is gone."""
        if is_clean:
            self._end(200, "", is_ours=False)
        else:
            self._end(REQUEST_TIMEOUT, "the peer's transport was lost", is_ours=False)

    def on_tick(self) -> None:
        """Fetch the caller's frames and wake the sender; called 50 times a second."""
        super().on_tick()
        self._has_packets.set()

    async def _send_packets(self) -> None:
        """Send each packet as the clock has made it; what asyncio is late for goes at once."""
        while True:
            await self._has_packets.wait()
            self._has_packets.clear()
            while self._packets is not None and (taken := self._packets.take()) is not None:
                tick, payload = taken
                await self._peer.send(self._sent.packet(tick, payload))

    async def _send_reports(self) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            await self._peer.send(report_packet(self._sent, self._heard))

    def stats(self) -> EndpointStats:
        """The latest figures."""
        counts = self._packets.packet_counts() if self._packets else self._final_packets
        figures = EndpointStats(
            codec=CODEC if self.answered else "",
            rx_packets=self._heard.num_packets,
            rx_lost=self._heard.num_lost,
            rx_discarded=counts.late + counts.malformed + counts.refused,
            rx_jitter_s=self._heard.jitter_s,
            tx_packets=self._sent.num_packets,
            tx_lost=self._sent.num_lost,
            round_trip_s=self._sent.round_trip_s,
            jitter_buffer_s=counts.delay_us / 1e6,
        )
        return replace(figures, **cast(dict[str, Any], self._ring_figures()))
