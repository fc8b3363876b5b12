"""`offhook load`: many calls at once against a gateway of our own, and what becomes of each of them.

Callers speak and are answered by the stand-in engine, which takes a tick's real time and says each line at
its own pitch; so the figures are the gateway's, and sound that is late, missing or another call's is told
apart from sound that is right. The generator is one process: it stamps packets by the kernel's clock, and
tells its own lateness and CPU time beside the gateway's. All of them share this machine's cores.

    --calls 200                            one step
    --calls 50,100,150,200,250,300         steps on one gateway, until packets are late: the knee
    --calls 2000 --concurrent 50           one after another, and what is left behind: a soak
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from agent.bench_gateway import GatewayProcess
from agent.errors import AgentError
from agent.load_cost import Cost, Meter
from agent.load_generator import Generator
from agent.load_report import steps_table
from agent.load_soak import Soak, soak, soak_table
from agent.load_speech import programs
from agent.load_verdict import Tally
from agent.machine import Machine, this_machine
from agent.settings import MAX_SLOTS
from telephony.settings import MAX_CALLS

BAR_MS = 10.0  # p99 of packets' lateness
OWN_BAR_MS = 10.0  # p99 of the generator's: beyond it a step says nothing
SETTLE_S = 6.0  # PJSIP keeps a call's transactions for 5 s
SPARE_SLOTS = 8
# A worker's calls share a frame phase, so each of its ticks meets the gateway as one burst: with 128 slots
# 5 % of the frames of 200 calls were lost, with 32 0.5 %.
DEFAULT_SLOTS = 32
START_S = 120.0  # all workers, also on a busy machine
NUM_PROGRAMS = 16
SHOWN_FAULTS = 12

console = Console()


@dataclass(frozen=True, slots=True)
class Step:
    """So many calls at once, and how they fared."""

    num_calls: int
    num_failed: int
    setup_ms: dict[str, float]
    late_ms: dict[str, float]
    gap_ms: dict[str, float]
    own_late_ms: dict[str, float]
    num_packets: int
    num_lost: int
    num_late: int
    num_dropped_by_us: int
    num_silent_seconds: int
    turns: dict[str, int]
    cost: Cost  # while all of them talked
    late_ticks: int  # of the workers
    frames_dropped: int  # by the gateway and its workers, because somebody was late
    faults: tuple[str, ...]

    @property
    def is_void(self) -> bool:
        """The generator itself was late or lossy."""
        return self.own_late_ms["p99"] > OWN_BAR_MS or self.num_dropped_by_us > 0

    @property
    def is_within(self) -> bool:
        """Every call lived, every answer was right, and packets were in time."""
        return not self.faults and self.late_ms["p99"] <= BAR_MS


@dataclass(frozen=True, slots=True)
class Loading:
    """How a gateway is loaded."""

    hold_s: float
    calls_per_s: float
    engine: str = "standin"
    slots_per_worker: int = DEFAULT_SLOTS

    def settings(self, most_calls: int) -> dict[str, str]:
        """Of a gateway for so many calls at once."""
        slots, num_workers = self._slots(most_calls)
        return {
            "OFFHOOK_WORKER__ENGINE": self.engine,
            "OFFHOOK_WORKER__SLOTS": str(slots),
            "OFFHOOK_WORKER__COUNT": str(num_workers),
            "OFFHOOK_SIP__MAX_CALLS": str(min(MAX_CALLS, most_calls + SPARE_SLOTS)),
            "OFFHOOK_SIP__CODECS": "PCMU",
            "OFFHOOK_WEBRTC__ENABLED": "false",
            "OFFHOOK_LOG__LEVEL": "warning",
        }

    def _slots(self, most_calls: int) -> tuple[int, int]:
        """Per worker, and workers."""
        slots = min(self.slots_per_worker, most_calls + SPARE_SLOTS)
        return slots, -(-(most_calls + SPARE_SLOTS) // slots)

    @contextlib.contextmanager
    def gateway(self, most_calls: int) -> Iterator[GatewayProcess]:
        """A gateway for so many calls at once, every worker of it ready. Raises WorkerUnavailable."""
        slots, num_workers = self._slots(most_calls)
        with GatewayProcess(self.settings(most_calls), START_S) as gateway:
            gateway.wait_for_metric("offhook_worker_slots", slots * num_workers, START_S)
            yield gateway


LATE_COUNTS = ("offhook_worker_dropped_frames_total", "offhook_playout_dropped_frames_total")


def run_step(gateway: GatewayProcess, generator: Generator, num_calls: int, loading: Loading) -> Step:
    """Ramp up, hold, hang up. The cost is measured between the last answer and the first hang-up."""
    before = _counts(gateway)
    dropped_before = generator.num_dropped
    generator.own.take()
    ramp_s = num_calls / loading.calls_per_s
    generator.ramp(num_calls, loading.calls_per_s, ramp_s + 2.0 + loading.hold_s)
    generator.run(2.0)  # the last ones are answered
    meter = Meter.read(gateway)
    generator.run(loading.hold_s)
    cost = Cost.between(meter, Meter.read(gateway))
    own_late_ms = generator.own.take()
    generator.run_until_over()
    after = _counts(gateway)
    tally = generator.take_tally()
    ticks, frames = (after[name] - before[name] for name in ("ticks", "frames"))
    return _step(
        num_calls,
        tally,
        cost,
        own_late_ms,
        generator.num_dropped - dropped_before,
        ticks,
        frames,
        knows_lines=loading.engine == "standin",
    )


def _counts(gateway: GatewayProcess) -> dict[str, int]:
    return {
        "ticks": round(gateway.metric("offhook_worker_deadline_misses_total")),
        "frames": round(sum(gateway.metric(name) for name in LATE_COUNTS)),
    }


def _step(
    num_calls: int,
    tally: Tally,
    cost: Cost,
    own_late_ms: dict[str, float],
    num_dropped: int,
    late_ticks: int,
    frames_dropped: int,
    *,
    knows_lines: bool,
) -> Step:
    named = [(verdict.number, verdict.faults(knows_lines=knows_lines)) for verdict in tally.verdicts]
    return Step(
        num_calls,
        sum(bool(faults) for _, faults in named),
        tally.setups_ms(),
        tally.late_ms(),
        tally.gaps_ms(),
        own_late_ms,
        tally.total("num_received"),
        tally.total("num_lost"),
        tally.total("num_late"),
        num_dropped,
        tally.total("num_silent_seconds"),
        tally.turn_counts(),
        cost,
        late_ticks,
        frames_dropped,
        tuple(f"call {number}: {fault}" for number, faults in named for fault in faults),
    )


def climb(counts: Sequence[int], loading: Loading, *, goes_on: bool = False) -> tuple[list[Step], int]:
    """Step after step on one gateway, until one is not within the bars (or all: `goes_on`).

    The steps, and the gateway's memory before the first. Raises WorkerUnavailable if it will not start.
    """
    steps: list[Step] = []
    ramp_s = max(counts) / loading.calls_per_s
    with loading.gateway(max(counts)) as gateway:
        idle_bytes = Meter.read(gateway).gateway_bytes
        with Generator(gateway.address, programs(NUM_PROGRAMS), ramp_s + 2.0 + loading.hold_s) as generator:
            for num_calls in counts:
                generator.run(SETTLE_S if steps else 0.0)
                steps.append(run_step(gateway, generator, num_calls, loading))
                console.print(_line(steps[-1]))
                if not steps[-1].is_within and not goes_on:
                    break
    return steps, idle_bytes


def _line(step: Step) -> str:
    verdict = "void" if step.is_void else "within" if step.is_within else "beyond the bars"
    return (
        f"{step.num_calls} calls: p99 {step.late_ms['p99']:.1f} ms late, "
        f"gateway {step.cost.gateway:.0f} %, {step.num_failed} failed: {verdict}"
    )


def knee(steps: Sequence[Step]) -> int:
    """The most calls that were within the bars before the first step that was not; 0 if the first was not."""
    best = 0
    for step in steps:
        if not step.is_within:
            break
        best = step.num_calls
    return best


def bytes_per_call(steps: Sequence[Step], idle_bytes: int) -> float:
    """By how much memory grows with calls: the slope through idle and the steps, in bytes."""
    calls = np.array([0, *[step.num_calls for step in steps]], np.float64)
    held = np.array([idle_bytes, *[step.cost.gateway_bytes for step in steps]], np.float64)
    return float(np.polyfit(calls, held, 1)[0])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    parser.add_argument("--calls", default="50", help="at once, or steps with commas (default 50)")
    parser.add_argument("--hold", type=float, default=20.0, metavar="S", help="of full load (default 20)")
    parser.add_argument("--rate", type=float, default=20.0, help="new calls per second (default 20)")
    parser.add_argument("--concurrent", type=int, help="a soak: --calls in all, so many at a time")
    parser.add_argument("--engine", choices=("standin", "builtin"), default="standin")
    parser.add_argument(
        "--slots", type=int, default=DEFAULT_SLOTS, help=f"per worker, at most (default {DEFAULT_SLOTS})"
    )
    parser.add_argument("--all-steps", action="store_true", help="go on behind the knee")
    parser.add_argument("--json", type=Path, help="also write the figures here")


def run(args: argparse.Namespace, settings: object) -> int:
    """Load, print, and say whether it was within the bars: 0, else 1."""
    counts = _counted(args.calls)
    if args.hold <= 0 or args.rate <= 0 or not 1 <= args.slots <= MAX_SLOTS:
        raise AgentError(f"--hold and --rate must be above 0, and --slots within 1..{MAX_SLOTS}")
    loading = Loading(args.hold, args.rate, args.engine, args.slots)
    machine = this_machine()
    if args.concurrent is not None:
        if len(counts) != 1 or not 1 <= args.concurrent <= counts[0]:
            raise AgentError("a soak wants one number of --calls, and --concurrent within it")
        return _run_soak(soak(counts[0], args.concurrent, args.hold, loading), machine, args.json)
    if max(counts) + SPARE_SLOTS > MAX_CALLS:
        raise AgentError(f"a gateway takes {MAX_CALLS - SPARE_SLOTS} calls of a load; run more gateways")
    steps, idle_bytes = climb(counts, loading, goes_on=args.all_steps)
    console.print(steps_table(steps))
    for fault in [fault for step in steps for fault in step.faults][:SHOWN_FAULTS]:
        console.print(f"[red]{fault}")
    per_call = bytes_per_call(steps, idle_bytes)
    memory = f"memory {per_call / 1e3:.0f} kB a call and {idle_bytes / 1e6:.0f} MB idle"
    console.print(f"within the bars: {knee(steps)} calls; {memory}")
    console.print(f"threads of the gateway: {steps[-1].cost.threads}")
    console.print(str(machine), highlight=False)
    if args.json:
        told = {"machine": asdict(machine), "idle_bytes": idle_bytes, "bytes_per_call": per_call}
        told |= {"knee": knee(steps), "steps": [asdict(step) for step in steps]}
        args.json.write_text(json.dumps(told, indent=2) + "\n")
    return 0 if steps[-1].is_within and not steps[-1].is_void else 1


def _run_soak(found: Soak, machine: Machine, path: Path | None) -> int:
    console.print(soak_table(found))
    faults = found.faults()
    for fault in faults[:SHOWN_FAULTS]:
        console.print(f"[red]{fault}")
    console.print(str(machine), highlight=False)
    if path:
        path.write_text(json.dumps({"machine": asdict(machine), **asdict(found)}, indent=2) + "\n")
    return 1 if faults else 0


def _counted(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise AgentError(f"--calls {text}: write a number, or several with commas, e.g. 50,100,150")
    return counts
