"""What becomes of live calls while a gateway drains: the order of things, on the real clock in small."""

import asyncio
import time

import pytest

from agent.drain import drained
from agent.settings import Settings
from agent.transfer import TransferOrder

DESK = "sip:desk@192.0.2.7"


class Call:
    """One that goes on; `is_busy`: it is being handed over already."""

    trunk = "carrier"

    def __init__(self, *, is_busy: bool = False) -> None:
        self.is_busy = is_busy
        self.orders: list[tuple[float, TransferOrder]] = []

    def transfer(self, order: TransferOrder) -> bool:
        self.orders.append((time.monotonic(), order))
        return not self.is_busy


def settings(drain_s: float, target: str | None = DESK) -> Settings:
    return Settings(drain_timeout_s=drain_s, drain_transfer_target=target)


async def test_nobody_is_handed_over_while_calls_end_by_themselves() -> None:
    call, is_idle = Call(), asyncio.Event()
    asyncio.get_running_loop().call_later(0.02, is_idle.set)
    await asyncio.wait_for(drained(settings(60.0), is_idle, lambda: [call]), 1)
    assert call.orders == []


async def test_who_is_left_in_the_second_half_is_handed_over_once_and_for_good() -> None:
    calls, is_idle, began_s = [Call(), Call(is_busy=True)], asyncio.Event(), time.monotonic()
    await drained(settings(0.2), is_idle, lambda: calls)
    assert time.monotonic() - began_s >= 0.2 - 0.01, "whoever is left has the whole time"
    for call in calls:
        ((at_s, order),) = call.orders
        assert order == TransferOrder(DESK, trunk="carrier", is_last=True) and order.mode == "blind"
        assert at_s - began_s >= 0.1 - 0.01


async def test_the_end_of_the_last_call_ends_the_handover() -> None:
    is_idle = asyncio.Event()
    asyncio.get_running_loop().call_later(0.6, is_idle.set)
    await asyncio.wait_for(drained(settings(1.0), is_idle, lambda: [Call()]), 0.95)


@pytest.mark.parametrize("drain_s", [0.0, 0.05])
async def test_without_a_target_nobody_is_referred(drain_s: float) -> None:
    call = Call()
    await asyncio.wait_for(drained(settings(drain_s, None), asyncio.Event(), lambda: [call]), 1)
    assert call.orders == []
