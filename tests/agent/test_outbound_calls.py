"""Calls that we place, through a gateway with a real Redis, on fake lines."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from agent import metrics
from agent.errors import EndReason, NoFreeSlot
from agent.frame_phase import BridgeClock
from agent.gateway import Gateway
from agent.outbound import OutboundPolicy, OutboundRefused, OutboundSettings, Usage
from agent.outbound_calls import DialOrder
from agent.outbound_ledger import OutboundLedger
from agent.redis_server import private_redis
from agent.settings import Settings
from agent.standin_tokens import StandInTokens
from telephony.endpoint import EndpointEventKind
from telephony.errors import CallRefused, TelephonyError
from tests.agent.test_gateway import Leases, Pool, Sip, TickedSlot, a_slot
from tests.fakes import FakeEndpoint, settle

pytestmark = pytest.mark.redis

TO = "+4930123456"
RULES = OutboundSettings(
    enabled=True,
    host="carrier.example",
    prefixes=("+4930",),
    caller_ids=("+49301110",),
    max_concurrent=1,
    max_duration_s=600,
)


class Lines(Sip):
    """A SIP side that is told how each call of ours comes out; it rings until then."""

    def __init__(self) -> None:
        super().__init__()
        self.dialled: list[tuple[str, str, str]] = []
        self.outcome: asyncio.Future[FakeEndpoint] = asyncio.get_running_loop().create_future()
        self.num_given_up = 0

    async def call(self, uri: str, timeout_s: float, shown: str = "", *, trunk: str = "") -> FakeEndpoint:
        self.dialled.append((uri, shown, trunk))
        try:
            return await self.outcome
        except asyncio.CancelledError:
            self.num_given_up += 1
            raise


class Scene:
    """A gateway with one slot that may call."""

    def __init__(self, ledger: OutboundLedger, rules: OutboundSettings) -> None:
        self.sip, self.slots, self.store, self.ledger = Lines(), [a_slot()], Leases(), ledger
        self.slot: TickedSlot = self.slots[0]
        parts = cast(tuple[Any, Any, Any], (self.sip, Pool({"w0": self.slots}), self.store))
        settings = Settings(outbound=rules)
        self.gateway = Gateway(settings, *parts, StandInTokens(), BridgeClock(), ledger=ledger)

    async def usage(self) -> Usage:
        return await self.ledger.usage("default")

    async def is_over(self, reason: EndReason) -> None:
        """Wait until the call has ended so, and everything is given back."""
        async with asyncio.timeout(5):
            while not self.gateway.ended() or (await self.usage()).live:  # noqa: ASYNC110 - Redis tells nothing
                await asyncio.sleep(0.01)
        ((record, _),) = self.gateway.ended()
        assert (record.end_reason, record.direction) == (reason, "outbound")
        assert self.gateway.calls() == [] and self.store.held == [] and self.slot.num_releases >= 1


@asynccontextmanager
async def scene(rules: OutboundSettings = RULES) -> AsyncIterator[Scene]:
    stop, stop_now = asyncio.Event(), asyncio.Event()
    async with private_redis() as server, OutboundLedger(server.url, OutboundPolicy(rules)) as ledger:
        scene = Scene(ledger, rules)
        serving = asyncio.create_task(scene.gateway.serve(stop, stop_now))
        await settle()
        yield scene
        stop.set()
        stop_now.set()
        await asyncio.wait_for(serving, 5)


def count(reason: EndReason) -> float:
    labels = {"direction": "outbound", "transport": "sip", "result": reason.value}
    return metrics.REGISTRY.get_sample_value("offhook_calls_total", labels) or 0.0


async def test_a_call_is_dialled_with_our_number_taken_talked_through_and_counted() -> None:
    endpoint, before = FakeEndpoint(), count(EndReason.CALLER_HUNG_UP)
    async with scene() as here:
        record = await here.gateway.dial(DialOrder(TO, "default", greeting="two words"))
        assert (record.state, record.direction) == ("calling", "outbound")
        await settle()
        assert here.sip.dialled == [(f"sip:{TO}@carrier.example", "sip:+49301110@carrier.example", "")]
        assert [call.state for call in here.gateway.calls()] == ["calling"]
        assert (await here.usage()) == Usage(1, 1, 1, 600)
        here.sip.outcome.set_result(endpoint)
        await settle()
        assert [call.state for call in here.gateway.calls()] == ["confirmed"]
        assert [len(tokens) for tokens in here.slot.said] == [2]
        endpoint.happen(EndpointEventKind.ENDED, code=200)
        await here.is_over(EndReason.CALLER_HUNG_UP)
        assert 0 < (await here.usage()).seconds_today < 600
    assert count(EndReason.CALLER_HUNG_UP) == before + 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CallRefused(486, "Busy Here"), EndReason.NOT_ANSWERED),
        (CallRefused(403, "Forbidden"), EndReason.CALL_REFUSED),
        (TimeoutError(), EndReason.NOT_ANSWERED),
        (TelephonyError("no route"), EndReason.TRUNK_FAILED),
        (ValueError("bug"), EndReason.INTERNAL_ERROR),
    ],
)
async def test_a_call_that_is_not_taken_costs_no_minute(error: Exception, reason: EndReason) -> None:
    async with scene() as here:
        await here.gateway.dial(DialOrder(TO, "default"))
        here.sip.outcome.set_exception(error)
        await here.is_over(reason)
        assert await here.usage() == Usage(1, 0, 1, 0)


async def test_a_ringing_call_is_given_up_by_its_id_and_by_a_stop() -> None:
    async with scene() as here:
        record = await here.gateway.dial(DialOrder(TO, "default"))
        await settle()
        assert here.gateway.hang_up(record.call_id) and here.sip.num_given_up == 0
        await here.is_over(EndReason.OPERATOR_HUNG_UP)
        assert here.sip.num_given_up == 1
        here.slots.append(a_slot())
        await here.gateway.dial(DialOrder(TO, "default"))
        await settle()
    assert here.sip.num_given_up == 2


async def test_a_call_that_may_not_be_or_finds_no_slot_leaves_nothing() -> None:
    async with scene() as here:
        with pytest.raises(OutboundRefused):
            await here.gateway.dial(DialOrder("+1900", "default"))
        here.slots.clear()
        with pytest.raises(NoFreeSlot):
            await here.gateway.dial(DialOrder(TO, "default"))
        assert await here.usage() == Usage(1, 0, 1, 0)
        assert here.sip.dialled == [] and here.store.held == [] and here.gateway.calls() == []


async def test_a_trunk_with_all_its_calls_is_not_called_by_and_nothing_is_booked() -> None:
    async with scene() as here:
        assert here.gateway._dialler is not None
        here.gateway._dialler._enter_out = lambda call_id, trunk: False
        with pytest.raises(OutboundRefused, match="max_calls"):
            await here.gateway.dial(DialOrder(TO, "default"))
        assert await here.usage() == Usage(1, 0, 1, 0) and here.store.held == []


async def test_a_call_lasts_no_longer_than_it_is_allowed_to() -> None:
    async with scene(RULES.model_copy(update={"max_duration_s": 0.5})) as here:
        await here.gateway.dial(DialOrder(TO, "default"))
        here.sip.outcome.set_result(FakeEndpoint())
        await here.is_over(EndReason.TOO_LONG)
