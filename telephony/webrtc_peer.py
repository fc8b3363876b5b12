"""One WebRTC peer's transports: ICE, DTLS, SRTP and the data channels, by aiortc. asyncio thread only.

aiortc's own media path is not used: no receiver with its jitter buffer, no sender with its encoder. RTP comes
here as it arrives and leaves as it is handed over. The transports are aiortc's ORTC objects, whose doors for
RTP begin with an underscore; the version is pinned for that.
"""

import asyncio
import contextlib
import struct
from typing import Protocol

import structlog
from aiortc import (
    RTCCertificate,
    RTCDataChannel,
    RTCDtlsTransport,
    RTCIceGatherer,
    RTCIceServer,
    RTCIceTransport,
    RTCSctpTransport,
)
from aiortc.rtcdtlstransport import RTCDtlsParameters
from aiortc.rtcicetransport import RTCIceCandidate
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpReceiveParameters
from aiortc.rtcsctptransport import DataChunk, RTCSctpCapabilities
from aiortc.rtp import AnyRtcpPacket, RtpPacket
from OpenSSL import SSL

from telephony.errors import CallEnded, TelephonyError
from telephony.settings import WebRtcSettings
from telephony.webrtc_sdp import Offer, write_answer

MAX_CHANNELS = 8  # that a peer may open; more of them are ignored
STOP_S = 1.0  # for each of the transports to shut down

log = structlog.get_logger()


class PeerListener(Protocol):
    """Whom a peer tells. None of these may raise or wait."""

    def on_rtp(self, packet: RtpPacket) -> None:
        """One packet, as it arrived."""

    def on_rtcp(self, packet: AnyRtcpPacket) -> None:
        """One report."""

    def on_channel(self, channel: RTCDataChannel) -> None:
        """The far end has opened a data channel."""

    def on_lost(self, *, is_clean: bool) -> None:
        """The transport is gone; `is_clean`: the far end has said goodbye."""


class _RtpDoor:
    """What aiortc's router takes for a receiver and a sender."""

    def __init__(self, listener: PeerListener, ssrc: int) -> None:
        self._listener, self._ssrc = listener, ssrc

    def _handle_disconnect(self) -> None:
        """The transport's own event tells of it."""

    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        self._listener.on_rtp(packet)

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        self._listener.on_rtcp(packet)


class _Channels(RTCSctpTransport):
    """aiortc's association, where what breaks the rules neither ends the call nor fills memory."""

    async def _receive_data_chunk(self, chunk: DataChunk) -> None:
        if len(chunk.user_data) <= self._advertised_rwnd:  # else the peer sends more than it was told it may
            await super()._receive_data_chunk(chunk)

    async def _data_channel_receive(self, stream_id: int, pp_id: int, data: bytes) -> None:
        try:
            await super()._data_channel_receive(stream_id, pp_id, data)
        except (AssertionError, ValueError, IndexError, struct.error) as error:
            log.info("message_malformed", num_bytes=len(data), cause=type(error).__name__)


class Peer:
    """The far end of one WebRTC call, from its offer to `close`."""

    def __init__(self, offer: Offer, settings: WebRtcSettings, listener: PeerListener, ssrc: int) -> None:
        self._offer, self._listener, self._ssrc = offer, listener, ssrc
        self._certificate = RTCCertificate.generateCertificate()
        self._gatherer = RTCIceGatherer(iceServers=ice_servers(settings))
        self._ice = RTCIceTransport(self._gatherer)
        self._dtls = RTCDtlsTransport(self._ice, [self._certificate])
        self._sctp = _Channels(self._dtls) if offer.data is not None else None
        self._num_channels = 0
        self._is_closed = False

    async def answer(self) -> str:
        """Gather our candidates; the SDP answer that names them all.

        Raises TelephonyError if this machine has no address to offer.
        """
        await self._gatherer.gather()
        candidates = self._gatherer.getLocalCandidates()
        if not candidates:
            raise TelephonyError(
                "this machine has no network address besides loopback, so no WebRTC peer can reach it; "
                "connect it to a network, or set ice_servers to a TURN server"
            )
        return write_answer(
            self._offer,
            ice=self._gatherer.getLocalParameters(),
            candidates=candidates,
            fingerprints=self._dtls.getLocalParameters().fingerprints,
            ssrc=self._ssrc,
        )

    async def connect(self) -> None:
        """Connect all transports; cancel it when it has taken too long. Raises CallEnded."""
        if self._offer.ice.iceLite:  # it makes no checks, so we are the one that decides
            self._ice._connection.ice_controlling = True
        await self._find_path()
        if self._ice.state != "completed":
            raise CallEnded("no network path to the peer was found (ICE failed)")
        self._dtls._set_role("client" if self._offer.is_passive else "server")
        self._register()
        await self._dtls.start(RTCDtlsParameters(fingerprints=self._offer.fingerprints))
        if self._dtls.state != "connected":
            raise CallEnded("the peer's DTLS handshake failed, or its certificate is not the offered one")
        self._dtls.on("statechange", self._on_state)
        if self._sctp is not None:
            self._sctp.on("datachannel", self._on_channel)
            capabilities = RTCSctpCapabilities(maxMessageSize=self._offer.max_message_bytes)
            await self._sctp.start(capabilities, self._offer.sctp_port)

    @property
    def has_unsent_messages(self) -> bool:
        """Whether something that was written on a data channel has not been acknowledged."""
        sctp = self._sctp
        return sctp is not None and bool(sctp._data_channel_queue or sctp._outbound_queue or sctp._sent_queue)

    async def send(self, packet: bytes) -> None:
        """Send one RTP or RTCP packet, if there is still somebody to send it to."""
        with contextlib.suppress(ConnectionError):
            await self._dtls._send_rtp(packet)

    async def close(self) -> None:
        """Give back every socket and task. Harmless twice."""
        self._is_closed = True
        self._dtls.remove_all_listeners()
        stops = [self._dtls.stop, self._ice.stop]
        if self._sctp is not None:
            self._sctp.remove_all_listeners()
            stops.insert(0, self._sctp.stop)
        for stop in stops:
            try:
                async with asyncio.timeout(STOP_S):
                    await stop()
            except Exception as error:  # a layer that cannot say goodbye must not keep the next one open
                log.info("transport_stop_failed", cause=type(error).__name__)

    async def _find_path(self) -> None:
        """Run ICE. Without an end of candidates it goes on until it is cancelled: the peer's checks may come
        from an address that it has not named, and a browser names its own only by mDNS."""
        async with asyncio.TaskGroup() as group:
            names = [group.create_task(self._add(candidate)) for candidate in self._offer.candidates]
            await self._ice.start(self._offer.ice)
            for task in names:
                task.cancel()

    async def _add(self, candidate: RTCIceCandidate) -> None:
        try:
            await self._ice.addRemoteCandidate(candidate)
        except (OSError, TimeoutError, ValueError) as error:  # a name of mDNS that nobody answers to
            log.info("candidate_unusable", kind=candidate.type, cause=type(error).__name__)

    def _register(self) -> None:
        door = _RtpDoor(self._listener, self._ssrc)
        events = self._offer.events
        payload_types = [self._offer.opus] + ([events.payload_type] if events is not None else [])
        codecs = [
            RTCRtpCodecParameters(mimeType="audio/opus", clockRate=48_000, channels=2, payloadType=number)
            for number in payload_types
        ]
        parameters = RTCRtpReceiveParameters(codecs=codecs, muxId=self._offer.audio.rtp.muxId)
        self._dtls._register_rtp_receiver(door, parameters)
        self._dtls._rtp_router.register_sender(door, self._ssrc)

    def _on_channel(self, channel: RTCDataChannel) -> None:
        self._num_channels += 1
        if self._num_channels <= MAX_CHANNELS:
            self._listener.on_channel(channel)

    def _on_state(self) -> None:
        if self._dtls.state in ("closed", "failed") and not self._is_closed:
            self._is_closed = True
            self._listener.on_lost(is_clean=self._has_said_goodbye())

    def _has_said_goodbye(self) -> bool:
        """Whether DTLS's close_notify has come (RFC 8446 section 6.1): the peer has closed on purpose."""
        connection = self._dtls._ssl
        return connection is not None and bool(connection.get_shutdown() & SSL.RECEIVED_SHUTDOWN)


def ice_servers(settings: WebRtcSettings) -> list[RTCIceServer]:
    """The configured servers as aiortc wants them; an empty list is not its default, which asks strangers."""
    password = settings.turn_password.get_secret_value() if settings.turn_password else None
    return [
        RTCIceServer(urls=uri)
        if uri.startswith("stun:")
        else RTCIceServer(urls=uri, username=settings.turn_username, credential=password)
        for uri in settings.ice_servers
    ]
