"""A WebRTC call that only a TURN relay lets through, with coturn as the servers that are configured."""

import asyncio
import re
from collections.abc import Iterator

import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCIceServer, RTCIceTransportPolicy
from pydantic import SecretStr

from agent.bench_web import WebPeer
from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ
from telephony.errors import CallEnded
from telephony.settings import WebRtcSettings
from telephony.sip import SipGateway
from telephony.webrtc import WebRtcEndpoint, WebRtcGateway
from tests.loopback.coturn import USER, Coturn
from tests.signals import find_tone, tone
from tests.telephony.test_sip_thread import SETTINGS

pytestmark = pytest.mark.loopback
CANDIDATE = re.compile(r"^a=candidate:.* typ (\w+)", re.MULTILINE)


@pytest.fixture(scope="module")
def coturn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coturn]:
    with Coturn(tmp_path_factory.mktemp("coturn")) as server:
        yield server


def behind_a_relay(coturn: Coturn) -> WebPeer:
    """A browser whose network lets nothing out but to its TURN server."""
    server = RTCIceServer(urls=coturn.turn, username=USER, credential=coturn.password)
    return WebPeer(
        "", "", configuration=RTCConfiguration([server], iceTransportPolicy=RTCIceTransportPolicy.RELAY)
    )


async def begun(gateway: WebRtcGateway, peer: WebPeer) -> tuple[WebRtcEndpoint, str]:
    """The call and our answer. Raises CallEnded if there is no way to the peer."""
    call = gateway.offer(await peer.offer(), "webrtc:test")
    answering = asyncio.ensure_future(call.answer())
    answer = await call.decided()
    await peer.take(call.call_id, answer)
    return await answering, answer


async def test_sound_goes_both_ways_through_the_relay_that_is_the_only_way(coturn: Coturn) -> None:
    servers = WebRtcSettings(
        ice_servers=(coturn.stun, coturn.turn),
        turn_username=USER,
        turn_password=SecretStr(coturn.password),
    )
    async with (
        SipGateway(SETTINGS, num_packet_ports=2) as sip,
        WebRtcGateway(servers, sip.ticks, sip.packet_audio) as gateway,
        behind_a_relay(coturn) as peer,
    ):
        endpoint, answer = await begun(gateway, peer)
        assert {"host", "srflx", "relay"} <= set(CANDIDATE.findall(answer)), answer
        assert set(CANDIDATE.findall(peer.pc.localDescription.sdp)) == {"relay"}
        peer.microphone.say(tone(400, 2, SAMPLE_RATE_HZ, 0.3))
        said, frames = tone(700, FRAME_SAMPLES / SAMPLE_RATE_HZ, SAMPLE_RATE_HZ, 0.2), []
        async with asyncio.timeout(10):
            async for frame in endpoint.frames():
                frames.append(frame)
                endpoint.send(said)
                if len(frames) == 14:
                    break
        assert find_tone(np.concatenate(frames[6:]), SAMPLE_RATE_HZ) == pytest.approx(400, abs=2)
        assert find_tone(peer.heard[-SAMPLE_RATE_HZ // 2 :], SAMPLE_RATE_HZ) == pytest.approx(700, abs=2)
        assert endpoint.stats().rx_lost == 0
        endpoint.hang_up()


async def test_without_a_relay_of_ours_there_is_no_way_to_that_peer(coturn: Coturn) -> None:
    without = WebRtcSettings(ice_servers=(coturn.stun,), connect_timeout_s=1)
    async with (
        SipGateway(SETTINGS, num_packet_ports=2) as sip,
        WebRtcGateway(without, sip.ticks, sip.packet_audio) as gateway,
        behind_a_relay(coturn) as peer,
    ):
        with pytest.raises(CallEnded, match="not connected within 1 s"):
            await begun(gateway, peer)
