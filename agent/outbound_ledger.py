"""What every trunk has called, counted in Redis for all gateways together; and the right to one more call.

    offhook:outbound:{trunk}:live       zset  grant id -> expiry (Unix microseconds), renewed while it is held
    offhook:outbound:{trunk}:recent     zset  grant id -> when it was given (Unix microseconds)
    offhook:outbound:{trunk}:day:{n}    hash  calls, seconds; n: days since 1970, UTC

`OutboundPolicy` alone decides; here its figures are read and written as one step (WATCH), so that gateways
that ask at once cannot both get the last call. A call's whole allowance is booked when it begins and what it
did not use is given back at its end: the day's minutes are never exceeded. Without Redis no call leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError, WatchError

from agent import metrics
from agent.outbound import OutboundPolicy, OutboundRefused, Purpose, Refusal, Route, Usage, Wish
from agent.store import connect

T = TypeVar("T")

LEASE_US = 15_000_000
RENEW_S = 5.0
MINUTE_US = 60_000_000
DAY_S = 86_400
KEPT_DAY_S = 2 * DAY_S
MAX_TRIES = 20
TIMEOUT_S = 2.0

log = structlog.get_logger(__name__)

for _purpose in Purpose:  # a counter that appears with its first event hides it from rate()
    for _result in ("allowed", *Refusal):
        metrics.OUTBOUND_DECISIONS.labels(_purpose.value, str(_result))


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to one call."""

    grant_id: str
    wish: Wish
    route: Route
    max_s: float  # 0: it holds no line of ours
    day: int


class OutboundLedger:
    """Gives and takes back grants: an async context manager that renews those which are held."""

    def __init__(self, url: str, policy: OutboundPolicy) -> None:
        self.policy = policy
        self._redis: Redis = connect(url)
        self._held: dict[str, Grant] = {}
        self._settling: dict[str, tuple[Grant, float]] = {}  # over, with the seconds used; to be written
        self._doubtful: dict[str, Grant] = {}  # nobody's: counted or not, the answer was lost
        self._one = asyncio.Lock()
        self._beside: set[asyncio.Task[Any]] = set()
        self._tasks = asyncio.TaskGroup()
        self._closing = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._tasks.create_task(self._renew_until_closed())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()  # not cancelled: redis-py can swallow that when it meets a lost connection
        try:
            await self._tasks.__aexit__(kind, error, trace)
        finally:
            if self._beside:
                await asyncio.wait(self._beside)
            await self._settle_or_keep()
            await self._redis.aclose()

    async def take(self, wish: Wish) -> Grant:
        """Count one more call and allow it. Raises OutboundRefused."""
        try:
            route = self.policy.route(wish)
            grant = await self._counted(wish, route)
        except OutboundRefused as error:
            metrics.OUTBOUND_DECISIONS.labels(wish.purpose.value, error.refusal.value).inc()
            log.info("outbound_refused", purpose=wish.purpose.value, refusal=error.refusal.value)
            raise
        metrics.OUTBOUND_DECISIONS.labels(wish.purpose.value, "allowed").inc()
        if wish.holds_line:
            self._held[grant.grant_id] = grant
        return grant

    async def give_back(self, grant: Grant, used_s: float) -> None:
        """The call is over, `used_s` after its answer. Never raises: Redis is told as soon as it is there."""
        if self._held.pop(grant.grant_id, None) is None:
            return
        self._settling[grant.grant_id] = (grant, min(max(0.0, used_s), grant.max_s))
        await asyncio.wait({self._aside(self._settle_or_keep())}, timeout=TIMEOUT_S)

    async def usage(self, trunk: str) -> Usage:
        """What the trunk has done. Raises RedisError."""
        async with self._redis.pipeline() as pipe:
            now_us = await self._now_us()
            return await _usage(pipe, trunk, now_us)

    async def _now_us(self) -> int:
        seconds, microseconds = await self._redis.time()
        return int(seconds) * 1_000_000 + int(microseconds)

    def _aside(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of its own: whoever calls redis-py can have their cancellation swallowed, and never end."""
        task = asyncio.ensure_future(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)
        return task

    async def _counted(self, wish: Wish, route: Route) -> Grant:
        """Count in turn. Raises OutboundRefused; who is cancelled meanwhile has used nothing."""

        async def in_turn() -> Grant:
            async with self._one:  # our own wishes need not race each other
                return await self._count(wish, route)

        counting = self._aside(in_turn())
        try:
            await asyncio.wait({counting})
        except asyncio.CancelledError:
            counting.add_done_callback(self._drop)
            raise
        return counting.result()

    def _drop(self, counting: asyncio.Task[Grant]) -> None:
        """Nobody waits for this grant any more."""
        if not counting.cancelled() and counting.exception() is None and counting.result().wish.holds_line:
            self._settling[counting.result().grant_id] = counting.result(), 0.0

    async def _settle_or_keep(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._settle()

    async def _count(self, wish: Wish, route: Route) -> Grant:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                for _ in range(MAX_TRIES):
                    with contextlib.suppress(WatchError):
                        return await self._try(wish, route)
        except (RedisError, OSError, TimeoutError):
            raise OutboundRefused(Refusal.COUNTERS_AWAY) from None
        raise OutboundRefused(Refusal.TOO_FAST)

    async def _try(self, wish: Wish, route: Route) -> Grant:
        """One attempt. Raises WatchError if another gateway counted in between."""
        now_us = await self._now_us()
        grant_id, day = secrets.token_hex(8), now_us // 1_000_000 // DAY_S
        trunk = self.policy.counted_as(wish)
        live, recent, today = _keys(trunk, day)
        async with self._redis.pipeline(transaction=True) as pipe:
            await pipe.watch(live, recent, today)
            max_s = self.policy.allot(wish, await _usage(pipe, trunk, now_us))
            pipe.multi()  # type: ignore[no-untyped-call]
            pipe.zremrangebyscore(recent, "-inf", now_us - MINUTE_US)
            pipe.zadd(recent, {grant_id: now_us})
            pipe.expire(recent, 2 * MINUTE_US // 1_000_000)
            pipe.hincrby(today, "calls", 1)
            pipe.hincrbyfloat(today, "seconds", max_s)
            pipe.expire(today, KEPT_DAY_S)
            if wish.holds_line:
                pipe.zremrangebyscore(live, "-inf", now_us)
                _hold(pipe, live, grant_id, now_us)
            grant = Grant(grant_id, wish, route, max_s, day)
            try:
                await pipe.execute()
            except WatchError:
                raise
            except BaseException:  # cancelled, too slow, or the connection was lost
                if wish.holds_line:
                    self._doubtful[grant_id] = grant
                raise
        return grant

    async def _renew_until_closed(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RENEW_S):
                    await self._closing.wait()
            try:
                await self._settle()
                await self._undo()
                await self._renew()
            except (RedisError, OSError) as error:
                log.warning("outbound_counters_away", cause=type(error).__name__, num_held=len(self._held))

    async def _renew(self) -> None:
        if not self._held:
            return
        now_us = await self._now_us()
        async with self._redis.pipeline(transaction=False) as pipe:
            for grant in self._held.values():
                live, _, _ = _keys(self.policy.counted_as(grant.wish), 0)
                _hold(pipe, live, grant.grant_id, now_us)
            await pipe.execute()

    async def _undo(self) -> None:
        """Give back what nobody got: it was counted if it still stands among the live ones."""
        for grant_id, grant in list(self._doubtful.items()):
            live, _, today = _keys(self.policy.counted_as(grant.wish), grant.day)
            async with self._redis.pipeline(transaction=True) as pipe:
                await pipe.watch(live)
                if await pipe.zscore(live, grant_id) is not None:
                    pipe.multi()  # type: ignore[no-untyped-call]
                    pipe.zrem(live, grant_id)
                    pipe.hincrbyfloat(today, "seconds", -grant.max_s)
                    await pipe.execute()
            del self._doubtful[grant_id]

    async def _settle(self) -> None:
        """Write what calls that are over have left of their allowance."""
        for grant_id in list(self._settling):
            over = self._settling.pop(grant_id, None)  # a lost answer must not give back twice
            if over is None:
                continue
            grant, used_s = over
            live, _, today = _keys(self.policy.counted_as(grant.wish), grant.day)
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.zrem(live, grant_id)
                pipe.hincrbyfloat(today, "seconds", used_s - grant.max_s)
                pipe.expire(today, KEPT_DAY_S)
                try:
                    await pipe.execute()
                except (RedisError, OSError):
                    log.warning("outbound_not_settled", remedy="the day's minutes count it in full")
                    raise


def _keys(trunk: str, day: int) -> tuple[str, str, str]:
    stem = f"offhook:outbound:{trunk}"
    return f"{stem}:live", f"{stem}:recent", f"{stem}:day:{day}"


def _hold(pipe: Pipeline, live: str, grant_id: str, now_us: int) -> None:
    pipe.zadd(live, {grant_id: now_us + LEASE_US})
    pipe.expire(live, 2 * LEASE_US // 1_000_000)


async def _usage(pipe: Pipeline, trunk: str, now_us: int) -> Usage:
    """The figures, read at once; on a pipeline that watches, or one that has nothing queued."""
    live, recent, today = _keys(trunk, now_us // 1_000_000 // DAY_S)
    await pipe.watch(today)  # from here on commands answer at once
    num_live = await pipe.zcount(live, f"({now_us}", "+inf")
    num_recent = await pipe.zcount(recent, f"({now_us - MINUTE_US}", "+inf")
    calls, seconds = await pipe.hmget(today, ["calls", "seconds"])
    return Usage(int(num_recent), int(num_live), int(calls or 0), float(seconds or 0.0))
