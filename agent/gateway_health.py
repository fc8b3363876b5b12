"""What the console shows of the gateway itself: workers, Redis, the SIP side. Plain values, no I/O here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol

from agent.latency import percentile
from agent.pool import Berth
from telephony.settings import SipSettings
from telephony.sip import GatewayCounts


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """One worker's place."""

    label: str
    worker_id: str
    is_ready: bool
    model: str
    num_slots: int
    num_used: int
    num_deaths: int
    num_deadline_misses: int
    tick_p50_ms: float | None  # of the last half minute's busy ticks
    tick_p99_ms: float | None
    failure: str | None  # of the latest attempt to start it


@dataclass(frozen=True, slots=True)
class SipHealth:
    """The SIP side; the trunks are whoever is on its allow-list."""

    address: str
    udp_port: int
    tcp_port: int
    codecs: Sequence[str]
    allowed_peers: Sequence[str]
    num_calls: int
    num_foreign: int  # messages from peers that are not allowed
    num_malformed: int


@dataclass(frozen=True, slots=True)
class GatewayHealth:
    """All of it; `reasons` and `degraded` as /readyz has them."""

    gateway_id: str
    version: str
    started_at_ms: int
    is_ready: bool
    reasons: Sequence[str]
    degraded: Sequence[str]
    is_redis_up: bool
    num_slots: int
    num_used: int
    workers: Sequence[WorkerHealth]
    sip: SipHealth | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Can a call be taken now? `reasons` says why not; `degraded` what is missing though calls go on."""

    reasons: Sequence[str] = ()
    degraded: Sequence[str] = ()


class Pool(Protocol):
    """The workers' places: `agent.pool.WorkerPool`."""

    @property
    def berths(self) -> Sequence[Berth]:
        """All of them."""

    @property
    def links(self) -> Sequence[object]:
        """To the workers that are ready."""

    @property
    def crash_looping(self) -> Sequence[str]:
        """Workers that keep dying."""

    @property
    def num_slots_free(self) -> int:
        """Calls that could be taken."""


class Sip(Protocol):
    """The SIP side: `telephony.sip.SipGateway`."""

    @property
    def udp_port(self) -> int:
        """Where it listens."""

    @property
    def tcp_port(self) -> int:
        """Likewise."""

    def counts(self) -> GatewayCounts:
        """Its figures."""


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """What only the gateway itself knows."""

    gateway_id: str
    started_at_ms: int
    readiness: Readiness
    is_redis_up: bool


def readiness(pool: Pool, *, is_stopping: bool, is_redis_up: bool) -> Readiness:
    """Whether a call could be taken now, and what makes that less likely."""
    reasons = ["stopping"] if is_stopping else []
    if not pool.links:
        reasons.append("no worker is ready")
    degraded = [] if is_redis_up else ["redis is away"]
    degraded += [f"worker {label} keeps dying" for label in pool.crash_looping]
    if pool.links and not pool.num_slots_free:
        degraded.append("every slot is taken")
    return Readiness(reasons, degraded)


def gateway_health(about: GatewayFacts, settings: SipSettings, pool: Pool, sip: Sip) -> GatewayHealth:
    """All of it, as it is now."""
    workers = [worker_health(berth) for berth in pool.berths]
    counts = sip.counts()
    return GatewayHealth(
        about.gateway_id,
        version("offhook"),
        about.started_at_ms,
        not about.readiness.reasons,
        about.readiness.reasons,
        about.readiness.degraded,
        about.is_redis_up,
        sum(worker.num_slots for worker in workers),
        sum(worker.num_used for worker in workers),
        workers,
        SipHealth(
            settings.bind_address,
            sip.udp_port,
            sip.tcp_port,
            settings.codecs,
            settings.allowed_peers,
            counts.calls,
            counts.foreign_messages,
            counts.malformed_messages,
        ),
    )


def worker_health(berth: Berth) -> WorkerHealth:
    """One worker as its berth knows it."""
    link = berth.link if berth.link is not None and berth.link.lost is None else None
    stats = link.stats if link is not None else None
    ticks_s = list(berth.recent_ticks_s)
    return WorkerHealth(
        label=berth.label,
        worker_id=berth.source.worker_id,
        is_ready=link is not None,
        model=link.hello.model if link is not None else "",
        num_slots=link.hello.num_slots if link is not None else 0,
        num_used=link.hello.num_slots - link.num_slots_free if link is not None else 0,
        num_deaths=berth.num_deaths,
        num_deadline_misses=stats.num_deadline_misses if stats is not None else 0,
        tick_p50_ms=_ms(percentile(ticks_s, 0.5)),
        tick_p99_ms=_ms(percentile(ticks_s, 0.99)),
        failure=str(berth.failure) if berth.failure is not None and link is None else None,
    )


def _ms(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(1000 * seconds, 1)
