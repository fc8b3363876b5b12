"""Figures of a worker's place, from a real worker and from an empty berth."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from agent.errors import WorkerUnavailable
from agent.gateway_health import readiness, worker_health
from agent.pool import Berth, RemoteWorker
from agent.settings import WorkerSettings
from agent.worker_address import WorkerAddress
from agent.worker_link import linked
from tests.agent.worker_rig import served


def berth() -> Berth:
    source = RemoteWorker("gw-w0", WorkerAddress.parse("unix:/nowhere"))
    return Berth(source, "w0", WorkerSettings(), lambda: None)


def pool(links: int, free: int, looping: tuple[str, ...] = ()) -> Any:
    return SimpleNamespace(links=[None] * links, num_slots_free=free, crash_looping=list(looping), berths=[])


def test_readiness_tells_what_forbids_calls_from_what_only_hinders_them() -> None:
    ready = readiness(pool(1, 1), is_stopping=False, is_redis_up=True)
    assert (ready.reasons, ready.degraded) == ([], [])
    full = readiness(pool(2, 0, ("w1",)), is_stopping=True, is_redis_up=False)
    assert full.reasons == ["stopping"]
    assert full.degraded == ["redis is away", "worker w1 keeps dying", "every slot is taken"]
    assert readiness(pool(0, 0), is_stopping=False, is_redis_up=True).reasons == ["no worker is ready"]


def test_a_worker_that_is_not_there_says_why() -> None:
    empty = berth()
    assert worker_health(empty).failure is None and not worker_health(empty).is_ready
    empty.failure = WorkerUnavailable("it has no memory; give it some")
    health = worker_health(empty)
    assert (health.failure, health.num_slots, health.tick_p50_ms) == (
        "it has no memory; give it some",
        0,
        None,
    )


async def test_a_ready_worker_shows_slots_and_ticks(tmp_path: Path) -> None:
    one = berth()
    async with served(tmp_path, 2) as (_, address), linked(address) as link:
        one.link = link
        one.failure = WorkerUnavailable("an earlier life")
        slot = await link.claim("call-1", fencing=1, seed=7)
        one.recent_ticks_s.extend([0.02] * 98 + [0.06, 0.07])
        health = worker_health(one)
        await slot.release()
    assert (health.is_ready, health.num_slots, health.num_used, health.failure) == (True, 2, 1, None)
    assert (health.tick_p50_ms, health.tick_p99_ms) == (20.0, 60.0) and health.model
