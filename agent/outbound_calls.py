"""Calls that we place: allowed, given a slot, dialled, and then sessions like all others. Event loop only.

    policy and counters -> lease and claim (worker) -> INVITE -> answer -> Session -> everything given back

The slot is claimed before the far end rings: who picks up hears the agent at once. What arrives before the
answer (early media: announcements, a ringing tone, whoever wants to be billed by none) is never played to the
model, recorded, or answered with sound.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import structlog
from structlog.contextvars import bound_contextvars

from agent import clock, metrics
from agent.admission import Admission
from agent.errors import EndReason, NoFreeSlot
from agent.outbound import OutboundRefused, Purpose, Refusal, Wish
from agent.outbound_ledger import Grant, OutboundLedger
from agent.slot import Slot
from agent.store import SessionRecord
from telephony.call import CallState
from telephony.endpoint import MediaEndpoint
from telephony.errors import CallRefused, TelephonyError

NOT_ANSWERED = frozenset({408, 480, 486, 487, 600})  # nobody there, or busy

log = structlog.get_logger(__name__)

OnMachine = Literal["talk", "hang_up"]


@dataclass(frozen=True, slots=True)
class DialOrder:
    """What somebody wants by POST /v1/calls."""

    to: str
    trunk: str
    caller_id: str = ""
    greeting: str | None = None  # in place of the configured one
    on_machine: OnMachine = "talk"  # what to do when an answering machine takes the call


class Lines(Protocol):
    """What places calls: `telephony.sip.SipGateway`."""

    async def call(self, uri: str, timeout_s: float, shown: str = "", *, trunk: str = "") -> MediaEndpoint:
        """Call somebody by that trunk, showing that number.

        Raises CallRefused, TelephonyError, TimeoutError.
        """


@dataclass(frozen=True, slots=True)
class Answered:
    """A call of ours that was taken."""

    order: DialOrder
    max_s: float


class Dialler:
    """A gateway's own calls."""

    def __init__(
        self,
        gateway_id: str,
        lines: Lines,
        ledger: OutboundLedger,
        admission: Admission,
        talk: Callable[[SessionRecord, MediaEndpoint, Slot, Answered], Awaitable[None]],
        note: Callable[[SessionRecord], None],
        answer_timeout_s: float,
        enter_out: Callable[[str, str], bool],
        leave: Callable[[str], None],
    ) -> None:
        """`talk` lives a taken call's life; `note` is told of every state before.

        `enter_out` and `leave` are a `CallDoor`'s.
        """
        self._enter_out, self._leave = enter_out, leave
        self._gateway_id, self._lines, self._ledger = gateway_id, lines, ledger
        self._admission, self._talk, self._note = admission, talk, note
        self._answer_timeout_s = answer_timeout_s
        self._dialling: dict[str, tuple[SessionRecord, asyncio.Task[MediaEndpoint]]] = {}

    def calls(self) -> Sequence[SessionRecord]:
        """Those that nobody has taken yet."""
        return [record for record, _ in self._dialling.values()]

    def hang_up(self, call_id: str) -> bool:
        """Give up a call that nobody has taken yet; False if there is none of that id."""
        found = self._dialling.get(call_id)
        if found is not None:
            found[1].cancel()
        return found is not None

    def hang_up_all(self) -> None:
        """Give up all of them."""
        for _, dialled in self._dialling.values():
            dialled.cancel()

    async def start(self, group: asyncio.TaskGroup, order: DialOrder) -> SessionRecord:
        """Begin to call; the rest goes on in `group`.

        Raises OutboundRefused, NoFreeSlot, PromptRefused.
        """
        call_id = secrets.token_hex(8)
        grant = await self._ledger.take(Wish(Purpose.DIAL, order.to, order.trunk, order.caller_id))
        slot: Slot | None = None
        try:
            if not self._enter_out(call_id, grant.route.account):
                raise OutboundRefused(Refusal.TOO_MANY)
            slot = await self._admission.grant(call_id)
            if slot is None:
                raise NoFreeSlot("every slot is taken; call again in a few seconds")
            record = SessionRecord(
                call_id,
                self._gateway_id,
                "outbound",
                CallState.CALLING.value,
                time.time_ns() // 1_000_000,
                caller=grant.route.uri,
                worker_id=slot.worker_id,
            )
            dialled = asyncio.ensure_future(self._dial(grant))  # not the group's: its failure is no fault
            self._dialling[call_id] = (record, dialled)
            group.create_task(self._live(record, dialled, order, grant, slot))
        except BaseException:
            if slot is not None:
                await self._admission.give_back(call_id, slot)
            self._leave(call_id)
            await self._ledger.give_back(grant, 0)
            raise
        self._note(record)
        return record

    async def _dial(self, grant: Grant) -> MediaEndpoint:
        route = grant.route
        return await self._lines.call(route.uri, self._answer_timeout_s, route.shown, trunk=route.account)

    async def _live(
        self,
        record: SessionRecord,
        dialled: asyncio.Task[MediaEndpoint],
        order: DialOrder,
        grant: Grant,
        slot: Slot,
    ) -> None:
        """One call to its end; never raises for one call's sake."""
        answered_s: float | None = None
        with bound_contextvars(call_id=record.call_id):
            log.info("call_dialled", trunk=order.trunk, pii_callee=record.caller)
            try:
                endpoint = await self._taken(record, dialled)
                if endpoint is None:
                    return
                answered_s = clock.now()
                try:
                    await self._talk(record, endpoint, slot, Answered(order, grant.max_s))
                finally:
                    endpoint.hang_up()
            except Exception:
                log.exception("call_failed")
            finally:
                self._dialling.pop(record.call_id, None)
                self._leave(record.call_id)
                await self._admission.give_back(record.call_id, slot)
                used_s = 0.0 if answered_s is None else clock.now() - answered_s
                await self._ledger.give_back(grant, used_s)

    async def _taken(
        self, record: SessionRecord, dialled: asyncio.Task[MediaEndpoint]
    ) -> MediaEndpoint | None:
        """The call once it is answered; None, with the record closed, if it is not."""
        try:
            await asyncio.wait({dialled})
        finally:
            self._dialling.pop(record.call_id, None)
            if not dialled.done():
                dialled.cancel()
        reason = _why_not(dialled)
        if reason is None:
            return dialled.result()
        metrics.CALLS.labels("outbound", "sip", reason.value).inc()
        log.info("call_not_taken", reason=reason.value)
        self._note(
            replace(
                record,
                state=CallState.DISCONNECTED.value,
                ended_at_ms=time.time_ns() // 1_000_000,
                end_reason=reason,
            )
        )
        return None


def _why_not(dialled: asyncio.Task[MediaEndpoint]) -> EndReason | None:
    """Why a call was not taken; None if it was."""
    if dialled.cancelled():
        return EndReason.OPERATOR_HUNG_UP
    error = dialled.exception()
    if error is None:
        return None
    if isinstance(error, TimeoutError):
        return EndReason.NOT_ANSWERED
    if isinstance(error, CallRefused):
        return EndReason.NOT_ANSWERED if error.status in NOT_ANSWERED else EndReason.CALL_REFUSED
    if isinstance(error, TelephonyError):
        return EndReason.TRUNK_FAILED
    log.error("dial_failed", cause=type(error).__name__)
    return EndReason.INTERNAL_ERROR
