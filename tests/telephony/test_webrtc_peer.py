"""What a peer's transports do with what breaks the rules. Whole calls: test_webrtc.py."""

import asyncio
import struct

import pytest
from aiortc import RTCCertificate, RTCDtlsTransport, RTCIceGatherer, RTCIceTransport
from aiortc.rtcsctptransport import DATA_CHANNEL_ACK, WEBRTC_DCEP, WEBRTC_STRING, DataChunk
from aiortc.rtp import AnyRtcpPacket, RtpPacket
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from telephony import webrtc_peer as module
from telephony.errors import TelephonyError
from telephony.settings import WebRtcSettings
from telephony.webrtc_peer import Peer
from telephony.webrtc_sdp import read_offer
from tests.telephony.test_webrtc_sdp import OFFER


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.channels: list[object] = []
        self.lost: list[bool] = []

    def on_rtp(self, packet: RtpPacket) -> None:
        raise AssertionError("no packet was sent")

    def on_rtcp(self, packet: AnyRtcpPacket) -> None:
        raise AssertionError("no report was sent")

    def on_channel(self, channel: object) -> None:
        self.channels.append(channel)

    def on_lost(self, *, is_clean: bool) -> None:
        self.lost.append(is_clean)


def channels() -> module._Channels:
    ice = RTCIceTransport(RTCIceGatherer(iceServers=[]))
    return module._Channels(RTCDtlsTransport(ice, [RTCCertificate.generateCertificate()]))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([WEBRTC_DCEP, WEBRTC_STRING, 53, 99]), st.binary(max_size=40), st.integers(0, 3))
async def test_any_message_passes_or_is_dropped(kind: int, message: bytes, stream: int) -> None:
    association = channels()
    await association._data_channel_receive(stream, kind, message)
    await association.stop()


async def test_an_acknowledgement_of_nothing_is_dropped() -> None:
    association = channels()
    await association._data_channel_receive(5, WEBRTC_DCEP, struct.pack("!B", DATA_CHANNEL_ACK))
    await association.stop()


async def test_an_answer_names_our_addresses_and_a_closed_peer_sends_nothing() -> None:
    listener = Listener()
    peer = Peer(read_offer(OFFER), WebRtcSettings(), listener, ssrc=77)
    answer = await peer.answer()
    assert "typ host" in answer and "a=ssrc:77 " in answer and "a=end-of-candidates" in answer
    for number in range(module.MAX_CHANNELS + 3):
        peer._on_channel(number)  # type: ignore[arg-type]
    assert len(listener.channels) == module.MAX_CHANNELS
    assert not peer.has_unsent_messages
    await peer.close()
    await peer.send(b"\x80" + bytes(20))
    await peer.close()
    assert listener.lost == []  # we closed it ourselves


async def test_a_peer_that_sends_more_than_it_may_fills_no_memory() -> None:
    association = channels()
    association._last_received_tsn = 0
    room = association._advertised_rwnd
    for number in range(1, 10):
        chunk = DataChunk(flags=2 if number == 1 else 0)  # the beginning of a message that has no end
        chunk.tsn, chunk.stream_id, chunk.stream_seq, chunk.protocol = number, 1, 0, WEBRTC_STRING
        chunk.user_data = bytes(room // 4)
        await association._receive_data_chunk(chunk)
    assert 0 <= association._advertised_rwnd < room // 4
    await association.stop()


async def test_a_layer_that_hangs_keeps_none_of_the_others_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_S", 0.05)
    peer = Peer(read_offer(OFFER), WebRtcSettings(), Listener(), ssrc=1)
    await peer.answer()
    monkeypatch.setattr(peer._sctp, "stop", asyncio.Event().wait)
    await asyncio.wait_for(peer.close(), 2)
    assert peer._ice.state == "closed" and peer._gatherer.getLocalCandidates() == []


async def test_a_machine_without_a_network_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda **_which: [])
    peer = Peer(read_offer(OFFER), WebRtcSettings(), Listener(), ssrc=1)
    with pytest.raises(TelephonyError, match="no network address besides loopback"):
        await peer.answer()
    await peer.close()


async def test_a_layer_that_will_not_stop_does_not_keep_the_next_one_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer = Peer(read_offer(OFFER), WebRtcSettings(), Listener(), ssrc=1)
    await peer.answer()

    async def fail() -> None:
        raise SSL.Error("no shutdown")

    monkeypatch.setattr(peer._sctp, "stop", fail)
    monkeypatch.setattr(peer._dtls, "stop", fail)
    await peer.close()
    assert peer._ice.state == "closed" and peer._gatherer.getLocalCandidates() == []
