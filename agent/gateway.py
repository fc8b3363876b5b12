"""`offhook serve`: takes calls, gives each a slot of a worker, and stops without leaving anything behind.

    INVITE or offer -> lease (Redis) -> claim (worker) -> answer -> Session -> everything given back

A call that finds no slot hears 503 with Retry-After and has not rung. One event loop, one TaskGroup per
session.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray
from structlog.contextvars import bound_contextvars

from agent import clock, metrics
from agent.admission import Admission
from agent.caller_hash import caller_hash
from agent.consent import ConsentRules
from agent.control import ControlServer, Readiness
from agent.dial_plan import CallPlan, DialPlan
from agent.dial_plan_watch import DialPlanBook
from agent.duplex import ModelSlot, Pcm, Tokens
from agent.errors import AgentError, EndReason, NoFreeSlot
from agent.frame_phase import BridgeClock
from agent.gate_metrics import GateMetrics
from agent.gateway_health import GatewayHealth, SipHealth, worker_health
from agent.http_side import served_by, welcome
from agent.live_calls import LiveCalls
from agent.live_view import LiveCall
from agent.machine_detection import MachineDetector
from agent.outbound import DEFAULT_TRUNK, OutboundPolicy, OutboundRefused, Refusal
from agent.outbound_calls import Answered, Dialler, DialOrder
from agent.outbound_ledger import OutboundLedger
from agent.pool import WorkerPool
from agent.profile import load_tokens
from agent.recording import Recorder
from agent.recordings_command import keyring
from agent.redis_server import open_redis
from agent.retention import keep_purging
from agent.session import Parts, Session
from agent.settings import RecordingSettings, Settings
from agent.slot import PromptRefused, Slot
from agent.store import SessionRecord, Store
from agent.transfer import TransferOrder
from agent.transfer_desk import TransferDesk
from agent.trunk_metrics import forget_registrations, note_registration
from agent.wire import DEFAULT_PROFILE
from model.control import CallProfile
from model.errors import ModelError
from telephony.call import CallState
from telephony.call_limits import CallCap, CallLimiter
from telephony.endpoint import TICK_S, IncomingCall, MediaEndpoint
from telephony.errors import CallEnded, TelephonyError
from telephony.settings import SipSettings
from telephony.sip import SipGateway
from telephony.sip_uri import called_user
from telephony.trunks import Trunk
from telephony.webrtc import WebRtcGateway

LOOK_S = 0.2
FIRST_SIGHTINGS = 5
KEPT_ENDED = 20  # calls that the console still lists

log = structlog.get_logger(__name__)


def run(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; the exit code."""
    try:
        return asyncio.run(_serve(settings))
    except BaseExceptionGroup as group:  # what escapes from nested TaskGroups
        cause = _operators_fault(group)
        raise cause if cause is not None else group from None


def _operators_fault(error: BaseException) -> BaseException | None:
    """The first error in nested groups that the command line knows how to tell, or None."""
    if isinstance(error, BaseExceptionGroup):
        found = (_operators_fault(one) for one in error.exceptions)
        return next((one for one in found if one is not None), None)
    return error if isinstance(error, (AgentError, ModelError, TelephonyError)) else None


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
        self._sip, self._pool, self._store, self._tokens = sip, pool, store, tokens
        self._bridge_clock = bridge_clock
        self._limiter, self._gate_metrics = CallLimiter(clock.now), GateMetrics()
        self._gateway_id = f"gw-{secrets.token_hex(3)}"
        self._keys = keyring(settings.recording)
        self._ledger = ledger
        self._desk = None if ledger is None else TransferDesk(settings.transfer, ledger, sip)
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

    def _make_dialler(self, ledger: OutboundLedger) -> Dialler:
        timeout_s = self._settings.outbound.answer_timeout_s
        return Dialler(
            self._gateway_id, self._sip, ledger, self._admission, self._talk_out, self._note, timeout_s
        )

    # ---- for the control API ----

    def readiness(self) -> Readiness:
        """Whether a call could be taken now."""
        reasons = ["stopping"] if self._is_stopping else []
        if not self._pool.links:
            reasons.append("no worker is ready")
        degraded = [] if self._store.is_up else ["redis is away"]
        degraded += [f"worker {label} keeps dying" for label in self._pool.crash_looping]
        if self._pool.links and not self._pool.num_slots_free:
            degraded.append("every slot is taken")
        return Readiness(reasons, degraded)

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
        state, settings = self.readiness(), self._settings.sip
        workers = [worker_health(berth) for berth in self._pool.berths]
        counts = self._sip.counts()
        return GatewayHealth(
            self._gateway_id,
            version("offhook"),
            self._started_at_ms,
            not state.reasons,
            state.reasons,
            state.degraded,
            self._store.is_up,
            sum(worker.num_slots for worker in workers),
            sum(worker.num_used for worker in workers),
            workers,
            SipHealth(
                settings.bind_address,
                self._sip.udp_port,
                self._sip.tcp_port,
                settings.codecs,
                settings.allowed_peers,
                counts.calls,
                counts.foreign_messages,
                counts.malformed_messages,
            ),
        )

    async def dial(self, order: DialOrder) -> SessionRecord:
        """Begin to call somebody. Raises OutboundRefused, NoFreeSlot, PromptRefused."""
        if self._dialler is None:
            raise OutboundRefused(Refusal.OFF)
        if self._group is None or self._is_stopping:
            raise NoFreeSlot("this gateway is stopping, or has not begun")
        self._is_idle.clear()
        try:
            return await self._dialler.start(self._group, order)
        finally:
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
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.drain_timeout_s):
                    await self._is_idle.wait()
            for task in tasks:
                task.cancel()
            self._end_calls()

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
                self._limiter.leave(call_id)
                self._num_handled -= 1
                self._note_idle()

    async def _admit(self, call_id: str, invite: IncomingCall) -> None:
        transport, trunk = invite.transport, invite.trunk
        log.info(
            "call_offered",
            transport=transport,
            trunk=trunk,
            pii_peer_call_id=invite.call_id,  # phones put their number or address there
            pii_caller=invite.caller,
        )
        plan = self._plan_of(invite)
        over = self._limiter.enter(call_id, self._caps(invite, plan))
        if over is not None:
            self._refuse_over(invite, over)
        elif plan is None:
            invite.reject(404, "Nobody is called that here")
            self._refused(transport, EndReason.UNKNOWN_LINE)
        else:
            await self._begin(call_id, invite, plan)

    def _plan_of(self, invite: IncomingCall) -> CallPlan | None:
        if self._plans is None or invite.transport != "sip":
            return self._plain
        return self._plans.plan.find(invite.called, invite.trunk)

    def _trunk_of(self, invite: IncomingCall) -> Trunk | None:
        return self._plans.plan.trunks.get(invite.trunk) if self._plans is not None else None

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
            self._refused(transport, EndReason.PROMPT_REFUSED)
            return
        if slot is None:
            retry_after = str(self._settings.sip.retry_after_s)
            invite.reject(503, "No free line", {"Retry-After": retry_after})
            self._refused(transport, EndReason.NO_FREE_SLOT)
            return
        try:
            endpoint = await self._answer(invite)
            if endpoint is None:
                self._refused(transport, EndReason.CALLER_CANCELLED)
                return
            metrics.CALL_SETUP_SECONDS.labels(transport).observe(clock.now() - began_s)
            try:
                await self._talk(call_id, invite, endpoint, slot, plan)
            finally:
                endpoint.hang_up()  # the session has, unless we failed before there was one
        finally:
            await self._admission.give_back(call_id, slot)

    def _caps(self, invite: IncomingCall, plan: CallPlan | None) -> list[CallCap]:
        """What limits this call; where no line, trunk or source is known, none of its own."""
        limits, trunk = self._settings.limits, self._trunk_of(invite)
        caps: list[CallCap] = []
        if plan is not None and (line := plan.key or called_user(invite.called)):
            caps.append(CallCap(f"line:{line}", plan.max_calls or limits.calls_per_line))
        if trunk is not None and trunk.max_calls:
            caps.append(CallCap(f"trunk:{invite.trunk}", trunk.max_calls))
        if invite.source:
            rate = limits.new_calls_per_source_s
            caps.append(CallCap(f"source:{invite.source}", limits.calls_per_source, rate))
        return caps

    def _refuse_over(self, invite: IncomingCall, over: CallCap) -> None:
        """A busy line or trunk is busy; a caller over its allowance may come back."""
        if over.name.startswith(("line:", "trunk:")):
            invite.reject(486, "Busy Here")
            self._refused(invite.transport, EndReason.LINE_FULL)
            return
        invite.reject(503, "Over the limit", {"Retry-After": str(self._settings.sip.retry_after_s)})
        self._refused(invite.transport, EndReason.OVER_LIMIT)

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
        headers = self._passed_headers(invite)
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

        async def reclaim(history: NDArray[np.int16], caller_pcm: Pcm) -> ModelSlot:
            slot = await self._admission.grant_again(call_id, history, caller_pcm)
            endpoint.set_frame_phase(self._phase(slot))
            return slot

        parts = Parts(
            self._tokens,
            plan.limits,
            self._store,
            reclaim,
            clock.now,
            self._recorder(call_id),
            self._settings.recording.consent,
            plan.agent,
            _consent(self._settings.recording),
            self._desk,
            self._settings.transfer.mode,
            MachineDetector() if order is not None else None,
            order is not None and order.on_machine == "hang_up",
            caller_hash(self._salt, record.caller),
            headers or {},
            trunk or DEFAULT_TRUNK,
        )
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

    def _passed_headers(self, invite: IncomingCall) -> dict[str, str]:
        """What of the INVITE goes on to whom the agent asks."""
        trunk = self._trunk_of(invite)
        return trunk.passed_headers(invite.headers) if trunk is not None else {}

    def _phase(self, slot: Slot) -> int:
        return self._bridge_clock.frame_phase(slot.next_tick_s(clock.now()))

    def _recorder(self, call_id: str) -> Recorder | None:
        settings = self._settings.recording
        if not settings.folder:
            return None
        key = self._keys.current if self._keys is not None else None
        return Recorder(settings.folder, call_id[:8], settings.format, key=key)

    @staticmethod
    def _refused(transport: str, reason: EndReason) -> None:
        log.info("call_refused", transport=transport, reason=reason.value)
        metrics.CALLS.labels("inbound", transport, reason.value).inc()


async def _serve(settings: Settings) -> int:
    tokens = load_tokens(settings.worker)
    plans = DialPlanBook(settings, os.environ, tokens)  # the secrets that its file names by variable
    profile = plans.plan.fallback.profile
    served = served_by(settings)
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    async with contextlib.AsyncExitStack() as stack:
        stop, stop_now = await stack.enter_async_context(_signals(plans.asked))
        redis_url = await stack.enter_async_context(open_redis(url))
        store = await stack.enter_async_context(Store(redis_url, show_pii=settings.log.pii))
        num_peers = settings.webrtc.max_calls if settings.webrtc.enabled else 0
        lines = SipGateway(
            _sip_settings(settings),
            num_packet_ports=num_peers,
            trunks=plans.plan.trunks,
            on_registered=note_registration,
        )
        forget_registrations(plans.plan)
        sip = await stack.enter_async_context(lines)
        bridge_clock = await _watch_bridge(sip)
        name = f"gw-{secrets.token_hex(3)}"
        phase_s = bridge_clock.worker_phase_s
        workers = WorkerPool(settings.worker, name=name, phase_s=phase_s, cache=settings.cache)
        pool = await stack.enter_async_context(workers)
        live = await _open_live(stack, settings, sip, pool) if num_peers else None
        policy = OutboundPolicy(settings.outbound, lambda: plans.plan.transfer_targets)
        ledger = await stack.enter_async_context(OutboundLedger(redis_url, policy))
        gateway = Gateway(
            settings, sip, pool, store, tokens, bridge_clock, profile, live, served.salt, plans, ledger
        )
        http = ControlServer(
            gateway, settings.http, replace(served, live=live, dial=gateway.dial, transfer=gateway.transfer)
        )
        await stack.enter_async_context(http)
        if not await _until_ready(pool, stop):
            return 0
        _warn_of_refusals(pool, profile)
        _greet(settings, sip, http, pool)
        welcome(settings, http.port, served.access)
        await gateway.serve(stop, stop_now)
    log.info("gateway_stopped")
    return 0


def _consent(settings: RecordingSettings) -> ConsentRules:
    return ConsentRules(settings.announcement, settings.opt_out_digit, settings.opt_out_window_s)


def _sip_settings(settings: Settings) -> SipSettings:
    """SIP's settings; calls may be placed where the rules name somebody to call or to hand over to.

    A trunks' file may come to name somebody when it is read again.
    """
    rules = [settings.outbound, *settings.outbound.trunks.values()]
    names_somebody = (
        any(one.targets or one.prefixes for one in rules)
        or settings.call.transfer_target is not None
        or settings.sip.trunks_file is not None
    )
    return replace(settings.sip, outbound_enabled=settings.sip.outbound_enabled or names_somebody)


async def _open_live(
    stack: contextlib.AsyncExitStack, settings: Settings, sip: SipGateway, pool: WorkerPool
) -> LiveCalls:
    """Calls from browsers, on SIP's clock."""
    peers = WebRtcGateway(settings.webrtc, sip.ticks, sip.packet_audio)
    source = await stack.enter_async_context(peers)
    return LiveCalls(
        source, lambda: {link.hello.model for link in pool.links}, settings.agent.voice, settings.call.max_s
    )


async def _watch_bridge(sip: SipGateway) -> BridgeClock:
    """The bridge's clock, after a few sightings."""
    bridge_clock = BridgeClock()
    for _ in range(FIRST_SIGHTINGS):
        await asyncio.sleep(TICK_S)
        bridge_clock.note(sip.tick, sip.tick_at_s)
    return bridge_clock


async def _until_ready(pool: WorkerPool, stop: asyncio.Event) -> bool:
    """Wait for the first worker; False if we are told to stop first. Raises WorkerUnavailable."""
    async with asyncio.TaskGroup() as group:
        ready = group.create_task(pool.wait_ready())
        stopping = group.create_task(stop.wait())
        await asyncio.wait({ready, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ready.done():
            ready.cancel()
    return not ready.cancelled()


@contextlib.asynccontextmanager
async def _signals(reload: asyncio.Event) -> AsyncIterator[tuple[asyncio.Event, asyncio.Event]]:
    """Events for the first SIGINT or SIGTERM (end gently), and for the next, or SIGINT (end now).

    SIGHUP sets `reload`.
    """
    stop, stop_now = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set() or number is signal.SIGINT:
            stop_now.set()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    try:
        yield stop, stop_now
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)


def _warn_of_refusals(pool: WorkerPool, profile: CallProfile) -> None:
    """Say at once, and not only at the first call, that a worker's model will refuse our profile."""
    for link in pool.links:
        hello = link.hello
        if profile.voice and profile.voice not in hello.voices:
            log.error("voice_unknown", worker_id=link.worker_id, voice=profile.voice, voices=hello.voices)
        if profile.role and not hello.takes_role:
            log.error("role_impossible", worker_id=link.worker_id, model=hello.model)


def _greet(settings: Settings, sip: SipGateway, http: ControlServer, pool: WorkerPool) -> None:
    """Tell the operator where to call; whoever reads JSON gets JSON."""
    port = sip.udp_port or sip.tcp_port
    uri = f"sip:order@{settings.sip.bind_address}:{port}"
    if settings.log.format == "json":
        log.info("gateway_ready", uri=uri, num_slots=pool.num_slots)
        return
    recordings = settings.recording.folder
    lines = [
        f"offhook answers {uri} ({pool.num_slots} calls at once)",
        f"  from a soft phone, or: offhook call {uri}",
        f"  recordings: {recordings if recordings else 'off (set OFFHOOK_RECORDING__FOLDER)'}",
    ]
    print("\n".join(lines), flush=True)
