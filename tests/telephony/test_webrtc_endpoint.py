"""An endpoint before, without and after its packets. Whole calls: test_webrtc.py."""

import asyncio

from aiortc.rtp import RtcpReceiverInfo, RtcpRrPacket, RtpPacket

from telephony.endpoint import EndpointEventKind
from telephony.settings import WebRtcSettings
from telephony.webrtc_endpoint import WebRtcEndpoint
from telephony.webrtc_sdp import read_offer
from tests.telephony.test_webrtc_sdp import OFFER


def endpoint() -> WebRtcEndpoint:
    def give_back(_audio: object) -> None:
        raise AssertionError("no audio was lent")

    return WebRtcEndpoint("abc", "webrtc:x", read_offer(OFFER), WebRtcSettings(), give_back, "about")


async def test_what_comes_before_the_answer_is_not_heard() -> None:
    call = endpoint()
    call.on_rtp(RtpPacket(payload_type=111))
    call.on_tick()
    stats = call.stats()
    assert (stats.codec, stats.rx_packets, call.queued_samples, call.flush()) == ("", 0, 0, 0)
    assert (call.call_id, call.remote, call.about) == ("abc", "webrtc:x", "about")
    call.hang_up()
    await call.live()


async def test_a_call_that_is_hung_up_before_it_connects_ends_at_once() -> None:
    call = endpoint()
    living = asyncio.ensure_future(call.live())
    await asyncio.sleep(0)
    call.hang_up(503, "full")
    await asyncio.wait_for(living, 2)
    events = [event async for event in call.events()]
    assert [event.kind for event in events] == [EndpointEventKind.ENDED]
    assert (events[0].code, events[0].reason, events[0].is_ours) == (503, "full", True)
    assert [frame async for frame in call.frames()] == []
    assert (await call.settled()) == events[0]


async def test_the_first_end_stands_and_reports_are_counted() -> None:
    call = endpoint()
    call.on_rtcp(RtcpRrPacket(1, [RtcpReceiverInfo(call._sent.ssrc, 128, 4, 0, 0, 0, 0)]))
    assert call.stats().tx_lost == 4 and call._sent.loss_percent == 50
    call.on_lost(is_clean=False)
    call.on_lost(is_clean=True)
    await call.live()
    (event,) = [event async for event in call.events()]
    assert (event.code, event.is_ours) == (408, False) and "lost" in event.reason
