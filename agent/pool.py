"""The workers a gateway can use: local ones are started, watched and restarted, remote ones are connected to.

    async with WorkerPool(settings.worker, name="gw0") as pool:
        await pool.wait_ready()                               # WorkerUnavailable after start_timeout_s
        pool.candidates()                                     # [(worker_id, slots)], emptiest first
        slot = await pool.claim("call-1", fencing=1, seed=7)  # agent.slot.Slot; NoFreeSlot

A worker counts as ready when it is loaded, warm and connected. When one dies, hangs (no heartbeat for 4 s, or
an engine thread that has not ticked for 10 s) or drops the connection, its slots raise WorkerLost at once;
the sessions claim again here, on another worker or on the restarted one. Restarts wait longer after each
quick death, up to 30 s. What workers count goes into `agent.metrics` here.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import structlog
from numpy.typing import NDArray

from agent import clock, metrics
from agent.engines import model_argument
from agent.errors import AgentError, ConfigError, NoFreeSlot, WorkerUnavailable
from agent.local_worker import LocalWorker
from agent.settings import WorkerSettings
from agent.slot import ClaimRefused, PromptRefused, Slot, WorkerLost
from agent.wire import DEFAULT_PROFILE, PERIOD_S, Stats
from agent.worker_address import WorkerAddress
from agent.worker_link import WorkerLink
from model.control import CallProfile
from telephony.audio import Pcm
from telephony.endpoint import TICK_S, TICKS_PER_FRAME

CONNECT_RETRY_S = 0.05
CLAIM_RETRY_S = 0.2
FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0
STEADY_S = 30.0  # a worker that lived so long has not died of its start
CRASH_LOOP_DEATHS = 5
KEPT_TICKS = 375  # 30 s of a busy worker's
HUNG_AFTER_S = 10.0  # an engine thread that has not ticked for so long; replaying a history is quicker


class WorkerSource(Protocol):
    """Where one worker comes from: `agent.local_worker.LocalWorker`, or RemoteWorker."""

    @property
    def worker_id(self) -> str:
        """What we call it."""

    @property
    def address(self) -> WorkerAddress:
        """Where it listens when it is warm."""

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Have it running soon; background work goes into `group`."""

    def check(self) -> None:
        """Raise WorkerUnavailable if it has ended."""

    async def stop(self, *, is_graceful: bool) -> None:
        """Have it gone, with everything it used."""


@dataclass(frozen=True, slots=True)
class RemoteWorker:
    """A worker somebody else runs: there is nothing to start or stop."""

    worker_id: str
    address: WorkerAddress

    async def start(self, group: asyncio.TaskGroup) -> None:
        """It is somebody else's."""

    def check(self) -> None:
        """The connection will tell."""

    async def stop(self, *, is_graceful: bool) -> None:
        """It is somebody else's."""


class Berth:
    """One worker's place in the pool: keeps it running and connected, for as long as `keep` runs."""

    def __init__(
        self, source: WorkerSource, label: str, settings: WorkerSettings, on_change: Callable[[], None]
    ) -> None:
        self.source, self.label = source, label
        self.link: WorkerLink | None = None  # set while it is ready
        self.failure: AgentError | None = None  # of the latest attempt
        self.num_deaths = 0  # in a row, without a steady life between
        self.recent_ticks_s: deque[float] = deque(maxlen=KEPT_TICKS)
        self._secret = settings.secret.get_secret_value().encode() if settings.secret else b""
        self._start_timeout_s = settings.ready_timeout_s
        self._on_change = on_change
        self._told: Stats | None = None
        self._log = structlog.get_logger("agent.pool").bind(worker_id=source.worker_id)

    async def keep(self, group: asyncio.TaskGroup) -> None:
        """Start, connect, watch; when it ends, begin again. Never returns."""
        while True:
            began_s = clock.now()
            is_our_end = True
            try:
                self.failure = await self._live(group)
                is_our_end = False
            finally:
                await self.source.stop(is_graceful=is_our_end)
            self.note_death(clock.now() - began_s)
            await asyncio.sleep(self.backoff_s)
            metrics.WORKER_RESTARTS.labels(self.label).inc()

    async def _live(self, group: asyncio.TaskGroup) -> AgentError:
        """One life of the worker; why it ended."""
        try:
            began_s = clock.now()
            async with asyncio.timeout(self._start_timeout_s):
                await self.source.start(group)
                link = await self._connect()
        except TimeoutError:
            return WorkerUnavailable(
                f"worker {self.source.worker_id} was not ready in {self._start_timeout_s:g} s; "
                "see its log, or raise OFFHOOK_WORKER__START_TIMEOUT_S"
            )
        except AgentError as error:
            return error
        except OSError as error:
            return WorkerUnavailable(f"worker {self.source.worker_id} cannot be started: {error.strerror}")
        self._log.info(
            "worker_connected", seconds=round(clock.now() - began_s, 3), num_slots=link.hello.num_slots
        )
        self._begin(link)
        try:
            await link.run()
        finally:
            self._end()
        return link.lost or WorkerLost(f"worker {self.source.worker_id} is gone")

    async def _connect(self) -> WorkerLink:
        """Wait until it listens, which it does when it is warm. Cancelled by the start's timeout."""
        while True:
            try:
                return await WorkerLink.connect(self.source.address, secret=self._secret)
            except WorkerUnavailable as error:
                if not isinstance(error.__cause__, OSError):
                    raise  # somebody answers, but refuses us
            self.source.check()
            await asyncio.sleep(CONNECT_RETRY_S)

    def _begin(self, link: WorkerLink) -> None:
        self.link, self.failure, self._told = link, None, None
        link.on_stats = self._note_stats
        metrics.WORKER_SLOTS.labels(self.label).set(link.hello.num_slots)
        metrics.WORKER_STEP_P99_SECONDS.labels(self.label).set(link.hello.step_p99_s)
        metrics.WORKER_RESTARTS.labels(self.label)  # shown at zero, so that the first one counts
        metrics.WORKER_SLOTS_USED.labels(self.label).set(0)
        self._on_change()

    def _end(self) -> None:
        self.link = None
        metrics.WORKER_SLOTS.labels(self.label).set(0)
        metrics.WORKER_SLOTS_USED.labels(self.label).set(0)
        self._on_change()

    def _note_stats(self, stats: Stats) -> None:
        told, self._told = self._told, stats
        for counter, name in (
            (metrics.WORKER_DEADLINE_MISSES, "num_deadline_misses"),
            (metrics.WORKER_DROPPED_FRAMES, "num_frames_dropped"),
        ):
            counter.labels(self.label).inc(getattr(stats, name) - (getattr(told, name) if told else 0))
        metrics.WORKER_SLOTS_USED.labels(self.label).set(stats.num_slots_used)
        for seconds in stats.tick_seconds:
            metrics.WORKER_TICK_SECONDS.labels(self.label).observe(float(seconds))
            self.recent_ticks_s.append(float(seconds))
        if stats.tick_age_s > HUNG_AFTER_S and self.link is not None:
            self._log.error("worker_hung", tick_age_s=round(stats.tick_age_s, 1))
            self.link.close()

    def note_death(self, lived_s: float) -> None:
        """Count a life that ended after so long; it decides how soon the next begins."""
        self._on_change()
        self.num_deaths = 1 if lived_s > STEADY_S else self.num_deaths + 1
        self._log.warning(
            "worker_lost", reason=str(self.failure), lived_s=round(lived_s, 3), num_deaths=self.num_deaths
        )
        if self.num_deaths == CRASH_LOOP_DEATHS:
            self._log.error("worker_crash_loop", reason=str(self.failure), retry_s=self.backoff_s)

    @property
    def is_crash_looping(self) -> bool:
        """Whether it dies again and again, never having lived for long."""
        return self.num_deaths >= CRASH_LOOP_DEATHS

    @property
    def backoff_s(self) -> float:
        """How long to wait before the next start."""
        return (
            0.0 if self.num_deaths < 2 else min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (self.num_deaths - 2))
        )


class WorkerPool:
    """Every worker of one gateway; an async context manager that starts and ends them."""

    def __init__(
        self, settings: WorkerSettings, *, name: str, phase_s: float = 0.0, cache: Path | None = None
    ) -> None:
        """`name` is the gateway's, unique among gateways: our workers' ids begin with it.

        Workers keep what they measured under `cache`; None: where they like.

        Local workers step on this phase of the monotonic clock, spread over the period by whole bridge ticks.
        """
        self._settings, self._phase_s, self._cache = settings, phase_s, cache
        self._folder = Path(tempfile.mkdtemp(prefix="offhook-"))  # 0700: nobody else reaches our sockets
        sources = [(f"w{i}", self._local(f"{name}-w{i}", i)) for i in range(settings.count)]
        remote = [(text, RemoteWorker(text, WorkerAddress.parse(text))) for text in settings.addresses]
        self.berths = [
            Berth(source, label, settings, self._note_change) for label, source in [*sources, *remote]
        ]
        self._change = asyncio.Event()
        self._tasks = asyncio.TaskGroup()
        self._keeping: list[asyncio.Task[None]] = []

    def _local(self, worker_id: str, index: int) -> WorkerSource:
        settings = self._settings
        address = WorkerAddress.parse(f"unix:{self._folder}/w{index}.sock")
        spread = TICK_S * round(TICKS_PER_FRAME * index / settings.count)  # not all steps begin at once
        options: dict[str, object] = {
            "--slots": settings.slots,
            "--engine": settings.engine,
            "--model-dir": model_argument(settings.model_dir),
            "--device": settings.device,
            "--threads": settings.threads,
            "--kv": settings.kv,
            "--share": settings.share,
            "--compile": settings.compile,
            "--phase-ms": round(1000 * ((self._phase_s + spread) % PERIOD_S)),
        }
        if self._cache is not None:
            options["--cache"] = self._cache.absolute()
        if settings.trace_folder is not None:
            options["--trace-folder"] = settings.trace_folder.absolute()
        return LocalWorker(worker_id, address, tuple(str(part) for pair in options.items() for part in pair))

    async def __aenter__(self) -> Self:
        """Begin starting the workers; `wait_ready` waits for them."""
        await self._tasks.__aenter__()
        self._keeping = [self._tasks.create_task(berth.keep(self._tasks)) for berth in self.berths]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every worker of ours, and leave nothing behind."""
        try:
            for task in self._keeping:
                task.cancel()
            if isinstance(error, asyncio.CancelledError):
                await self._tasks.__aexit__(kind, error, trace)
            else:  # the block's own error goes on as it is, not as a group
                await self._tasks.__aexit__(None, None, None)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    # ---- what there is ----

    @property
    def links(self) -> list[WorkerLink]:
        """The ready workers."""
        return [berth.link for berth in self.berths if berth.link is not None and berth.link.lost is None]

    @property
    def num_slots(self) -> int:
        """Slots of the ready workers."""
        return sum(link.hello.num_slots for link in self.links)

    @property
    def num_slots_free(self) -> int:
        """Slots that a claim could get, as far as we know; other gateways may be faster."""
        return sum(link.num_slots_free for link in self.links)

    @property
    def crash_looping(self) -> list[str]:
        """Labels of workers that die again and again."""
        return [berth.label for berth in self.berths if berth.is_crash_looping]

    def candidates(self, model: str = "") -> list[tuple[str, int]]:
        """Ready workers with a free slot as (worker id, all its slots), the emptiest first, for a lease.

        With `model` only those that have it. The gateway's own tokenizer reads and writes the words of every
        call, so such a worker's must be the same.
        """
        return [
            (link.worker_id, link.hello.num_slots)
            for link in self._by_free()
            if link.num_slots_free and model in ("", link.hello.model)
        ]

    async def wait_ready(self, num_workers: int = 1, timeout_s: float | None = None) -> None:
        """Wait until so many workers are ready (default: up to the configured start timeout).

        Raises WorkerUnavailable with the reason of the latest failure; a worker's ConfigError at once.
        """
        try:
            async with asyncio.timeout(self._settings.ready_timeout_s if timeout_s is None else timeout_s):
                while len(self.links) < num_workers:
                    for berth in self.berths:
                        if isinstance(berth.failure, ConfigError):
                            raise berth.failure
                    await self._next_change()
        except TimeoutError:
            failures = [str(berth.failure) for berth in self.berths if berth.failure is not None]
            reason = failures[-1] if failures else "still starting; raise OFFHOOK_WORKER__START_TIMEOUT_S"
            raise WorkerUnavailable(
                f"{len(self.links)} of {num_workers} workers are ready: {reason}"
            ) from None

    # ---- slots ----

    async def claim(
        self,
        call_id: str,
        *,
        fencing: int,
        seed: int,
        profile: CallProfile = DEFAULT_PROFILE,
        worker_id: str | None = None,
        history: NDArray[np.int16] | None = None,
        caller_pcm: Pcm | None = None,
        wait_s: float = 0.0,
    ) -> Slot:
        """Claim a slot of that worker, or of the emptiest; with `wait_s`, try for so long (after WorkerLost).

        Raises NoFreeSlot (ClaimRefused if a worker said why; PromptRefused at once, however long `wait_s`).
        """
        deadline_s = clock.now() + wait_s
        while True:
            try:
                return await self._try_claim(
                    worker_id,
                    call_id,
                    fencing=fencing,
                    seed=seed,
                    profile=profile,
                    history=history,
                    caller_pcm=caller_pcm,
                )
            except PromptRefused:
                raise
            except NoFreeSlot:
                left_s = deadline_s - clock.now()
                if left_s <= 0:
                    raise
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, CLAIM_RETRY_S)):
                    await self._next_change()

    async def _try_claim(self, worker_id: str | None, call_id: str, **claim: Any) -> Slot:
        refusal = NoFreeSlot("no warm worker has a free slot")
        for link in self._by_free():
            if worker_id not in (None, link.worker_id) or not link.num_slots_free:
                continue
            try:
                return await link.claim(call_id, **claim)
            except ClaimRefused as error:
                refusal = error
            except WorkerLost:
                continue
        raise refusal

    def _by_free(self) -> list[WorkerLink]:
        return sorted(self.links, key=lambda link: link.num_slots_free, reverse=True)

    def _note_change(self) -> None:
        self._change.set()

    async def _next_change(self) -> None:
        """Wait until a worker becomes ready or is lost."""
        self._change.clear()
        await self._change.wait()
