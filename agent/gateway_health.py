"""What the console shows of the gateway itself: workers, Redis, the SIP side. Plain values, no I/O here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from agent.latency import percentile
from agent.pool import Berth


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
