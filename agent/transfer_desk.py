"""A gateway's side of transfers: the policy, the line to the target, the voice that tells them. Loop only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import numpy as np
import structlog

from agent.cascade.mouth import Synthesiser, sentences
from agent.hold_music import load_music
from agent.outbound import DEFAULT_TRUNK, OutboundRefused, Purpose, Refusal, Wish
from agent.outbound_ledger import Grant, OutboundLedger
from agent.transfer import TransferOrder
from agent.transfer_settings import TransferSettings
from telephony.audio import Pcm
from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ, MediaEndpoint
from telephony.errors import CallEnded, TelephonyError
from telephony.sip import SipEndpoint

LEAD_S = 0.6  # who has just picked up hears nothing before

log = structlog.get_logger(__name__)


class Lines(Protocol):
    """What places and joins calls: `telephony.sip.SipGateway`."""

    async def call(
        self, uri: str, timeout_s: float, shown: str = "", subject: str = "", trunk: str = ""
    ) -> SipEndpoint:
        """Call somebody by that trunk. Raises CallRefused, TelephonyError, TimeoutError."""

    async def join(self, one: SipEndpoint, other: SipEndpoint) -> None:
        """Let two calls hear each other. Raises CallEnded."""


class TransferDesk:
    """One for all calls of a gateway."""

    def __init__(
        self,
        settings: TransferSettings,
        ledger: OutboundLedger,
        lines: Lines,
        enter_out: Callable[[str, str], bool] = lambda call_id, trunk: True,
        leave: Callable[[str], None] = lambda call_id: None,
    ) -> None:
        """`enter_out` and `leave` are a `CallDoor`'s. Raises ConfigError for music that is none."""
        self.settings = settings
        self._enter_out, self._leave = enter_out, leave
        self.music: Pcm | None = load_music(settings.hold_music) if settings.hold_music else None
        self._ledger, self._lines = ledger, lines
        self._mouth = Synthesiser("flite")

    def check(self, order: TransferOrder) -> None:
        """Raise OutboundRefused if the order will be refused whatever has been called today."""
        self._ledger.policy.route(_wish(order))

    async def allow(self, order: TransferOrder) -> Grant:
        """Count it and allow it. Raises OutboundRefused."""
        grant = await self._ledger.take(_wish(order))
        if order.mode == "attended" and not self._enter_out(grant.grant_id, grant.route.account):
            await self._ledger.give_back(grant, 0)
            raise OutboundRefused(Refusal.TOO_MANY)
        return grant

    async def settle(self, grant: Grant, used_s: float) -> None:
        """It is over."""
        self._leave(grant.grant_id)
        await self._ledger.give_back(grant, used_s)

    async def consult(self, grant: Grant, summary: str) -> MediaEndpoint:
        """Call the target. Raises CallRefused, TelephonyError, TimeoutError."""
        route = grant.route
        subject = summary if self.settings.send_summary else ""
        timeout_s = self.settings.answer_timeout_s
        return await self._lines.call(route.uri, timeout_s, route.shown, subject, route.account)

    async def speak(self, target: MediaEndpoint, summary: str) -> None:
        """Read it out, in the target's own time. Raises CallEnded if they hang up meanwhile."""
        said = [await asyncio.to_thread(self._mouth.speak, sentence) for sentence in sentences(summary)]
        lead = np.zeros(round(LEAD_S * SAMPLE_RATE_HZ), np.float32)
        pcm = np.concatenate([lead, *(spoken.pcm for spoken in said)])
        frames = np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)
        num_sent = 0
        async for _ in target.frames():
            if num_sent < len(frames):
                target.send(np.asarray(frames[num_sent], np.float32))
                num_sent += 1
            elif not target.queued_samples:
                return
        raise CallEnded("the target has hung up")

    async def join(self, caller: MediaEndpoint, target: MediaEndpoint) -> None:
        """Let the two hear each other. Raises TelephonyError for a caller who is not on the telephone."""
        if not isinstance(caller, SipEndpoint) or not isinstance(target, SipEndpoint):
            raise TelephonyError("only telephone calls can be joined")
        await self._lines.join(caller, target)


def _wish(order: TransferOrder) -> Wish:
    trunk = order.trunk or DEFAULT_TRUNK
    return Wish(Purpose.TRANSFER, order.to, trunk, holds_line=order.mode == "attended")
