"""`offhook serve`: brings up a gateway's parts in order, and takes them down whatever happens.

Redis -> SIP -> workers -> WebRTC -> gateway -> HTTP; on SIGTERM back again, once the calls are over
"""

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import AsyncIterator
from dataclasses import replace

import structlog

from agent.control import ControlServer
from agent.dial_plan_watch import DialPlanBook
from agent.errors import AgentError
from agent.frame_phase import BridgeClock
from agent.gateway import Gateway
from agent.http_side import served_by, welcome
from agent.live_calls import LiveCalls
from agent.outbound import OutboundPolicy
from agent.outbound_ledger import OutboundLedger
from agent.pool import WorkerPool
from agent.profile import load_tokens
from agent.redis_server import open_redis
from agent.settings import Settings
from agent.store import Store
from agent.trunk_metrics import forget_registrations, note_registration
from model.control import CallProfile
from model.errors import ModelError
from telephony.endpoint import TICK_S
from telephony.errors import TelephonyError
from telephony.settings import SipSettings
from telephony.sip import SipGateway
from telephony.webrtc import WebRtcGateway

FIRST_SIGHTINGS = 5

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
        drain_targets = {settings.drain_transfer_target} if settings.drain_transfer_target else set()
        policy = OutboundPolicy(settings.outbound, lambda: plans.plan.transfer_targets | drain_targets)
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


def _sip_settings(settings: Settings) -> SipSettings:
    """SIP's settings; calls may be placed where the rules name somebody to call or to hand over to.

    A trunks' file may come to name somebody when it is read again.
    """
    rules = [settings.outbound, *settings.outbound.trunks.values()]
    names_somebody = (
        any(one.targets or one.prefixes for one in rules)
        or settings.call.transfer_target is not None
        or settings.drain_transfer_target is not None
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
