"""A gateway's side of transfers: policy and counters in a real Redis, a real voice, fake lines."""

import asyncio
from typing import Any, cast

import numpy as np
import pytest

from agent.outbound import OutboundPolicy, OutboundRefused, OutboundSettings, Usage
from agent.outbound_ledger import OutboundLedger
from agent.redis_server import private_redis
from agent.transfer import TransferOrder
from agent.transfer_desk import LEAD_S, TransferDesk
from agent.transfer_settings import TransferSettings
from telephony.endpoint import EndpointEventKind
from telephony.errors import CallEnded, TelephonyError
from tests.fakes import FakeEndpoint, settle

DESK = "sip:desk@192.0.2.7"
RULES = OutboundSettings(caller_ids=("+49301110",), max_duration_s=60)


class Lines:
    """Keeps what was dialled."""

    def __init__(self) -> None:
        self.dialled: list[tuple[str, float, str, str, str]] = []

    async def call(
        self, uri: str, timeout_s: float, shown: str = "", subject: str = "", trunk: str = ""
    ) -> Any:
        self.dialled.append((uri, timeout_s, shown, subject, trunk))
        return FakeEndpoint()


def desk_of(ledger: Any, lines: Lines, **settings: object) -> TransferDesk:
    return TransferDesk(TransferSettings.model_validate(settings), ledger, cast(Any, lines))


@pytest.mark.redis
async def test_only_what_the_policy_allows_is_called_and_only_consultations_hold_a_line() -> None:
    lines = Lines()
    async with (
        private_redis() as server,
        OutboundLedger(server.url, OutboundPolicy(RULES, lambda: (DESK,))) as ledger,
    ):
        desk = desk_of(ledger, lines, send_summary=True, answer_timeout_s=7)
        for to in ("sip:evil@192.0.2.66", "+1900555"):
            with pytest.raises(OutboundRefused):
                desk.check(TransferOrder(to))
            with pytest.raises(OutboundRefused):
                await desk.allow(TransferOrder(to, "attended"))
        await desk.allow(TransferOrder(DESK))
        grant = await desk.allow(TransferOrder(DESK, "attended", trunk="carrier"))
        assert await ledger.usage("default") == Usage(2, 1, 2, 60), "a trunk without rules has the default's"
        await desk.consult(grant, "A latte.")
        assert lines.dialled == [(DESK, 7, "sip:+49301110@192.0.2.7", "A latte.", "carrier")]
        await desk.settle(grant, 12)
        assert await ledger.usage("default") == Usage(2, 0, 2, 12)


@pytest.mark.redis
async def test_a_target_is_one_of_its_trunks_calls_until_it_is_over() -> None:
    free = {"carrier": 1}

    def enter_out(call_id: str, trunk: str) -> bool:
        free[trunk] -= 1
        return free[trunk] >= 0

    rules = OutboundPolicy(RULES, lambda: (DESK,))
    async with private_redis() as server, OutboundLedger(server.url, rules) as ledger:
        left: list[str] = []
        desk = TransferDesk(TransferSettings(), ledger, cast(Any, Lines()), enter_out, left.append)
        order = TransferOrder(DESK, "attended", trunk="carrier")
        grant = await desk.allow(order)
        with pytest.raises(OutboundRefused, match="CONCURRENT"):
            await desk.allow(order)
        assert (await ledger.usage("default")).live == 1, "who was refused gave back what was counted"
        await desk.settle(grant, 1)
        assert grant.grant_id in left


async def test_the_summary_is_read_at_the_targets_pace_and_heard_to_its_end() -> None:
    desk, target = desk_of(None, Lines()), FakeEndpoint()
    speaking = asyncio.create_task(desk.speak(target, "A caller asks for you. It is about a latte."))
    async with asyncio.timeout(20):
        while not speaking.done():
            target.frame()
            await settle()
            await asyncio.sleep(0.001)
    heard = target.heard_by_caller
    assert not heard[: round(LEAD_S * 24_000)].any()
    assert np.abs(heard).max() > 0.1 and np.count_nonzero(np.abs(heard) > 0.001) > 1.5 * 24_000
    assert target.queued_samples == 0


async def test_a_target_who_hangs_up_on_the_summary_is_no_target() -> None:
    desk, target = desk_of(None, Lines()), FakeEndpoint()
    speaking = asyncio.create_task(desk.speak(target, "Hello."))
    target.frame()
    target.happen(EndpointEventKind.ENDED, code=200)
    with pytest.raises(CallEnded):
        await asyncio.wait_for(speaking, 20)


async def test_a_browser_cannot_be_joined() -> None:
    with pytest.raises(TelephonyError, match="only telephone calls"):
        await desk_of(None, Lines()).join(FakeEndpoint(), FakeEndpoint())
