"""Records and leases in a real Redis, which is stopped, killed and raced for."""

import asyncio
import dataclasses
import itertools
import os
import signal
import time
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from agent import metrics, store
from agent.errors import EndReason, RedisUnavailable
from agent.redis_server import private_redis
from agent.store import SessionRecord, Store

pytestmark = pytest.mark.redis

CALLER = "sip:+15550100@pbx"
RECORD = SessionRecord("call-1", "gateway-1", "inbound", "CONFIRMED", 1_700_000_000_000, caller=CALLER)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy with other things Redis may be late without being away."""
    monkeypatch.setattr(store, "TIMEOUT_S", 20.0)


async def eventually(holds: Callable[[], Awaitable[bool]], within_s: float = 30.0) -> None:
    """Wait for another process to get there; polling is the only way to see it."""
    deadline_s = time.monotonic() + within_s
    while not await holds():
        assert time.monotonic() < deadline_s, "did not come true in time"
        await asyncio.sleep(0.01)


def state_is(client: Store, call_id: str, state: str | None) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        record = await client.load(call_id)
        return (record and record["state"]) == state

    return holds


async def test_record_is_saved_masked_with_a_lease_and_kept_a_while_after_the_end() -> None:
    async with private_redis() as server, Redis.from_url(server.url, decode_responses=True) as redis:
        async with Store(server.url) as client:
            client.save(RECORD)
            await eventually(state_is(client, "call-1", "CONFIRMED"))
            record = await client.load("call-1")
            assert record is not None and record["caller"] == "sip:***00@pbx"
            assert 0 < await redis.ttl("offhook:session:call-1") <= store.LEASE_S
            ended = dataclasses.replace(RECORD, state="DISCONNECTED", end_reason=EndReason.CALLER_HUNG_UP)
            client.save(ended)
        assert 15 < await redis.ttl("offhook:session:call-1") <= store.ENDED_S  # written on the way out


async def test_persons_are_shown_only_when_asked_for() -> None:
    async with private_redis() as server, Store(server.url, show_pii=True) as client:
        client.save(RECORD)
        await eventually(state_is(client, "call-1", "CONFIRMED"))
        record = await client.load("call-1")
        assert record is not None and record["caller"] == CALLER


async def test_live_records_and_leases_are_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "RENEW_S", 0.05)
    async with private_redis() as server, Redis.from_url(server.url, decode_responses=True) as redis:
        async with Store(server.url) as client:
            client.save(RECORD)
            assert await client.lease_slot("call-1", [("worker-1", 1)])
            await eventually(state_is(client, "call-1", "CONFIRMED"))
            await redis.flushall()
            await eventually(state_is(client, "call-1", "CONFIRMED"))
            assert await redis.zcard("offhook:slots:worker-1") == 1


@pytest.mark.timeout(180)
async def test_two_gateways_racing_for_one_slot_never_both_get_it(patience: None) -> None:
    won_by, fencings = {"a": 0, "b": 0}, [0]
    async with private_redis() as server, Store(server.url) as one, Store(server.url) as other:
        for number in range(1000):
            asked = [one.lease_slot(f"a{number}", [("w", 1)]), other.lease_slot(f"b{number}", [("w", 1)])]
            if number % 2:
                asked.reverse()  # who asks first by a hair
            won = [lease for lease in await asyncio.gather(*asked) if lease is not None]
            assert len(won) == 1 and won[0].is_confirmed, won
            won_by[won[0].call_id[0]] += 1
            fencings.append(won[0].fencing)
            winner = one if won[0].call_id.startswith("a") else other
            winner.release_slot(won[0])
            await winner._write_all()  # so that the next round is open to both
    assert min(won_by.values()) > 50, f"no race was run: {won_by}"
    assert all(later > earlier for earlier, later in itertools.pairwise(fencings))


async def test_a_released_slot_can_be_leased_at_once_by_the_same_gateway(patience: None) -> None:
    async with private_redis() as server, Store(server.url) as client:
        lease = await client.lease_slot("call-0", [("w", 1)])
        for number in range(1, 50):
            assert lease is not None
            client.release_slot(lease)
            lease = await client.lease_slot(f"call-{number}", [("w", 1)])
            assert lease is not None and lease.is_confirmed


async def test_a_call_that_changes_its_slot_keeps_its_lease(patience: None) -> None:
    """A worker died: the call gives its lease back and takes another, which the release must not undo."""
    async with private_redis() as server, Store(server.url) as client:
        lease = await client.lease_slot("call-1", [("w", 1)])
        for _ in range(100):
            assert lease is not None
            client.release_slot(lease)
            await asyncio.sleep(0)  # the writer sets out
            lease = await client.lease_slot("call-1", [("w", 1)])
            assert await client._redis.zcard("offhook:slots:w") == 1


async def test_candidates_are_taken_in_order_and_none_when_all_are_full(patience: None) -> None:
    async with private_redis() as server, Store(server.url) as client:
        workers = [("w1", 1), ("w2", 2)]
        leases = [await client.lease_slot(f"call-{n}", workers) for n in range(4)]
        assert [lease and lease.worker_id for lease in leases] == ["w1", "w2", "w2", None]
        assert await client.lease_slot("call-9", []) is None


async def test_a_dead_gateways_lease_expires(patience: None) -> None:
    async with private_redis() as server, Redis.from_url(server.url) as redis, Store(server.url) as client:
        await redis.zadd("offhook:slots:w", {"call-of-the-dead": time.time_ns() // 1000 - 1})
        lease = await client.lease_slot("call-1", [("w", 1)])
        assert lease is not None and lease.is_confirmed


async def test_stopped_redis_holds_up_nobody_and_records_return() -> None:
    async with private_redis() as server, Store(server.url) as client:
        client.save(RECORD)
        await eventually(state_is(client, "call-1", "CONFIRMED"))
        os.kill(server.pid, signal.SIGSTOP)
        began_s = time.monotonic()
        first = await client.lease_slot("call-2", [("w", 1)])
        assert time.monotonic() - began_s < 2.0  # TIMEOUT_S, and what a busy machine adds
        began_s = time.monotonic()
        second = await client.lease_slot("call-3", [("w", 1)])
        assert time.monotonic() - began_s < store.TIMEOUT_S  # known to be away: nobody waits again
        assert first and second and not first.is_confirmed and not second.is_confirmed
        assert second.fencing > first.fencing
        assert metrics.REGISTRY.get_sample_value("offhook_redis_up") == 0
        client.save(dataclasses.replace(RECORD, state="EARLY"))
        client.save(dataclasses.replace(RECORD, state="HELD"))
        await asyncio.sleep(2.0)  # long enough for several failed attempts
        os.kill(server.pid, signal.SIGCONT)
        await eventually(_is_up(client))
        assert await state_is(client, "call-1", "HELD")()  # the newest wins
        assert metrics.REGISTRY.get_sample_value("offhook_redis_up") == 1
        third = await client.lease_slot("call-4", [("w", 2)])
        assert third is None  # the two unconfirmed leases were entered on return


def _is_up(client: Store) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return client.is_up

    return holds


async def test_redis_that_lost_its_memory_is_filled_again(
    monkeypatch: pytest.MonkeyPatch, patience: None
) -> None:
    monkeypatch.setattr(store, "RENEW_S", 0.1)
    async with private_redis() as server, Store(server.url) as client:
        client.save(RECORD)
        before = await client.lease_slot("call-1", [("w", 1)])
        assert before is not None
        os.kill(server.pid, signal.SIGKILL)

        async def is_refilled() -> bool:
            return client.is_up and await state_is(client, "call-1", "CONFIRMED")()

        await eventually(_is_down(client))
        await eventually(is_refilled)
        assert await client.lease_slot("call-2", [("w", 1)]) is None
        client.release_slot(before)
        after = await client.lease_slot("call-2", [("w", 1)])
        assert after is not None and after.is_confirmed and after.fencing > before.fencing


def _is_down(client: Store) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return not client.is_up

    return holds


async def test_absent_redis_is_no_obstacle_at_the_start() -> None:
    async with Store("unix:///nonexistent/redis.sock", max_waiting=2) as client:
        assert not client.is_up
        dropped = metrics.REGISTRY.get_sample_value("offhook_store_dropped_writes_total")
        for number in range(5):
            client.save(dataclasses.replace(RECORD, call_id=f"call-{number}"))
        assert dropped is not None
        assert metrics.REGISTRY.get_sample_value("offhook_store_dropped_writes_total") == dropped + 3
        lease = await client.lease_slot("call-1", [("w", 1)])
        assert lease is not None and not lease.is_confirmed
        client.release_slot(lease)


async def test_refused_credentials_stop_us_at_the_start() -> None:
    async with private_redis() as server:
        async with Redis.from_url(server.url) as redis:
            await redis.config_set("requirepass", "right")
        with pytest.raises(RedisUnavailable, match="OFFHOOK_REDIS_URL"):
            async with Store(server.url):
                pass


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(RedisUnavailable, match="redis://host:6379"):
        Store("http://localhost")


async def test_a_caller_that_leaves_while_asking_leaves_no_lease() -> None:
    async with private_redis() as server, Store(server.url) as client:
        asking = asyncio.ensure_future(client.lease_slot("call-1", [("w", 1)]))
        await asyncio.sleep(0)  # it has asked, and no answer can have come yet
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await eventually(_gets_a_slot(client))


def _gets_a_slot(client: Store) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return await client.lease_slot("call-2", [("w", 1)]) is not None

    return holds
