"""What becomes of live calls when a gateway stops: they go on, and the last of them are handed over.

    SIGTERM ---------- calls go on to their ends ---------|---- REFER to the target ----| hung up on
                                                    HAND_OVER_S before the end

The handover has its place within the drain time, since whoever stops us (systemd, Kubernetes) knows no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from agent.settings import Settings
from agent.transfer import TransferOrder

HAND_OVER_S = 20.0  # of the drain time, half of it at most: what is being said, and the target's ringing

log = structlog.get_logger(__name__)


class Live(Protocol):
    """A call that goes on: `agent.session.Session`."""

    @property
    def trunk(self) -> str:
        """By whose rules it may be handed over."""

    def transfer(self, order: TransferOrder) -> bool:
        """Begin to hand the caller over; False while another transfer is under way."""


async def drained(settings: Settings, is_idle: asyncio.Event, live: Callable[[], Iterable[Live]]) -> None:
    """Return when no call is left, or the drain time is over: whoever is left then is to be hung up on."""
    target, timeout_s = settings.drain_transfer_target, settings.drain_timeout_s
    hand_over_s = min(HAND_OVER_S, timeout_s / 2) if target is not None else 0.0
    if await _comes_within(is_idle, timeout_s - hand_over_s) or target is None:
        return
    calls = list(live())
    num = sum(call.transfer(TransferOrder(target, trunk=call.trunk, is_last=True)) for call in calls)
    log.info("drain_hands_over", num_calls=len(calls), num_orders=num)
    await _comes_within(is_idle, hand_over_s)


async def _comes_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
