"""`offhook calibrate`: measure anew how many calls one worker holds here, as slots=auto will then have it.

A worker does the same at its first start. It is worth repeating when the machine was busy then.
"""

from __future__ import annotations

import argparse
import os

from rich.console import Console
from rich.table import Table

from agent.calibration import (
    NUM_STEPS,
    Calibration,
    CalibrationFile,
    Limits,
    cache_folder,
    calibrated,
    compiled_key,
    search,
)
from agent.engines import EngineChoice, EngineFactory
from agent.machine import this_machine
from agent.settings import Settings

NUM_LEAST_STEPS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    parser.add_argument(
        "--steps", type=int, default=NUM_STEPS, help=f"timed for each number of calls (default {NUM_STEPS})"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Measure, keep and print; 1 if not even one call fits, or nothing could be kept."""
    worker, out = settings.worker, Console()
    choice = EngineChoice.of(worker)
    limits = Limits.of(worker.device, worker.threads, worker.share)
    cache = settings.cache or cache_folder(os.environ)
    factory = EngineFactory(choice, cache if worker.compile else None)
    is_compiled = factory.has_packages(limits.max_slots)
    file = CalibrationFile(cache, compiled_key(factory.key()) if is_compiled else factory.key())

    def measure() -> Calibration:
        with out.status("measuring") as status:
            return search(
                factory.build,
                limits,
                memory=factory.memory,
                num_steps=max(NUM_LEAST_STEPS, args.steps),
                on_trial=lambda trial: status.update(f"{trial.num_slots} calls: {trial.obstacle or 'fit'}"),
            )

    found = calibrated(file, measure, is_forced=True)
    out.print(table(found, factory.name))
    kept = file.read()
    is_kept = kept is not None and kept.num_slots == found.num_slots
    where = (
        f"kept in {file.path}" if is_kept else f"not kept: make {file.path.parent} writable (OFFHOOK_CACHE)"
    )
    out.print(f"{found.num_slots} calls a worker fit; {where}", highlight=False, soft_wrap=True)
    out.print(str(this_machine()), highlight=False, soft_wrap=True)
    return 0 if found.num_slots and is_kept else 1


def table(found: Calibration, name: str) -> Table:
    """One row for each number of calls that was tried."""
    made = Table(title=f"{name}: one step with every call minutes old, ms")
    for column in ("calls", "p50", "p99", "CPU"):
        made.add_column(column, justify="right")
    made.add_column("verdict")
    for trial in sorted(found.trials, key=lambda one: one.num_slots):
        times = (f"{1e3 * seconds:.1f}" for seconds in (trial.p50_s, trial.p99_s, trial.cpu_s))
        made.add_row(str(trial.num_slots), *times, trial.obstacle or "fits")
    return made
