import pytest

from telephony.endpoint import EndpointEventKind
from telephony.errors import CallEnded
from telephony.settings import SipSettings
from telephony.sip import SipGateway
from telephony.sip_call import CallLink
from telephony.sip_lines import SipLines
from tests.telephony.test_sip import PeerProcess, invited, next_event, uri


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
