"""Session records and slot leases in Redis. Nothing here may hold up a call: Redis can vanish at any time.

    offhook:session:{call_id}    string  SessionRecord as JSON; gone after LEASE_S unless a gateway renews it,
                                         or ENDED_S after the call's end
    offhook:slots:{worker_id}    zset    call_id -> expiry (Unix microseconds): who holds a slot there
    offhook:fencing              string  the last fencing number given out

A lease is a promise between gateways; the worker's slot table is the authority, and refuses a claim that has
no slot or whose fencing number is not newer. So while Redis is away a gateway grants itself leases that are
marked unconfirmed, and calls go on. Fencing numbers follow Redis's clock in microseconds, so that they still
grow after a restart that lost everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self, cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError

from agent import metrics
from agent.errors import EndReason, RedisUnavailable
from agent.logs import mask_address

LEASE_S = 15
LEASE_US = LEASE_S * 1_000_000
RENEW_S = 5.0  # two renewals may fail before a lease is lost
ENDED_S = 3600
RETRY_S = 0.5
TIMEOUT_S = 0.25  # the longest a new call waits for Redis; after one such wait Redis counts as lost
SOCKET_TIMEOUT_S = 2.0  # in the background nothing waits, and a busy machine may be slow
MAX_WAITING = 4096

SESSION_KEY = "offhook:session:{}"
SLOTS_KEY = "offhook:slots:{}"
FENCING_KEY = "offhook:fencing"

# KEYS: fencing, then a zset per candidate worker. ARGV: call_id, lease in microseconds, slots per candidate.
# Returns {index of the candidate from 1, fencing}, or {0, "0"} when all are full.
LEASE_LUA = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
for i = 2, #KEYS do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', string.format('%.0f', now))
  if redis.call('ZCARD', KEYS[i]) < tonumber(ARGV[i + 1]) then
    local fencing = math.max(now, tonumber(redis.call('GET', KEYS[1]) or '0') + 1)
    fencing = string.format('%.0f', fencing)
    redis.call('SET', KEYS[1], fencing)
    redis.call('ZADD', KEYS[i], string.format('%.0f', now + ARGV[2]), ARGV[1])
    redis.call('PEXPIRE', KEYS[i], math.floor(ARGV[2] / 500))
    return {i - 1, fencing}
  end
end
return {0, '0'}
"""
# KEYS: one zset. ARGV: call_id, lease in microseconds. Puts back what a Redis that lost its memory forgot.
RENEW_LUA = """
local t = redis.call('TIME')
redis.call('ZADD', KEYS[1], string.format('%.0f', t[1] * 1000000 + t[2] + ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.floor(ARGV[2] / 500))
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One call as other gateways and operators see it; times are Unix epoch."""

    call_id: str
    gateway_id: str
    direction: str  # inbound, outbound
    state: str  # a CallState's name
    started_at_ms: int
    transport: str = "sip"  # or webrtc
    caller: str = ""  # masked before it leaves the process, unless the operator shows persons
    worker_id: str | None = None
    codec: str | None = None
    answered_at_ms: int | None = None
    ended_at_ms: int | None = None
    end_reason: EndReason | None = None
    num_turns: int = 0
    answered_by: str | None = None  # of a call of ours: an Answerer
    transfer: str | None = None  # the latest: trying, or a TransferResult
    delegated: str | None = None  # the caller's question that waits for an answer; masked like the caller

    def public(self, *, show_pii: bool) -> dict[str, Any]:
        """The record as JSON values, its caller and their question masked by default."""
        masked = {"caller": mask_address(self.caller), "delegated": None if self.delegated is None else "***"}
        return {**asdict(self), **({} if show_pii else masked)}


@dataclass(frozen=True, slots=True)
class SlotLease:
    """The right to claim one slot of a worker, with the number that proves how new the right is."""

    worker_id: str
    call_id: str
    fencing: int
    is_confirmed: bool  # False: Redis was away, so only the worker knows


class Store:
    """One gateway's side of Redis: an async context manager, within which one task writes in the background.

    Waiting writes are kept per call, so that the newest record wins; beyond `max_waiting` calls the oldest
    write is dropped and counted. While Redis is away `save` and `release_slot` only note, and `lease_slot`
    decides at once.
    """

    def __init__(self, url: str, *, show_pii: bool = False, max_waiting: int = MAX_WAITING) -> None:
        self._redis = connect(url)
        self._show_pii = show_pii
        self._max_waiting = max_waiting
        self._live: dict[str, SessionRecord] = {}  # renewed for as long as they are here
        self._leases: dict[str, SlotLease] = {}
        self._waiting: dict[str, SessionRecord] = {}
        self._releases: dict[str, SlotLease] = {}
        self._wake = asyncio.Event()
        self._in_order = asyncio.Lock()  # a release must not overtake the next lease of the same call
        self._tasks = asyncio.TaskGroup()
        self._is_closing = False
        self._last_fencing = 0
        self._renewed_s = 0.0  # monotonic
        self.is_up = False

    async def __aenter__(self) -> Self:
        """Begin writing.

        Raises RedisUnavailable if Redis refuses our credentials; one that is merely not there may come later.
        """
        try:
            await self._write_all()
        except AuthenticationError as error:
            await self._redis.aclose()
            cause = f"Redis refuses us ({error}); correct the password in OFFHOOK_REDIS_URL"
            raise RedisUnavailable(cause) from None
        except (RedisError, OSError) as error:
            self._lost(error)
        await self._tasks.__aenter__()
        self._tasks.create_task(self._write_until_closed())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what still waits, if Redis lets us, and disconnect."""
        # The writer is not cancelled: redis-py can swallow a cancellation that meets a lost connection.
        self._is_closing = True
        self._wake.set()
        try:
            await self._tasks.__aexit__(kind, error, trace)
        finally:
            self._live.clear()
            self._leases.clear()
            with contextlib.suppress(RedisError, OSError):
                await self._write_all()
            await self._redis.aclose()

    def save(self, record: SessionRecord) -> None:
        """Note this state of a call; it reaches Redis soon, and is renewed until it has an end reason."""
        if record.end_reason is None:
            self._live[record.call_id] = record
        else:
            self._live.pop(record.call_id, None)
        self._waiting.pop(record.call_id, None)  # so that the newest stands last in line
        self._waiting[record.call_id] = record
        while len(self._waiting) > self._max_waiting:
            self._waiting.pop(next(iter(self._waiting)))
            metrics.STORE_DROPPED_WRITES.inc()
        self._wake.set()

    async def lease_slot(self, call_id: str, candidates: Sequence[tuple[str, int]]) -> SlotLease | None:
        """Lease a slot of the first candidate (worker id, its slots) that has one; None if all are full.

        Takes at most TIMEOUT_S. While Redis is away the first candidate is granted unconfirmed.
        """
        if not candidates:
            return None
        ask = self._attempt if self.is_up else self._unconfirmed
        lease = await ask(call_id, candidates)
        if lease is not None:
            self._leases[call_id] = lease
        return lease

    def release_slot(self, lease: SlotLease) -> None:
        """Give the lease back; later leases of this gateway see it at once, other gateways soon."""
        if self._leases.get(lease.call_id) == lease:
            del self._leases[lease.call_id]
        self._releases[lease.call_id] = lease
        self._wake.set()

    async def load(self, call_id: str) -> dict[str, Any] | None:
        """A call's record as Redis has it now, or None.

        Raises RedisError when Redis is away.
        """
        text = await self._redis.get(SESSION_KEY.format(call_id))
        return None if text is None else cast(dict[str, Any], json.loads(text))

    async def _attempt(self, call_id: str, candidates: Sequence[tuple[str, int]]) -> SlotLease | None:
        """Ask Redis in a task of its own, so that neither a slow Redis nor our caller's end can do harm."""
        asked = self._tasks.create_task(self._lease_in_turn(call_id, candidates))
        try:
            done, _ = await asyncio.wait({asked}, timeout=TIMEOUT_S)
        except asyncio.CancelledError:
            asked.add_done_callback(self._give_back)
            raise
        if done:
            return asked.result()
        self._lost(TimeoutError())
        return await self._unconfirmed(call_id, candidates)

    def _give_back(self, asked: asyncio.Task[SlotLease | None]) -> None:
        if not asked.cancelled() and (lease := asked.result()) is not None:
            self.release_slot(lease)

    async def _unconfirmed(self, call_id: str, candidates: Sequence[tuple[str, int]]) -> SlotLease | None:
        self._last_fencing = max(self._last_fencing + 1, time.time_ns() // 1000)
        return SlotLease(candidates[0][0], call_id, self._last_fencing, is_confirmed=False)

    async def _lease_in_turn(self, call_id: str, candidates: Sequence[tuple[str, int]]) -> SlotLease | None:
        async with self._in_order:
            if self.is_up:
                return await self._lease_in_redis(call_id, candidates)
        return await self._unconfirmed(call_id, candidates)  # lost while it waited its turn

    async def _lease_in_redis(self, call_id: str, candidates: Sequence[tuple[str, int]]) -> SlotLease | None:
        keys = [FENCING_KEY, *(SLOTS_KEY.format(worker_id) for worker_id, _ in candidates)]
        arguments: list[str | int] = [call_id, LEASE_US, *(num_slots for _, num_slots in candidates)]
        pipe = self._redis.pipeline(transaction=True)
        released = dict(self._releases)
        for lease in released.values():
            pipe.zrem(SLOTS_KEY.format(lease.worker_id), lease.call_id)
        pipe.eval(LEASE_LUA, len(keys), *keys, *arguments)
        try:
            index, fencing = (await pipe.execute())[-1]
        except (RedisError, OSError) as error:
            self._lost(error)
            return await self._unconfirmed(call_id, candidates)
        self._forget_releases(released)
        if not index:
            return None
        self._last_fencing = max(self._last_fencing, int(fencing))
        return SlotLease(candidates[index - 1][0], call_id, int(fencing), is_confirmed=True)

    async def _write_until_closed(self) -> None:
        while not self._is_closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RENEW_S):
                    await self._wake.wait()
            self._wake.clear()
            try:
                async with self._in_order:
                    await self._write_all()
            except (RedisError, OSError) as error:
                self._lost(error)
                if not self._is_closing:
                    await asyncio.sleep(RETRY_S)

    async def _write_all(self) -> None:
        """Send what waits, and what is due for renewal, in one round trip; keep all of it if that fails."""
        waiting, released = dict(self._waiting), dict(self._releases)
        is_due = not self.is_up or time.monotonic() - self._renewed_s >= RENEW_S
        pipe = self._redis.pipeline(transaction=False)
        for lease in released.values():
            pipe.zrem(SLOTS_KEY.format(lease.worker_id), lease.call_id)
        for lease in self._leases.values() if is_due else ():
            pipe.eval(RENEW_LUA, 1, SLOTS_KEY.format(lease.worker_id), lease.call_id, LEASE_US)
        for record in {**(self._live if is_due else {}), **waiting}.values():
            expiry_s = LEASE_S if record.end_reason is None else ENDED_S
            text = json.dumps(record.public(show_pii=self._show_pii))
            pipe.set(SESSION_KEY.format(record.call_id), text, ex=expiry_s)
        pipe.ping()
        await pipe.execute()
        self._note_written(waiting, released, is_due=is_due)

    def _note_written(
        self, waiting: dict[str, SessionRecord], released: dict[str, SlotLease], *, is_due: bool
    ) -> None:
        for call_id, record in waiting.items():
            if self._waiting.get(call_id) is record:
                del self._waiting[call_id]
        self._forget_releases(released)
        if is_due:
            self._renewed_s = time.monotonic()
        if not self.is_up:
            log.info("redis_connected", num_live=len(self._live))
        self.is_up = True
        metrics.REDIS_UP.set(1)

    def _forget_releases(self, done: dict[str, SlotLease]) -> None:
        for call_id, lease in done.items():
            if self._releases.get(call_id) is lease:
                del self._releases[call_id]

    def _lost(self, error: Exception) -> None:
        self._wake.set()  # the writer tries until it is back
        if self.is_up:
            log.warning("redis_lost", cause=type(error).__name__)
        self.is_up = False
        metrics.REDIS_UP.set(0)


def connect(url: str) -> Redis:
    """A client that gives up quickly and never repeats: repeating is the writer's business.

    Raises RedisUnavailable for a URL that is none.
    """
    try:
        return Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            protocol=2,  # 3 begins with HELLO, whose refusal does not say that a password is missing
        )
    except ValueError as error:
        raise RedisUnavailable(
            f"OFFHOOK_REDIS_URL is no Redis URL ({error}); write redis://host:6379/0"
        ) from None


async def ping(url: str) -> None:
    """Return if a Redis answers at this URL.

    Raises RedisUnavailable if the URL or its credentials are refused, RedisError if nothing answers.
    """
    async with connect(url) as redis:
        try:
            await redis.ping()
        except AuthenticationError as error:
            raise RedisUnavailable(f"Redis refuses us ({error})") from None
