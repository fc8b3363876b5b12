import asyncio

import pytest

from telephony import sip
from telephony.endpoint import EndpointEventKind
from telephony.errors import CallEnded
from telephony.settings import SipSettings
from telephony.sip import SipGateway
from telephony.sip_call import CallLink
from telephony.sip_lines import SipLines, requested
from tests.telephony.test_sip import PeerProcess, invited, next_event, uri
from tests.telephony.test_sip_gate import OFFER, Sender, request


def test_what_is_asked_of_a_call_that_is_over_says_so() -> None:
    lines = SipLines(
        SipSettings(max_calls=1), lambda: CallLink(1, lambda event: None), lambda link, invite: True
    )
    assert lines.is_idle() and lines.num_calls == 0
    with pytest.raises(CallEnded):
        lines.act(7, lambda call: call.end(200))
    with pytest.raises(CallEnded):
        lines.answer(7)


@pytest.mark.loopback
async def test_without_a_free_port_the_caller_is_told_503() -> None:
    settings = SipSettings(port=0, max_calls=1, rtp_port_min=30_000, rtp_port_max=30_099, retry_after_s=9)
    async with SipGateway(settings) as gateway, PeerProcess() as peer, PeerProcess(rtp_port=32_000) as late:
        peer.tell(f"call {uri(gateway)}")
        endpoint = await (await invited(gateway)).answer()
        late.tell(f"call {uri(gateway)}")
        with pytest.raises(CallEnded, match="503"):
            await (await invited(gateway)).answer()
        refused = await late.hears("refused")
        assert (refused["refused"], refused["retry_after_s"]) == (503, 9)
        endpoint.hang_up()
        await next_event(endpoint, EndpointEventKind.ENDED)


@pytest.mark.parametrize(
    ("message", "uri"),
    [
        ("INVITE sip:a@b SIP/2.0\r\nVia: x\r\n", "sip:a@b"),
        ("INVITE\tsip:a@b\tSIP/2.0\r\nVia: x\r\n", "sip:a@b"),
        ("\r\n INVITE  sip:a@b  SIP/2.0\nVia: x\n", "sip:a@b"),
        ("INVITE\r\n", ""),
        ("", ""),
    ],
)
def test_the_request_uri_is_found_as_the_library_finds_it(message: str, uri: str) -> None:
    assert requested(message) == uri


@pytest.mark.loopback
async def test_no_invite_is_left_hanging_however_it_is_written_and_whatever_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = SipSettings(port=0, max_calls=1, rtp_port_min=30_100, rtp_port_max=30_199)
    invite = request("INVITE", "Content-Type: application/sdp\r\n", body=OFFER)
    async with SipGateway(settings) as gateway:
        sender = Sender("127.0.0.1", gateway.udp_port)
        sender.send(invite.replace(b" sip:order@127.0.0.1 ", b"\tsip:order@127.0.0.1\t"))
        call = await asyncio.wait_for(invited(gateway), 5)
        assert call.called == "sip:order@127.0.0.1"
        call.reject(486)

        def fail(*_: object) -> bool:
            raise ValueError

        monkeypatch.setattr(gateway._lines, "_offer", fail)
        answers = await sender.answers(
            request("INVITE", "Content-Type: application/sdp\r\n", body=OFFER), 0.5
        )
        assert any(answer.startswith("SIP/2.0 500") for answer in answers)
        async with asyncio.timeout(5):
            while gateway.counts().calls:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        sender.socket.close()


async def acked(sender: Sender, offer: str, call_id: str) -> str:
    """Call, and acknowledge the answer; its To."""
    port = sender.socket.getsockname()[1]
    invite = request("INVITE", "Content-Type: application/sdp\r\n", body=offer, call_id=call_id)
    sender.send(
        invite.replace(b"Contact: <sip:probe@127.0.0.1>", f"Contact: <sip:probe@127.0.0.1:{port}>".encode())
    )
    answered = next(one for one in await sender.answers(None, 0.5) if one.startswith("SIP/2.0 200"))
    to = next(line for line in answered.split("\r\n") if line.startswith("To:"))
    sender.send(request("ACK", to_tag=to.partition("tag=")[2], call_id=call_id))
    return to


@pytest.mark.loopback
async def test_who_begins_on_hold_and_stays_there_keeps_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip, "ANSWER_TIMEOUT_S", 1.0)
    settings = SipSettings(port=0, max_calls=1, rtp_port_min=30_200, rtp_port_max=30_299)
    async with SipGateway(settings) as gateway:
        sender = Sender("127.0.0.1", gateway.udp_port)
        calling = asyncio.create_task(acked(sender, OFFER + "a=inactive\r\n", "held"))
        with pytest.raises(CallEnded, match="no sound could flow in time"):
            await (await asyncio.wait_for(invited(gateway), 5)).answer()
        await calling
        assert (await sender.answers())[-1].startswith("BYE ")
        sender.socket.close()


@pytest.mark.loopback
async def test_a_stream_that_was_declined_may_stand_before_the_one_in_use() -> None:
    settings = SipSettings(port=0, max_calls=1, rtp_port_min=30_300, rtp_port_max=30_399)
    offer = OFFER.replace("m=audio", "m=audio 0 RTP/AVP 0\r\nm=audio")
    async with SipGateway(settings) as gateway:
        sender = Sender("127.0.0.1", gateway.udp_port)
        calling = asyncio.create_task(acked(sender, offer, "two"))
        endpoint = await asyncio.wait_for((await invited(gateway)).answer(), 5)
        await calling
        assert endpoint.stats().codec == "PCMU/8000"
        sender.socket.close()
