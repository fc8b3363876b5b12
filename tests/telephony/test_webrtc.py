"""Calls from a stock aiortc peer to our gateway of offers, in one process, on the real clock."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
import pytest
import pytest_asyncio
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription

from agent.bench_web import Microphone, WebPeer
from telephony.endpoint import FRAME_SAMPLES, EndpointEventKind
from telephony.errors import BadOffer, CallEnded, OfferRefused, TelephonyError
from telephony.settings import WebRtcSettings
from telephony.sip import SipGateway
from telephony.webrtc import WebRtcEndpoint, WebRtcGateway
from tests.signals import find_tone, tone
from tests.telephony.test_sip_thread import SETTINGS

pytestmark = pytest.mark.asyncio(loop_scope="module")

RATE = 24_000


@dataclass(slots=True)
class Scene:
    sip: SipGateway
    gateway: WebRtcGateway

    async def call(self, peer: WebPeer) -> WebRtcEndpoint:
        call = self.gateway.offer(await peer.offer(), "webrtc:test", "about")
        answering = asyncio.ensure_future(call.answer())
        await peer.take(call.call_id, await call.decided())
        return await asyncio.wait_for(answering, 5)

    async def is_empty(self) -> bool:
        for _ in range(100):
            if self.gateway.num_calls == 0 and self.gateway.num_free == 2:
                return True
            await asyncio.sleep(0.02)
        return False


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sip() -> AsyncIterator[SipGateway]:
    async with SipGateway(SETTINGS, num_packet_ports=2) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="module")
async def scene(sip: SipGateway) -> AsyncIterator[Scene]:
    async with WebRtcGateway(WebRtcSettings(), sip.ticks, sip.packet_audio) as gateway:
        made = Scene(sip, gateway)
        yield made
        assert await made.is_empty()


async def kinds(endpoint: WebRtcEndpoint) -> list[EndpointEventKind]:
    async with asyncio.timeout(5):
        return [event.kind async for event in endpoint.events()]


async def test_sound_and_digits_and_messages_pass_both_ways(scene: Scene) -> None:
    async with WebPeer("", "") as peer:
        endpoint = await scene.call(peer)
        channels: list[RTCDataChannel] = []
        endpoint.on_data_channel(channels.append)
        peer.microphone.say(tone(400, 2, RATE, 0.3))
        frames = []
        async for frame in endpoint.frames():
            frames.append(frame)
            at = np.arange(FRAME_SAMPLES) + len(frames) * FRAME_SAMPLES
            endpoint.send((0.2 * np.sin(2 * np.pi * 700 * at / RATE)).astype(np.float32))
            if len(frames) == 12:
                break
        await peer.press("7")
        assert find_tone(np.concatenate(frames[4:]), RATE) == pytest.approx(400, abs=2)
        assert find_tone(peer.heard[-RATE // 2 :], RATE) == pytest.approx(700, abs=2)
        assert [channel.label for channel in channels] == ["oai-events"]
        channels[0].send('{"type": "hello", "event_id": "e"}')
        await peer.wait("hello")
        latest = endpoint.latest
        assert latest is not None and latest.tick <= scene.sip.tick and np.abs(latest.played).max() > 0.1
        stats = endpoint.stats()
        assert stats.codec == "opus/48000" and stats.rx_packets > 40 and stats.tx_packets > 40
        assert stats.rx_lost == 0 and 0.01 < stats.jitter_buffer_s < 0.06
        with pytest.raises(TelephonyError, match="no digits"):
            endpoint.send_dtmf("1")
        with pytest.raises(TelephonyError, match="cannot be transferred"):
            endpoint.refer("sip:a@b")
        endpoint.hang_up()
        endpoint.hang_up()
        seen = await kinds(endpoint)
    assert seen == [EndpointEventKind.ANSWERED, EndpointEventKind.DTMF, EndpointEventKind.ENDED]
    assert endpoint.stats().rx_packets == stats.rx_packets or endpoint.stats().rx_packets > 40


async def test_a_peer_that_closes_has_hung_up(scene: Scene) -> None:
    async with WebPeer("", "") as peer:
        endpoint = await scene.call(peer)
    async with asyncio.timeout(5):
        events = [event async for event in endpoint.events()]
    assert (events[-1].kind, events[-1].code, events[-1].is_ours) == (EndpointEventKind.ENDED, 200, False)


async def test_a_peer_that_never_connects_is_dropped(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene.gateway, "_settings", WebRtcSettings(connect_timeout_s=1))
    async with WebPeer("", "") as peer:
        call = scene.gateway.offer(await peer.offer(), "webrtc:test")
        with pytest.raises(CallEnded, match="not connected within 1 s"):
            await call.answer()
        assert "v=0" in await call.decided()


async def test_a_connecting_call_can_be_hung_up(scene: Scene) -> None:
    async with WebPeer("", "") as peer:
        call = scene.gateway.offer(await peer.offer(), "webrtc:test")
        answering = asyncio.ensure_future(call.answer())
        await call.decided()
        assert scene.gateway.hang_up(call.call_id) and not scene.gateway.hang_up("nobody")
        with pytest.raises(CallEnded):
            await asyncio.wait_for(answering, 0.5)


async def test_a_gateway_that_stops_refuses_what_is_not_connected_and_others_stay(scene: Scene) -> None:
    async with WebPeer("", "") as peer, WebPeer("", "") as other:
        endpoint = await scene.call(peer)
        call = scene.gateway.offer(await other.offer(), "webrtc:test")
        answering = asyncio.ensure_future(call.answer())
        await call.decided()
        taken = scene.gateway.offer(await other.offer(), "webrtc:test")
        async for waiting in scene.gateway.incoming():
            if waiting is taken:  # somebody is about to answer it
                break
        queued = scene.gateway.offer(await other.offer(), "webrtc:test")
        scene.gateway.refuse_all()
        with pytest.raises(CallEnded):
            await asyncio.wait_for(answering, 0.5)
        with pytest.raises(CallEnded, match="is stopping"):
            await taken.answer()
        for one in (taken, queued):
            with pytest.raises(OfferRefused, match="is stopping") as refused:
                await one.decided()
            assert refused.value.status == 503
        with pytest.raises(OfferRefused, match="is stopping"):
            scene.gateway.offer(await other.offer(), "webrtc:test")
        assert endpoint.ended is None
        endpoint.hang_up()


async def test_offers_are_refused_with_a_status(scene: Scene) -> None:
    with pytest.raises(BadOffer):
        scene.gateway.offer("v=0", "webrtc:test")
    async with WebPeer("", "") as peer:
        offer = await peer.offer()
        call = scene.gateway.offer(offer, "webrtc:test")
        call.reject(503, "No free line", {"Retry-After": "5"})
        with pytest.raises(OfferRefused) as refused:
            await call.decided()
        assert (refused.value.status, refused.value.retry_after_s) == (503, 5)
        with pytest.raises(CallEnded):
            await call.answer()
        calls = [scene.gateway.offer(offer, "webrtc:test") for _ in range(3)]
        results = await asyncio.gather(*[one.answer() for one in calls], return_exceptions=True)
        assert sum("every audio port" in str(one) for one in results) == 1
        with pytest.raises(OfferRefused, match="every audio port"):
            await calls[2].decided()


@pytest.mark.parametrize("hide", ["by mDNS", "altogether"])
async def test_a_browser_that_hides_its_addresses_is_found_by_its_checks(scene: Scene, hide: str) -> None:
    async with WebPeer("", "") as peer:
        lines = []
        for line in (await peer.offer()).split("\r\n"):
            words = line.split(" ")
            if line.startswith("a=candidate") and hide == "by mDNS":
                words[4] = "4f3a2c1e-aaaa-bbbb-cccc-0123456789ab.local"
            if not line.startswith("a=candidate") or hide == "by mDNS":
                lines.append(" ".join(words))
        call = scene.gateway.offer("\r\n".join(lines), "webrtc:test")
        answering = asyncio.ensure_future(call.answer())
        await peer.take(call.call_id, await call.decided())
        endpoint = await asyncio.wait_for(answering, 0.9)  # a name is looked for during a second
        endpoint.hang_up()
        assert (await kinds(endpoint))[-1] is EndpointEventKind.ENDED


async def test_a_forged_certificate_is_not_talked_to(scene: Scene) -> None:
    async with WebPeer("", "") as peer:
        lines = (await peer.offer()).split("\r\n")
        forged = [f"{line[:-2]}00" if line.startswith("a=fingerprint") else line for line in lines]
        call = scene.gateway.offer("\r\n".join(forged), "webrtc:test")
        answering = asyncio.ensure_future(call.answer())
        await peer.take(call.call_id, await call.decided())
        with pytest.raises(CallEnded, match="certificate"):
            await answering


async def test_a_peer_without_a_channel_is_served(scene: Scene) -> None:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTrack(Microphone())
    await peer.setLocalDescription(await peer.createOffer())
    call = scene.gateway.offer(peer.localDescription.sdp, "webrtc:test")
    answering = asyncio.ensure_future(call.answer())
    await peer.setRemoteDescription(RTCSessionDescription(await call.decided(), "answer"))
    endpoint = await answering
    endpoint.hang_up()
    assert (await kinds(endpoint))[-1] is EndpointEventKind.ENDED
    await peer.close()
