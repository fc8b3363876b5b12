"""Sessions by their ids, in front of a gateway of offers that answers as told."""

import asyncio
import json
from typing import Any, cast

import pytest

from agent.errors import EndReason
from agent.live_calls import LiveCalls
from agent.live_errors import LiveError
from agent.session import Session
from agent.store import SessionRecord
from telephony.errors import BadOffer, OfferRefused
from tests.agent.test_live_session import Call
from tests.fakes import FakeEndpoint


class Offered:
    """A call whose decision is known."""

    call_id = "abc"

    def __init__(self, decision: str | Exception) -> None:
        self._decision = decision

    async def decided(self) -> str:
        if isinstance(self._decision, Exception):
            raise self._decision
        return self._decision


class Source:
    """A gateway of offers."""

    def __init__(self, decision: str | Exception) -> None:
        self.decision = decision
        self.offers: list[tuple[str, str]] = []
        self.hung_up: list[str] = []

    def offer(self, sdp: str, caller: str, about: object) -> Offered:
        self.offers.append((sdp, caller))
        if isinstance(self.decision, BadOffer):
            raise self.decision
        return Offered(self.decision)

    def hang_up(self, call_id: str) -> bool:
        self.hung_up.append(call_id)
        return call_id == "connecting"


BODY = json.dumps({"session": {"model": "own"}, "transport": {"type": "webrtc", "sdp": "v=0"}}).encode()


def calls(decision: str | Exception = "answer") -> tuple[LiveCalls, Source]:
    source = Source(decision)
    return LiveCalls(cast(Any, source), lambda: {"own"}, "anna", 60.0), source


async def test_an_offer_becomes_a_session() -> None:
    live, source = calls()
    assert await live.create(BODY, "192.0.2.7") == ("live_abc", "answer")
    assert source.offers == [("v=0", "webrtc:192.0.2.7")]


@pytest.mark.parametrize(
    ("decision", "status", "code", "param", "retry_after_s"),
    [
        (BadOffer("it is no SDP"), 400, "invalid_offer", "transport.sdp", None),
        (OfferRefused(503, "No free line", 5), 503, "no_free_slot", None, 5),
        (OfferRefused(500, "Agent is misconfigured"), 500, "internal_error", None, None),
    ],
)
async def test_a_refused_offer_is_told(
    decision: Exception, status: int, code: str, param: str | None, retry_after_s: int | None
) -> None:
    live, _ = calls(decision)
    with pytest.raises(LiveError) as caught:
        await live.create(BODY, "192.0.2.7")
    error = caught.value
    assert (error.status, error.code, error.param) == (status, code, param)
    assert error.retry_after_s == retry_after_s


async def test_before_a_worker_is_ready_nobody_is_kept_waiting() -> None:
    source = Source("answer")
    live = LiveCalls(cast(Any, source), set, "", 60.0)
    with pytest.raises(LiveError) as caught:
        await live.create(BODY, "192.0.2.7")
    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (503, "not_ready", 5)
    assert source.offers == []


async def test_a_connecting_call_is_hung_up_by_its_source() -> None:
    live, source = calls()
    assert live.hang_up("live_connecting") and not live.hang_up("live_nobody")
    assert not live.hang_up("connecting")
    assert source.hung_up == ["connecting", "nobody"]


async def test_calls_of_other_transports_are_not_ours() -> None:
    live, _ = calls()
    call = Call()
    cast(Any, call).record = SessionRecord("abc", "g", "inbound", "confirmed", 1)
    live.follow(cast(Session, call), FakeEndpoint())
    await asyncio.sleep(0)
    assert not live.hang_up("live_abc")
    call.hang_up(EndReason.CALLER_HUNG_UP)
