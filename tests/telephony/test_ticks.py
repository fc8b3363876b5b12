"""Whoever follows the clock is told of its ticks, and no longer than they want."""

import asyncio

from telephony.sip import SipGateway
from tests.telephony.test_sip_thread import SETTINGS


async def test_subscribers_are_told_until_they_leave() -> None:
    async with SipGateway(SETTINGS) as gateway:
        told: dict[str, list[int]] = {"one": [], "two": []}

        def one() -> None:
            told["one"].append(gateway.ticks.tick)
            if len(told["one"]) == 3:
                gateway.ticks.unsubscribe(one)

        def two() -> None:
            told["two"].append(gateway.ticks.tick)

        gateway.ticks.subscribe(one)
        gateway.ticks.subscribe(two)
        await asyncio.sleep(0.3)
        gateway.ticks.unsubscribe(two)
        gateway.ticks.unsubscribe(two)
        seen = len(told["two"])
        await asyncio.sleep(0.05)
        assert len(told["one"]) == 3 and len(told["two"]) == seen >= 5
        assert told["two"] == sorted(set(told["two"]))
        assert gateway.tick == gateway.ticks.tick and gateway.tick_at_s > 0
