"""`offhook serve`: takes calls, gives each a slot of a worker, and stops without leaving anything behind.

    INVITE -> lease (Redis) -> claim (worker) -> 180, 200 -> Session -> slot, lease, port, record given back

A call that finds no slot hears 503 with Retry-After and has not rung. One event loop, one TaskGroup per
session.
"""

import asyncio
import contextlib
import secrets
import signal
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import structlog
from numpy.typing import NDArray
from structlog.contextvars import bound_contextvars

from agent import clock, metrics
from agent.caller_hash import caller_hash
from agent.control import ControlServer, Readiness
from agent.duplex import ModelSlot, Pcm, Tokens
from agent.errors import AgentError, EndReason, NoFreeSlot
from agent.frame_phase import BridgeClock
from agent.gateway_health import GatewayHealth, SipHealth, worker_health
from agent.http_side import served_by, welcome
from agent.live_view import LiveCall
from agent.pool import WorkerPool
from agent.profile import build_profile, load_tokens
from agent.recording import Recorder
from agent.redis_server import open_redis
from agent.session import Parts, Session
from agent.settings import Settings
from agent.slot import PromptRefused, Slot
from agent.store import SessionRecord, SlotLease, Store
from agent.wire import DEFAULT_PROFILE
from model.control import CallProfile
from model.errors import ModelError
from telephony.call import CallState
from telephony.endpoint import TICK_S
from telephony.errors import CallEnded, TelephonyError
from telephony.sip import IncomingSipCall, SipEndpoint, SipGateway

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


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to a slot, and the slot."""

    lease: SlotLease
    slot: Slot


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
        salt: bytes = b"",
    ) -> None:
        """`salt` is for the hashes by which recordings find their callers."""
        self._settings, self._profile, self._salt = settings, profile, salt
        self._sip, self._pool, self._store, self._tokens = sip, pool, store, tokens
        self._bridge_clock = bridge_clock
        self._gateway_id = f"gw-{secrets.token_hex(3)}"
        self._sessions: dict[str, Session] = {}
        self._leases: dict[str, SlotLease] = {}
        self._ended: deque[tuple[SessionRecord, str | None]] = deque(maxlen=KEPT_ENDED)
        self._started_at_ms = time.time_ns() // 1_000_000
        self._is_stopping = False
        self._is_idle = asyncio.Event()
        self._is_idle.set()

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
        return [session.record for session in self._sessions.values()]

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

    def hang_up(self, call_id: str) -> bool:
        """Begin to end a live call for the operator."""
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
            jobs = (self._take_calls(group), self._look_around(), self._end_calls_after(stop_now))
            tasks = [group.create_task(job) for job in jobs]
            await stop.wait()
            self._is_stopping = True
            self._sip.set_full(True)
            log.info("gateway_stopping", num_calls=len(self._sessions))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.drain_timeout_s):
                    await self._is_idle.wait()
            for task in tasks:
                task.cancel()
            self._end_calls()

    async def _end_calls_after(self, stop_now: asyncio.Event) -> None:
        await stop_now.wait()
        self._end_calls()

    def _end_calls(self) -> None:
        for session in self._sessions.values():
            session.hang_up(EndReason.SHUTTING_DOWN)

    async def _take_calls(self, group: asyncio.TaskGroup) -> None:
        async for invite in self._sip.incoming():
            group.create_task(self._handle(invite))

    async def _look_around(self) -> None:
        """Keep what calls depend on up to date: whether we are full, and where the bridge's clock ticks."""
        while True:
            self._bridge_clock.note(self._sip.tick, self._sip.tick_at_s)
            self._sip.set_full(self._is_stopping or not self._pool.num_slots_free)
            await asyncio.sleep(LOOK_S)

    async def _handle(self, invite: IncomingSipCall) -> None:
        """One INVITE from its arrival to the call's end; never raises for one call's sake."""
        call_id = secrets.token_hex(8)
        with bound_contextvars(call_id=call_id):
            try:
                await self._admit(call_id, invite)
            except Exception:
                log.exception("call_failed")
                invite.reject(500)
                metrics.CALLS.labels("inbound", EndReason.INTERNAL_ERROR.value).inc()

    async def _admit(self, call_id: str, invite: IncomingSipCall) -> None:
        began_s = clock.now()
        log.info("call_offered", sip_call_id=invite.call_id, pii_caller=invite.caller)
        try:
            grant = None if self._is_stopping else await self._grant(call_id)
        except PromptRefused as error:
            log.error("prompt_refused", cause=str(error), remedy="see OFFHOOK_AGENT__*, `offhook check`")
            invite.reject(500, "Agent is misconfigured")
            self._refused(EndReason.PROMPT_REFUSED)
            return
        if grant is None:
            retry_after = str(self._settings.sip.retry_after_s)
            invite.reject(503, "No free line", {"Retry-After": retry_after})
            self._refused(EndReason.NO_FREE_SLOT)
            return
        self._leases[call_id] = grant.lease
        try:
            endpoint = await self._answer(invite)
            if endpoint is None:
                self._refused(EndReason.CALLER_CANCELLED)
                return
            metrics.CALL_SETUP_SECONDS.observe(clock.now() - began_s)
            try:
                await self._talk(call_id, invite, endpoint, grant.slot)
            finally:
                endpoint.hang_up()  # the session has, unless we failed before there was one
        finally:
            await grant.slot.release()
            self._store.release_slot(self._leases.pop(call_id))

    async def _answer(self, invite: IncomingSipCall) -> SipEndpoint | None:
        invite.ring()
        try:
            return await invite.answer()
        except CallEnded as error:
            log.info("call_gone", cause=str(error))
            return None

    async def _talk(self, call_id: str, invite: IncomingSipCall, endpoint: SipEndpoint, slot: Slot) -> None:
        endpoint.set_frame_phase(self._phase(slot))
        record = SessionRecord(
            call_id,
            self._gateway_id,
            "inbound",
            CallState.CONFIRMED.value,
            time.time_ns() // 1_000_000,
            caller=invite.caller,
            worker_id=slot.worker_id,
        )

        async def reclaim(history: NDArray[np.int16], caller_pcm: Pcm) -> ModelSlot:
            return await self._reclaim(call_id, endpoint, history, caller_pcm)

        parts = Parts(
            self._tokens,
            self._settings.call,
            self._store,
            reclaim,
            clock.now,
            self._recorder(call_id),
            self._settings.recording.consent,
            self._settings.agent,
            caller_hash(self._salt, invite.caller),
        )
        session = self._sessions[call_id] = Session(endpoint, slot, record, parts)
        self._is_idle.clear()
        log.info("call_answered", worker_id=slot.worker_id, codec=endpoint.stats().codec)
        try:
            await session.run()
        finally:
            del self._sessions[call_id]
            self._ended.append((session.record, session.live().recording_id))
            if not self._sessions:
                self._is_idle.set()

    def _phase(self, slot: Slot) -> int:
        return self._bridge_clock.frame_phase(slot.next_tick_s(clock.now()))

    def _recorder(self, call_id: str) -> Recorder | None:
        settings = self._settings.recording
        return Recorder(settings.folder, call_id[:8], settings.format) if settings.folder else None

    @staticmethod
    def _refused(reason: EndReason) -> None:
        log.info("call_refused", reason=reason.value)
        metrics.CALLS.labels("inbound", reason.value).inc()

    # ---- slots ----

    async def _grant(self, call_id: str) -> Grant | None:
        """Lease and claim a slot of any worker; None when all are taken. Raises PromptRefused."""
        candidates = self._pool.candidates()
        refusal: PromptRefused | None = None
        while candidates:
            lease = await self._store.lease_slot(call_id, candidates)
            if lease is None:
                break
            try:
                slot = await self._claim(lease)
            except PromptRefused as error:  # another worker may hold another model
                refusal, slot = error, None
            if slot is not None:
                return Grant(lease, slot)
            candidates = [one for one in candidates if one[0] != lease.worker_id]
        if refusal is not None:
            raise refusal
        return None

    async def _claim(
        self, lease: SlotLease, history: NDArray[np.int16] | None = None, caller_pcm: Pcm | None = None
    ) -> Slot | None:
        """The slot that a lease promises; without one the lease is given back. Raises PromptRefused."""
        slot: Slot | None = None
        try:
            slot = await self._pool.claim(
                lease.call_id,
                fencing=lease.fencing,
                seed=secrets.randbits(63),
                profile=self._profile,
                worker_id=lease.worker_id,
                history=history,
                caller_pcm=caller_pcm,
            )
        except PromptRefused:
            raise
        except NoFreeSlot as error:
            log.info("claim_refused", worker_id=lease.worker_id, cause=str(error))
        finally:
            if slot is None:
                self._store.release_slot(lease)
        return slot

    async def _reclaim(
        self, call_id: str, endpoint: SipEndpoint, history: NDArray[np.int16], caller_pcm: Pcm
    ) -> Slot:
        """Another slot for a call whose worker died, its frames aligned to it. Raises NoFreeSlot."""
        self._store.release_slot(self._leases[call_id])
        candidates = self._pool.candidates()
        lease = await self._store.lease_slot(call_id, candidates) if candidates else None
        if lease is None:
            raise NoFreeSlot("no worker has a free slot")
        self._leases[call_id] = lease
        slot = await self._claim(lease, history if len(history) else None, caller_pcm)
        if slot is None:
            raise NoFreeSlot(f"worker {lease.worker_id} refused the claim")
        endpoint.set_frame_phase(self._phase(slot))
        return slot


async def _serve(settings: Settings) -> int:
    tokens = load_tokens(settings.worker)
    profile = build_profile(settings.agent, tokens)
    served = served_by(settings)
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    async with contextlib.AsyncExitStack() as stack:
        stop, stop_now = await stack.enter_async_context(_signals())
        redis_url = await stack.enter_async_context(open_redis(url))
        store = await stack.enter_async_context(Store(redis_url, show_pii=settings.log.pii))
        sip = await stack.enter_async_context(SipGateway(settings.sip))
        bridge_clock = await _watch_bridge(sip)
        name = f"gw-{secrets.token_hex(3)}"
        phase_s = bridge_clock.worker_phase_s
        workers = WorkerPool(settings.worker, name=name, phase_s=phase_s, cache=settings.cache)
        pool = await stack.enter_async_context(workers)
        gateway = Gateway(settings, sip, pool, store, tokens, bridge_clock, profile, served.salt)
        http = await stack.enter_async_context(ControlServer(gateway, settings.http, served))
        if not await _until_ready(pool, stop):
            return 0
        _warn_of_refusals(pool, profile)
        _greet(settings, sip, http, pool)
        welcome(settings, http.port, served.access)
        await gateway.serve(stop, stop_now)
    log.info("gateway_stopped")
    return 0


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
async def _signals() -> AsyncIterator[tuple[asyncio.Event, asyncio.Event]]:
    """Events for the first SIGINT or SIGTERM (end gently), and for the next, or SIGINT (end now)."""
    stop, stop_now = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set() or number is signal.SIGINT:
            stop_now.set()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield stop, stop_now
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
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
