"""A gateway takes calls, gives each a slot of a worker, and stops without leaving anything behind.

    INVITE or offer -> lease (Redis) -> claim (worker) -> answer -> Session -> everything given back

A call that finds no slot hears 503 with Retry-After and has not rung. One event loop, one TaskGroup per
session.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray
from structlog.contextvars import bound_contextvars

from agent import clock, metrics
from agent.admission import Admission
from agent.call_door import CallDoor, refused
from agent.caller_hash import caller_hash
from agent.consent import ConsentRules
from agent.dial_plan import CallPlan, DialPlan
from agent.dial_plan_watch import DialPlanBook
from agent.drain import drained
from agent.duplex import ModelSlot, Pcm, Tokens
from agent.errors import EndReason, NoFreeSlot
from agent.frame_phase import BridgeClock
from agent.gate_metrics import GateMetrics
from agent.gateway_health import GatewayFacts, GatewayHealth, Readiness, gateway_health, readiness
from agent.live_calls import LiveCalls
from agent.live_view import LiveCall
from agent.machine_detection import MachineDetector
from agent.outbound import DEFAULT_TRUNK, OutboundRefused, Refusal
from agent.outbound_calls import Answered, Dialler, DialOrder
from agent.outbound_ledger import OutboundLedger
from agent.pool import WorkerPool
from agent.recording import Recorder
from agent.recordings_command import keyring
from agent.retention import keep_purging
from agent.session import Session
from agent.session_parts import Parts
from agent.settings import Settings
from agent.slot import PromptRefused, Slot
from agent.store import SessionRecord, Store
from agent.transfer import TransferOrder
from agent.transfer_desk import TransferDesk
from agent.trunk_metrics import forget_registrations
from agent.wire import DEFAULT_PROFILE
from model.control import CallProfile
from telephony.call import CallState
from telephony.endpoint import IncomingCall, MediaEndpoint
from telephony.errors import CallEnded
from telephony.sip import SipGateway

LOOK_S = 0.2
KEPT_ENDED = 20  # calls that the console still lists

log = structlog.get_logger(__name__)


class CallSource(Protocol):
    """Where calls come from: `SipGateway`, `WebRtcGateway`."""

    def incoming(self) -> AsyncIterator[IncomingCall]:
        """Every new caller, until it stops."""


class Gateway:
    """Everything one gateway does once its parts are up; the control API's directory."""

    def __init__(
        self,
        settings: Settings,
        sip: SipGateway,
        pool: WorkerPool,
        store: Store,
        tokens: Tokens,
        bridge_clock: BridgeClock,
        profile: CallProfile = DEFAULT_PROFILE,
        live: LiveCalls | None = None,
        salt: bytes = b"",
        plans: DialPlanBook | None = None,
        ledger: OutboundLedger | None = None,
    ) -> None:
        """`salt` is for the hashes by which recordings find their callers.

        Without `plans` every call has `profile` and what the settings say. Without a `ledger` no call leaves.
        """
        self._settings, self._live, self._salt = settings, live, salt
        self._admission = Admission(pool, store, profile)
        self._plans = plans
        self._plain = CallPlan("", "", settings.agent, profile, settings.call)
        self._door = CallDoor(settings, self._plain, plans)
        self._sip, self._pool, self._store, self._tokens = sip, pool, store, tokens
        self._bridge_clock = bridge_clock
        self._gate_metrics = GateMetrics()
        self._gateway_id = f"gw-{secrets.token_hex(3)}"
        self._keys = keyring(settings.recording)
        rules = settings.recording
        self._consent = ConsentRules(rules.announcement, rules.opt_out_digit, rules.opt_out_window_s)
        self._ledger = ledger
        self._desk = None if ledger is None else self._make_desk(ledger)
        self._dialler = None if ledger is None else self._make_dialler(ledger)
        self._group: asyncio.TaskGroup | None = None  # while we serve
        self._sessions: dict[str, Session] = {}
        self._ended: deque[tuple[SessionRecord, str | None]] = deque(maxlen=KEPT_ENDED)
        self._started_at_ms = time.time_ns() // 1_000_000
        self._is_stopping = False
        self._is_ending = False  # the drain time is over
        self._num_handled = 0  # calls that are being decided or are live
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    def _make_desk(self, ledger: OutboundLedger) -> TransferDesk:
        door = self._door
        return TransferDesk(self._settings.transfer, ledger, self._sip, door.enter_out, door.leave)

    def _make_dialler(self, ledger: OutboundLedger) -> Dialler:
        timeout_s = self._settings.outbound.answer_timeout_s
        return Dialler(
            self._gateway_id,
            self._sip,
            ledger,
            self._admission,
            self._talk_out,
            self._note,
            timeout_s,
            self._door.enter_out,
            self._door.leave,
        )

    # ---- for the control API ----

    def readiness(self) -> Readiness:
        """Whether a call could be taken now."""
        return readiness(self._pool, is_stopping=self._is_stopping, is_redis_up=self._store.is_up)

    def calls(self) -> Sequence[SessionRecord]:
        """The live calls."""
        dialling = self._dialler.calls() if self._dialler is not None else []
        return [*(session.record for session in self._sessions.values()), *dialling]

    def live(self) -> Sequence[LiveCall]:
        """The live calls, with what a watcher sees of them."""
        return [session.live() for session in self._sessions.values()]

    def ended(self) -> Sequence[tuple[SessionRecord, str | None]]:
        """The latest calls that are over, and their recordings, the oldest first."""
        return list(self._ended)

    def health(self) -> GatewayHealth:
        """How this gateway is."""
        about = GatewayFacts(self._gateway_id, self._started_at_ms, self.readiness(), self._store.is_up)
        return gateway_health(about, self._settings.sip, self._pool, self._sip)

    async def dial(self, order: DialOrder) -> SessionRecord:
        """Begin to call somebody. Raises OutboundRefused, NoFreeSlot, PromptRefused."""
        if self._dialler is None:
            raise OutboundRefused(Refusal.OFF)
        if self._group is None or self._is_stopping:
            raise NoFreeSlot("this gateway is stopping, or has not begun")
        self._num_handled += 1
        self._is_idle.clear()
        try:
            return await self._dialler.start(self._group, order)
        finally:
            self._num_handled -= 1
            self._note_idle()

    def transfer(self, call_id: str, order: TransferOrder) -> bool | None:
        """Begin to hand a live call's caller over; None: no such call, False: another is under way.

        Raises OutboundRefused for a target that is never allowed.
        """
        session = self._sessions.get(call_id)
        if session is None:
            return None
        if self._desk is None:
            raise OutboundRefused(Refusal.OFF)
        order = replace(order, trunk=order.trunk or session.trunk)
        self._desk.check(order)
        return session.transfer(order)

    def _note(self, record: SessionRecord) -> None:
        """A call of ours that nobody has taken yet, or that nobody took."""
        self._store.save(record)
        if record.end_reason is not None:
            self._ended.append((record, None))
            self._note_idle()

    def _note_idle(self) -> None:
        if not self._num_handled and not self.calls():
            self._is_idle.set()

    def hang_up(self, call_id: str) -> bool:
        """Begin to end a live call for the operator."""
        if self._dialler is not None and self._dialler.hang_up(call_id):
            return True
        session = self._sessions.get(call_id)
        if session is not None:
            session.hang_up(EndReason.OPERATOR_HUNG_UP)
        return session is not None

    async def say(self, call_id: str, text: str) -> bool | None:
        """Let a live call's agent say this; None: no such call, False: no model answers it just now."""
        session = self._sessions.get(call_id)
        return None if session is None else await session.say(text)

    async def silence(self, call_id: str, seconds: float) -> bool | None:
        """Keep a live call's agent silent for so long; None and False as for `say`."""
        session = self._sessions.get(call_id)
        return None if session is None else await session.silence(seconds)

    # ---- calls ----

    async def serve(self, stop: asyncio.Event, stop_now: asyncio.Event) -> None:
        """Take calls until `stop`; then live ones may go on for the drain time, or until `stop_now`."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            jobs = [self._take_calls(group, self._sip), self._look_around(), self._end_calls_after(stop_now)]
            if self._plans is not None:
                jobs.append(self._plans.watch(self._apply_plan))
            recording = self._settings.recording
            if recording.folder is not None and recording.keep_days is not None:
                jobs.append(keep_purging(recording.folder, recording.keep_days))
            if self._live is not None:
                jobs.append(self._take_calls(group, self._live.source))
            tasks = [group.create_task(job) for job in jobs]
            await stop.wait()
            self._is_stopping = True
            self._sip.drain()
            metrics.DRAINING.set(1)
            log.info("gateway_stopping", num_calls=len(self._sessions))
            await drained(self._settings, self._is_idle, self._transferable)
            for task in tasks:
                task.cancel()
            self._end_calls()

    def _transferable(self) -> list[Session]:
        """Live calls that could go on with somebody else; a browser knows no REFER."""
        return [session for session in self._sessions.values() if session.record.transport == "sip"]

    async def _apply_plan(self, plan: DialPlan) -> None:
        """Have the SIP side follow a new plan; calls that live keep the one they began with."""
        await self._sip.set_trunks(plan.trunks)
        forget_registrations(plan)

    async def _end_calls_after(self, stop_now: asyncio.Event) -> None:
        await stop_now.wait()
        self._end_calls()

    def _end_calls(self) -> None:
        self._is_ending = True
        for session in self._sessions.values():
            session.hang_up(EndReason.SHUTTING_DOWN)
        if self._dialler is not None:
            self._dialler.hang_up_all()
        if self._live is not None:
            self._live.source.refuse_all()

    async def _take_calls(self, group: asyncio.TaskGroup, source: CallSource) -> None:
        async for invite in source.incoming():
            group.create_task(self._handle(invite))

    async def _look_around(self) -> None:
        """Keep what calls depend on up to date: whether we are full, and where the bridge's clock ticks."""
        while True:
            self._bridge_clock.note(self._sip.tick, self._sip.tick_at_s)
            self._sip.set_full(self._is_stopping or not self._pool.num_slots_free)
            self._gate_metrics.observe(self._sip.counts().gate)
            await asyncio.sleep(LOOK_S)

    async def _handle(self, invite: IncomingCall) -> None:
        """One caller from their arrival to the call's end; never raises for one call's sake."""
        # A WebRTC caller is told the id; a SIP Call-ID is the caller's, and may hold who they are.
        call_id = secrets.token_hex(8) if invite.transport == "sip" else invite.call_id
        self._num_handled += 1
        self._is_idle.clear()
        with bound_contextvars(call_id=call_id):
            try:
                await self._admit(call_id, invite)
            except Exception:
                log.exception("call_failed")
                invite.reject(500, "Internal error")
                metrics.CALLS.labels("inbound", invite.transport, EndReason.INTERNAL_ERROR.value).inc()
            finally:
                self._door.leave(call_id)
                self._num_handled -= 1
                self._note_idle()

    async def _admit(self, call_id: str, invite: IncomingCall) -> None:
        log.info(
            "call_offered",
            transport=invite.transport,
            trunk=invite.trunk,
            pii_peer_call_id=invite.call_id,  # phones put their number or address there
            pii_caller=invite.caller,
        )
        plan = self._door.enter(call_id, invite)
        if plan is not None:
            await self._begin(call_id, invite, plan)

    async def _begin(self, call_id: str, invite: IncomingCall, plan: CallPlan) -> None:
        """A call that its line may take: from its slot to its end."""
        began_s = clock.now()
        transport = invite.transport
        try:
            slot = None
            if not self._is_stopping:
                slot = await self._admission.grant(call_id, plan.profile, plan.model)
        except PromptRefused as error:
            log.error("prompt_refused", cause=str(error), remedy="see OFFHOOK_AGENT__*, `offhook check`")
            invite.reject(500, "Agent is misconfigured")
            refused(transport, EndReason.PROMPT_REFUSED)
            return
        if slot is None:
            retry_after = str(self._settings.sip.retry_after_s)
            invite.reject(503, "No free line", {"Retry-After": retry_after})
            refused(transport, EndReason.NO_FREE_SLOT)
            return
        try:
            endpoint = await self._answer(invite)
            if endpoint is None:
                refused(transport, EndReason.CALLER_CANCELLED)
                return
            metrics.CALL_SETUP_SECONDS.labels(transport).observe(clock.now() - began_s)
            try:
                await self._talk(call_id, invite, endpoint, slot, plan)
            finally:
                endpoint.hang_up()  # the session has, unless we failed before there was one
        finally:
            await self._admission.give_back(call_id, slot)

    async def _answer(self, invite: IncomingCall) -> MediaEndpoint | None:
        invite.ring()
        try:
            return await invite.answer()
        except CallEnded as error:
            log.info("call_gone", cause=str(error))
            return None

    async def _talk(
        self, call_id: str, invite: IncomingCall, endpoint: MediaEndpoint, slot: Slot, plan: CallPlan
    ) -> None:
        record = SessionRecord(
            call_id,
            self._gateway_id,
            "inbound",
            CallState.CONFIRMED.value,
            time.time_ns() // 1_000_000,
            invite.transport,
            caller=invite.caller,
            worker_id=slot.worker_id,
        )
        headers = self._door.passed_headers(invite)
        await self._live_on(record, endpoint, slot, plan, trunk=invite.trunk, headers=headers)

    async def _talk_out(
        self, record: SessionRecord, endpoint: MediaEndpoint, slot: Slot, answered: Answered
    ) -> None:
        """A call of ours that was taken: it lasts as long as it is allowed to."""
        plan, order = self._plain, answered.order
        max_s, agent = min(plan.limits.max_s, answered.max_s), plan.agent
        if order.greeting is not None:
            agent = agent.model_copy(update={"greeting": order.greeting})
        plan = replace(plan, limits=plan.limits.model_copy(update={"max_s": max_s}), agent=agent)
        await self._live_on(record, endpoint, slot, plan, order=order, trunk=order.trunk)

    async def _live_on(
        self,
        record: SessionRecord,
        endpoint: MediaEndpoint,
        slot: Slot,
        plan: CallPlan,
        *,
        order: DialOrder | None = None,
        trunk: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """A call from its answer to its end; `order`: it is one of ours."""
        call_id = record.call_id
        endpoint.set_frame_phase(self._phase(slot))
        parts = self._parts(record, endpoint, plan, order, trunk, headers or {})
        session = self._sessions[call_id] = Session(endpoint, slot, record, parts)
        if self._live is not None:
            self._live.follow(session, endpoint)
        if self._is_ending:  # it was being answered when the others were ended
            session.hang_up(EndReason.SHUTTING_DOWN)
        log.info("call_answered", worker_id=slot.worker_id, codec=endpoint.stats().codec, line=plan.line)
        try:
            await session.run()
        finally:
            del self._sessions[call_id]
            self._ended.append((session.record, session.live().recording_id))
            self._note_idle()

    def _parts(
        self,
        record: SessionRecord,
        endpoint: MediaEndpoint,
        plan: CallPlan,
        order: DialOrder | None,
        trunk: str,
        headers: Mapping[str, str],
    ) -> Parts:
        """What a session is made of besides its endpoint and slot."""
        call_id = record.call_id

        async def reclaim(history: NDArray[np.int16], caller_pcm: Pcm) -> ModelSlot:
            slot = await self._admission.grant_again(call_id, history, caller_pcm)
            endpoint.set_frame_phase(self._phase(slot))
            return slot

        return Parts(
            self._tokens,
            plan.limits,
            self._store,
            reclaim,
            clock.now,
            self._recorder(call_id),
            self._settings.recording.consent,
            plan.agent,
            self._consent,
            self._desk,
            self._settings.transfer.mode,
            MachineDetector() if order is not None else None,
            order is not None and order.on_machine == "hang_up",
            caller_hash(self._salt, record.caller),
            headers,
            trunk or DEFAULT_TRUNK,
            lambda: self._admission.let_go(call_id),
        )

    def _phase(self, slot: Slot) -> int:
        return self._bridge_clock.frame_phase(slot.next_tick_s(clock.now()))

    def _recorder(self, call_id: str) -> Recorder | None:
        settings = self._settings.recording
        if not settings.folder:
            return None
        key = self._keys.current if self._keys is not None else None
        return Recorder(settings.folder, call_id[:8], settings.format, key=key)
