"""Thousands of calls one after another: what a gateway holds must not grow.

Pools fill up in the first calls (PJSIP's are per call slot), so slopes are taken over the later half.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table
from scipy.stats import theilslopes

from agent.bench_calls import Holding, holding
from agent.bench_gateway import GatewayProcess
from agent.load_generator import Generator
from agent.load_speech import programs
from agent.load_verdict import Tally

if TYPE_CHECKING:
    from agent.load import Loading

NUM_PROGRAMS = 16
NUM_SAMPLES = 40
SETTLE_S = 6.0
MAX_BYTES_PER_CALL = 1_500.0  # 3 MB in 2,000 calls: less than a leaked call object with its rings
MAX_FILES_PER_1000 = 2.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What the gateway held after so many calls."""

    num_over: int
    held: Holding


@dataclass(frozen=True, slots=True)
class Soak:
    """The whole run."""

    num_calls: int
    num_failed: int
    call_faults: tuple[str, ...]
    late_ms: dict[str, float]
    turns: dict[str, int]
    own_late_ms: dict[str, float]
    before: Holding
    after: Holding
    samples: tuple[Sample, ...]  # while calls went on
    bytes_per_call: float  # slopes over the later half
    files_per_1000: float  # beside the live calls' RTP ports

    def faults(self) -> list[str]:
        """What did not hold, in words."""
        found = list(self.call_faults)
        for name in ("slots", "calls", "rtp_ports"):
            had, has = getattr(self.before, name), getattr(self.after, name)
            found += [f"{has - had} {name} leaked"] if has > had else []
        if self.bytes_per_call > MAX_BYTES_PER_CALL:
            found.append(f"memory grows by {self.bytes_per_call:.0f} bytes a call")
        if self.files_per_1000 > MAX_FILES_PER_1000:
            found.append(f"{self.files_per_1000:.1f} files more for every 1,000 calls")
        return found


def slope(samples: Sequence[Sample], count: Callable[[Holding], float]) -> float:
    """Growth of a count per call over the later half of the samples, 0 for too few.

    The median of the slopes between all pairs (Theil and Sen's): an allocator that takes some megabytes for a
    hundred calls and gives them back has not grown, and by least squares it would.
    """
    later = samples[len(samples) // 2 :]
    if len(later) < 3:
        return 0.0
    calls = np.array([one.num_over for one in later], np.float64)
    held = np.array([count(one.held) for one in later], np.float64)
    return float(theilslopes(held, calls).slope)


def soak(num_calls: int, concurrent: int, hold_s: float, loading: Loading) -> Soak:
    """`num_calls` calls of `hold_s` seconds, `concurrent` at a time. Raises WorkerUnavailable."""
    with loading.gateway(concurrent) as gateway:
        with Generator(gateway.address, programs(NUM_PROGRAMS), hold_s + 5.0) as generator:
            generator.ramp(concurrent, loading.calls_per_s, 1.0)  # opens what stays open
            generator.run_until_over()
            generator.run(SETTLE_S)
            generator.take_tally()
            before = holding(gateway)
            tally, samples = _keep_calling(
                gateway, generator, num_calls, concurrent, hold_s, loading.calls_per_s
            )
            own_late_ms = generator.own.take()
            generator.run(SETTLE_S)
        after = holding(gateway)
    knows_lines = loading.engine == "standin"
    named = [(verdict.number, verdict.faults(knows_lines=knows_lines)) for verdict in tally.verdicts]
    return Soak(
        num_calls,
        sum(bool(faults) for _, faults in named),
        tuple(f"call {number}: {fault}" for number, faults in named for fault in faults),
        tally.late_ms(),
        tally.turn_counts(),
        own_late_ms,
        before,
        after,
        tuple(samples),
        slope(samples, lambda held: held.resident_bytes),
        1000 * slope(samples, lambda held: held.files - held.rtp_ports),
    )


def _keep_calling(
    gateway: GatewayProcess,
    generator: Generator,
    num_calls: int,
    concurrent: int,
    hold_s: float,
    calls_per_s: float,
) -> tuple[Tally, list[Sample]]:
    """A new call as soon as one is over, at no more than the rate; what is held is read now and then."""
    tally, samples = Tally(), list[Sample]()
    num_placed = num_over = 0
    next_s = time.monotonic()
    while num_over < num_calls:
        if num_placed < num_calls and generator.num_live < concurrent and time.monotonic() >= next_s:
            generator.place(hold_s)
            num_placed, next_s = num_placed + 1, time.monotonic() + 1 / calls_per_s
        generator.run(0.002)
        ended = generator.take_ended()
        for one in ended:
            tally.add(one.verdict, one.heard)
        num_over += len(ended)
        if ended and num_over * NUM_SAMPLES // num_calls > len(samples):
            samples.append(Sample(num_over, held_now(gateway)))
    return tally, samples


def held_now(gateway: GatewayProcess) -> Holding:
    """What it holds, read at once: the callers' sound must go on."""
    return Holding(0, 0, gateway.num_rtp_ports, gateway.num_open_files, gateway.resident_bytes)


def soak_table(found: Soak) -> Table:
    """What was held, at five places and at the end."""
    table = Table(title=f"soak of {found.num_calls} calls, {found.num_failed} failed", title_justify="left")
    for name in ("calls over", "MB", "files", "RTP ports", "slots"):
        table.add_column(name, justify="right")
    table.add_row("before", *_cells(found.before))
    for sample in found.samples[:: max(1, len(found.samples) // 5)]:
        table.add_row(str(sample.num_over), *_cells(sample.held)[:3], "")
    table.add_row("after", *_cells(found.after))
    table.caption = (
        f"{found.bytes_per_call:+.0f} bytes a call, {found.files_per_1000:+.2f} files per 1,000; "
        f"p99 late {found.late_ms['p99']:.1f} ms; turns {found.turns}"
    )
    return table


def _cells(held: Holding) -> list[str]:
    return [f"{held.resident_bytes / 1e6:.1f}", str(held.files), str(held.rtp_ports), str(held.slots)]
