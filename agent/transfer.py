"""A caller handed over to a person, with an outcome; who is not taken is the agent's again. Event loop only.

    blind       REFER (RFC 3515): the caller's own side calls the target; its NOTIFYs tell the outcome
    attended    we call the target, tell them the summary, and join the two calls on the bridge

Whatever goes wrong (the policy refuses, nobody takes the call, the REFER is not understood, no NOTIFY comes)
the music stops and the agent says that nobody is free: no caller is left in silence, none is hung up on. A
target that we have called is hung up on when the caller has gone. Every transfer passes the outbound policy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import structlog

from agent import metrics
from agent.clock import Now
from agent.hold_music import ComfortTone, HoldMusic
from agent.outbound import OutboundRefused
from agent.outbound_ledger import Grant
from agent.transfer_settings import TransferMode, TransferSettings
from telephony.audio import Pcm
from telephony.endpoint import EndpointEventKind, MediaEndpoint
from telephony.errors import CallRefused, TelephonyError

MAX_SUMMARY = 500

log = structlog.get_logger(__name__)


class TransferResult(StrEnum):
    """How a transfer ended; the label `result` of `offhook_transfers_total`."""

    COMPLETED = "completed"
    NOT_ALLOWED = "not_allowed"  # by the outbound policy
    REFUSED = "refused"  # the far end takes no REFER, or the target no call
    NOT_ANSWERED = "not_answered"
    CALLER_GONE = "caller_gone"
    FAILED = "failed"


TRYING = "trying"

for _result in TransferResult:  # a counter that appears with its first event hides it from rate()
    metrics.TRANSFERS.labels(_result.value)


@dataclass(frozen=True, slots=True)
class TransferOrder:
    """Who shall take a caller, and how."""

    to: str
    mode: TransferMode = "blind"
    summary: str = ""  # what the target should know
    trunk: str = ""  # by whose rules and account; empty: the call's own
    is_last: bool = False  # if nobody takes the caller, the call ends


class Desk(Protocol):
    """What a gateway does for its calls' transfers: `agent.transfer_desk.TransferDesk`."""

    settings: TransferSettings
    music: Pcm | None

    async def allow(self, order: TransferOrder) -> Grant:
        """The right to it. Raises OutboundRefused."""

    async def settle(self, grant: Grant, used_s: float) -> None:
        """The right is used up, or was not used."""

    async def consult(self, grant: Grant, summary: str) -> MediaEndpoint:
        """Call the target; once it has answered. Raises CallRefused, TelephonyError, TimeoutError."""

    async def speak(self, target: MediaEndpoint, summary: str) -> None:
        """Read it to the target; returns when they have heard it."""

    async def join(self, caller: MediaEndpoint, target: MediaEndpoint) -> None:
        """Let the two hear each other and not us. Raises TelephonyError."""


class Waiting(Protocol):
    """What a transfer needs of the conversation: `agent.duplex.Duplex`."""

    is_muted: bool
    music: HoldMusic | ComfortTone | None

    async def until_quiet(self) -> None:
        """Return when the agent has said what it had to say."""


@dataclass(slots=True)
class _Refer:
    """One REFER, as its NOTIFYs tell of it."""

    accepted: asyncio.Event
    final: asyncio.Future[int]


@dataclass(frozen=True, slots=True)
class Handover:
    """Caller and target are joined: what is left to do is to wait for the end."""

    target: MediaEndpoint
    grant: Grant
    began_s: float


class Transfers:
    """One call's transfers, one at a time."""

    def __init__(self, caller: MediaEndpoint, conversation: Waiting, desk: Desk, now: Now) -> None:
        self._caller, self._conversation, self._desk, self._now = caller, conversation, desk, now
        self._refer: _Refer | None = None
        self._is_late = False  # a REFER was given up, and may still succeed
        self._orders: asyncio.Queue[TransferOrder] = asyncio.Queue(1)
        self.is_active = False
        self._used_s = 0.0  # of a target that answered and was not joined
        self.handover: Handover | None = None

    def order(self, order: TransferOrder) -> bool:
        """Have it carried out; False while another is under way."""
        if self.is_active or self._orders.full():
            return False
        self._orders.put_nowait(order)
        return True

    async def outcomes(self) -> AsyncIterator[tuple[TransferOrder, str]]:
        """Each order with TRYING and then with its result, one after the other."""
        while True:
            order = await self._orders.get()
            yield order, TRYING
            yield order, await self.attempt(order)

    def on_notify(self, code: int) -> bool:
        """A NOTIFY about a REFER of ours; True if the caller is elsewhere after we had given up on it."""
        refer = self._refer
        if refer is None:
            return self._is_late and 200 <= code < 300
        refer.accepted.set()
        if code >= 200 and not refer.final.done():
            refer.final.set_result(code)
        return False

    @property
    def is_taken_over(self) -> bool:
        """Whether a far end that hangs up now does so because it follows our REFER."""
        return self._refer is not None and self._refer.accepted.is_set()

    async def attempt(self, order: TransferOrder) -> TransferResult:
        """Hand the caller over, or give them back to the agent; how it went."""
        self.is_active = True
        began_s, result = self._now(), TransferResult.CALLER_GONE  # if we are cancelled
        try:
            result = await self._attempt(order)
        finally:
            self.is_active = False
            metrics.TRANSFERS.labels(result.value).inc()
            metrics.TRANSFER_SECONDS.observe(self._now() - began_s)
            log.info("transfer_ended", mode=order.mode, result=result.value)
        return result

    async def _attempt(self, order: TransferOrder) -> TransferResult:
        try:
            grant = await self._desk.allow(order)
        except OutboundRefused:
            return TransferResult.NOT_ALLOWED
        conversation, music = self._conversation, self._desk.music
        try:
            await conversation.until_quiet()
            conversation.is_muted = True
            conversation.music = HoldMusic(music) if music is not None else ComfortTone()
            if order.mode == "attended":
                return await self._consult(grant, order.summary[:MAX_SUMMARY])
            return await self._blind(grant.route.uri)
        finally:
            if self.handover is None:
                conversation.is_muted, conversation.music = False, None
                used_s, self._used_s = self._used_s, 0.0
                await self._desk.settle(grant, used_s)

    async def _blind(self, uri: str) -> TransferResult:
        refer = self._refer = _Refer(asyncio.Event(), asyncio.get_running_loop().create_future())
        settings = self._desk.settings
        try:
            self._caller.refer(uri)
            async with asyncio.timeout(settings.answer_timeout_s):
                async with asyncio.timeout(settings.accept_timeout_s):
                    await refer.accepted.wait()
                code = await refer.final
        except TimeoutError:
            self._is_late = True
            return TransferResult.NOT_ANSWERED
        except TelephonyError as error:
            log.info("transfer_failed", cause=type(error).__name__)
            return TransferResult.FAILED
        finally:
            self._refer = None
        log.info("transfer_answered", code=code)
        return _result_of(code)

    async def _consult(self, grant: Grant, summary: str) -> TransferResult:
        target: MediaEndpoint | None = None
        answered_s = 0.0
        try:
            target = await self._desk.consult(grant, summary)
            answered_s = self._now()
            if summary and self._desk.settings.speak_summary:
                await self._desk.speak(target, summary)
            await self._desk.join(self._caller, target)
            self.handover = Handover(target, grant, answered_s)
        except TimeoutError:
            return TransferResult.NOT_ANSWERED
        except CallRefused as error:
            return _result_of(error.status)
        except TelephonyError as error:
            log.info("transfer_failed", cause=type(error).__name__)
            return TransferResult.FAILED
        finally:
            if target is not None and self.handover is None:
                target.hang_up()
                self._used_s = self._now() - answered_s
        return TransferResult.COMPLETED

    async def until_over(self, caller_gone: Callable[[], asyncio.Future[None]]) -> None:
        """After a handover: wait until either side hangs up, or the time is used up; then end the target."""
        handover = self.handover
        assert handover is not None
        target_gone = asyncio.ensure_future(_ended(handover.target))
        gone = caller_gone()
        left_s = max(0.0, handover.grant.max_s - (self._now() - handover.began_s))
        try:
            await asyncio.wait({target_gone, gone}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            handover.target.hang_up()
            target_gone.cancel()
            await self._desk.settle(handover.grant, self._now() - handover.began_s)


def _result_of(code: int) -> TransferResult:
    """What a final SIP status says."""
    if 200 <= code < 300:
        return TransferResult.COMPLETED
    return TransferResult.NOT_ANSWERED if code in (408, 480, 486, 487, 600) else TransferResult.REFUSED


async def _ended(endpoint: MediaEndpoint) -> None:
    async for event in endpoint.events():
        if event.kind is EndpointEventKind.ENDED:
            return
