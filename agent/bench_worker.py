"""`offhook bench worker`: what a call costs a worker, whether ticks are late, how many calls one core holds.

For each number of calls a real worker process is started on one core and given frames at the pace of calls,
each just before its tick, as a gateway does. CPU time is the whole worker's (engine, socket, interpreter),
divided by the steps. Calls per core is where the line through the measured CPU times meets 80 % of a tick.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from agent import clock
from agent.engines import model_argument
from agent.errors import ConfigError, WorkerUnavailable
from agent.local_worker import LocalWorker
from agent.machine import this_machine
from agent.settings import Settings, WorkerSettings
from agent.slot import Slot
from agent.standin import LINE_FRAMES, burst
from agent.wire import FRAME_SAMPLES, PERIOD_S, Stats
from agent.worker_address import WorkerAddress
from agent.worker_link import WorkerLink, linked
from telephony.audio import Pcm

LEAD_S = 0.010  # frames are sent so long before their tick
SETTLE_S = 2.0  # of steps that are not counted
BUDGET_S = 0.8 * PERIOD_S
BAR_CALLS, BAR_CPU_S = 2, 0.040
CONNECT_RETRY_S = 0.05
MAX_STRETCH = 4  # how far beyond the measured rows their line is believed


@dataclass(frozen=True, slots=True)
class Load:
    """What was measured with so many calls at once."""

    num_calls: int
    num_ticks: int
    cpu_s: float  # per step: per tick, unless late ticks were caught up
    tick_p50_s: float
    tick_p95_s: float
    tick_p99_s: float
    tick_max_s: float
    num_deadline_misses: int
    num_frames_sent: int
    num_replies: int
    num_frames_dropped: int
    num_frames_missing: int

    @property
    def is_within(self) -> bool:
        """No miss, and with two calls the CPU time under its bar."""
        return not self.num_deadline_misses and (self.num_calls != BAR_CALLS or self.cpu_s <= BAR_CPU_S)


def calls_per_core(loads: Sequence[Load]) -> int | None:
    """How many calls' CPU time fits into 80 % of a tick; None if the measured rows do not tell."""
    if len({load.num_calls for load in loads}) < 2:
        return None
    per_call_s, alone_s = np.polyfit([load.num_calls for load in loads], [load.cpu_s for load in loads], 1)
    found = int((BUDGET_S - alone_s) / per_call_s) if per_call_s > 0 else 0
    return found if 0 < found <= MAX_STRETCH * max(load.num_calls for load in loads) else None


def caller_frames() -> list[Pcm]:
    """Two seconds, half of them speech-like."""
    speech = [burst(0, frame) for frame in range(LINE_FRAMES)]
    return speech + [np.zeros(FRAME_SAMPLES, np.float32)] * (25 - LINE_FRAMES)


@contextlib.asynccontextmanager
async def worker(settings: WorkerSettings, num_slots: int, cpu: int) -> AsyncIterator[WorkerLink]:
    """A warm worker with its own core.

    Raises WorkerUnavailable, with the worker's reason, if it does not come up.
    """
    options = {
        "--slots": num_slots,
        "--engine": settings.engine,
        "--model-dir": model_argument(settings.model_dir),
        "--device": settings.device,
        "--threads": settings.threads,
        "--kv": settings.kv,
        "--cpus": cpu,
        "--compile": "no"
        if settings.compile == "no"
        else "kept",  # compiling meanwhile would be measured, too
    }
    arguments = tuple(str(part) for pair in options.items() for part in pair)
    with tempfile.TemporaryDirectory(prefix="offhook-") as folder:
        local = LocalWorker("bench", WorkerAddress(path=f"{folder}/w.sock"), arguments)
        async with asyncio.TaskGroup() as group:
            await local.start(group)
            try:
                await _until_warm(local, settings.start_timeout_s)
                async with linked(local.address) as link:
                    yield link
            finally:
                await local.stop(is_graceful=True)


async def _until_warm(local: LocalWorker, timeout_s: float) -> None:
    deadline_s = clock.now() + timeout_s
    while True:
        with contextlib.suppress(OSError):
            _, writer = await local.address.connect()
            writer.close()
            return
        local.check()
        if clock.now() > deadline_s:
            raise WorkerUnavailable(f"the worker was not ready in {timeout_s:g} s")
        await asyncio.sleep(CONNECT_RETRY_S)


class Driver:
    """Holds calls on one worker and feeds them at their pace."""

    def __init__(self, link: WorkerLink) -> None:
        self._link = link
        self._seen: list[Stats] = []
        self._is_over = False
        self.num_sent = self.num_replies = 0
        link.on_stats = self._seen.append

    async def run(self, num_calls: int, seconds: float) -> Load:
        """Claim, feed, and tell what the worker counted meanwhile."""
        slots = [await self._link.claim(f"bench-{n}", fencing=1, seed=n) for n in range(num_calls)]
        async with asyncio.TaskGroup() as group:
            for slot in slots:
                group.create_task(self._read(slot))
            feeding = group.create_task(self._feed(slots))
            await asyncio.sleep(SETTLE_S)
            first = await self._next_stats()
            sent, replied = self.num_sent, self.num_replies
            await asyncio.sleep(seconds)
            last = await self._next_stats()
            sent, replied = self.num_sent - sent, self.num_replies - replied
            self._is_over = True
            await feeding
            for slot in slots:
                await slot.release()
        return self._load(num_calls, (first, last), (sent, replied))

    async def _feed(self, slots: Sequence[Slot]) -> None:
        frames = caller_frames()
        tick_s = self._link.next_tick_s(clock.now() + LEAD_S)
        number = 0
        while not self._is_over:
            await asyncio.sleep(max(0.0, tick_s - LEAD_S - clock.now()))
            for place, slot in enumerate(slots):
                await slot.send(frames[(number + 5 * place) % len(frames)])
                self.num_sent += 1
            number += 1
            tick_s += PERIOD_S

    async def _read(self, slot: Slot) -> None:
        async for _ in slot.replies():
            self.num_replies += 1

    async def _next_stats(self) -> int:
        """Wait for the next heartbeat; its place in what was seen."""
        news = asyncio.Event()

        def note(stats: Stats) -> None:
            self._seen.append(stats)
            news.set()

        self._link.on_stats = note
        await news.wait()
        return len(self._seen) - 1

    def _load(self, num_calls: int, places: tuple[int, int], frames: tuple[int, int]) -> Load:
        first, last = self._seen[places[0]], self._seen[places[1]]
        between = self._seen[places[0] + 1 : places[1] + 1]
        ticks_s = np.concatenate([stats.tick_seconds for stats in between])
        if not len(ticks_s):
            raise WorkerUnavailable("the worker stepped nothing; see its log")
        p50_s, p95_s, p99_s, worst_s = (float(s) for s in np.percentile(ticks_s, [50, 95, 99, 100]))
        return Load(
            num_calls=num_calls,
            num_ticks=last.num_ticks - first.num_ticks,
            cpu_s=(last.cpu_s - first.cpu_s) / (last.num_steps - first.num_steps),
            tick_p50_s=p50_s,
            tick_p95_s=p95_s,
            tick_p99_s=p99_s,
            tick_max_s=worst_s,
            num_deadline_misses=last.num_deadline_misses - first.num_deadline_misses,
            num_frames_sent=frames[0],
            num_replies=frames[1],
            num_frames_dropped=last.num_frames_dropped - first.num_frames_dropped,
            num_frames_missing=last.num_frames_missing - first.num_frames_missing,
        )


async def measure(settings: WorkerSettings, num_calls: int, seconds: float, cpu: int) -> Load:
    """One row: a fresh worker with exactly so many slots, all in calls."""
    async with worker(settings, num_calls, cpu) as link:
        return await Driver(link).run(num_calls, seconds)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bench's own arguments."""
    parser.add_argument(
        "--calls", default="1,2,4,8,16", help="calls at once, one row each (default 1,2,4,8,16)"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="counted, per row (default 20)")
    parser.add_argument("--cpu", type=int, help="the core to run on (default: the last one we may use)")
    parser.add_argument("--json", type=Path, help="also write the figures here")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the figures; 1 if a tick was late or two calls cost more than 40 ms of CPU time per tick."""
    try:
        counts = [int(part) for part in args.calls.split(",")]
    except ValueError:
        raise ConfigError(f"--calls {args.calls!r}: write numbers with commas, e.g. 1,2,4") from None
    cpu = max(os.sched_getaffinity(0)) if args.cpu is None else args.cpu
    machine = this_machine()
    loads = []
    with Progress(transient=True) as progress:
        row = progress.add_task(f"{settings.worker.engine} engine", total=len(counts))
        for num_calls in counts:
            loads.append(asyncio.run(measure(settings.worker, num_calls, args.seconds, cpu)))
            progress.advance(row)
    out = Console()
    out.print(_table(settings.worker.engine, loads))
    out.print(
        f"calls per core (CPU time <= {1e3 * BUDGET_S:.0f} ms a tick): {calls_per_core(loads) or 'not known'}"
    )
    out.print(f"{machine}, worker on CPU {cpu}", highlight=False)
    if args.json:
        rows = [asdict(load) for load in loads]
        told = {"machine": asdict(machine), "loads": rows, "calls_per_core": calls_per_core(loads)}
        args.json.write_text(json.dumps(told, indent=2) + "\n")
    return 0 if all(load.is_within for load in loads) else 1


def _table(engine: str, loads: Sequence[Load]) -> Table:
    table = Table(title=f"{engine} engine, one core, times in ms a tick")
    for column in (
        "calls",
        "CPU",
        "p50",
        "p95",
        "p99",
        "max",
        "ticks",
        "late",
        "lost",
        "replies",
    ):
        table.add_column(column, justify="right")
    for load in loads:
        times_s = (load.cpu_s, load.tick_p50_s, load.tick_p95_s, load.tick_p99_s, load.tick_max_s)
        table.add_row(
            str(load.num_calls),
            *(f"{1e3 * seconds:.1f}" for seconds in times_s),
            str(load.num_ticks),
            str(load.num_deadline_misses),
            str(load.num_frames_dropped),
            f"{load.num_replies}/{load.num_frames_sent}",
        )
    return table
