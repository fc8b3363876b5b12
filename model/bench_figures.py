"""What the engine's bench is asked for and what it tells. Plain values: no torch here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from model.config import FRAME_SAMPLES, SAMPLE_RATE_HZ
from model.errors import ConfigError

TICK_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
CPU_SHARE = 0.8  # of a tick that one core's model work may take


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """One run of the bench."""

    preset: str
    batches: tuple[int, ...] = (1, 2, 4, 8)
    contexts: tuple[int, ...] = (0,)
    width: Fraction = Fraction(1)
    num_layers: int = 0  # 0: the preset's own
    kv: str = "same"
    device: str = "cpu"
    dtype: str = ""  # empty: bfloat16 on a GPU, float32 elsewhere and for the built-in model
    num_steps: int = 200
    num_threads: int = 1
    with_reference: bool = False


@dataclass(frozen=True, slots=True)
class Times:
    """Of many steps, in seconds of the wall's clock."""

    p50_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class BenchRow:
    """Steps of so many calls that remember so many steps each."""

    batch: int
    context: int  # that slots were aged to
    mean_context: float  # that was read, over the measured steps
    num_steps: int
    wall: Times
    cpu_s: float  # of the process, all threads, per step
    floor_bytes: float
    floor_s: float
    peak_bytes: int
    reference: Times | None = None
    reference_cpu_s: float = 0.0
    reference_peak_bytes: int = 0

    @property
    def over_floor(self) -> float:
        """The median step in floors."""
        return self.wall.p50_s / self.floor_s

    @property
    def reference_ratio(self) -> float:
        """How many of our steps fit into one of the reference's; NaN without it."""
        return self.reference.p50_s / self.wall.p50_s if self.reference else float("nan")


@dataclass(frozen=True, slots=True)
class BenchFigures:
    """A whole run; `about` says on what."""

    title: str
    device: str
    software: str
    bandwidth_bytes_per_s: float
    bandwidth_how: str
    num_parameters: int
    rows: list[BenchRow] = field(default_factory=list)

    def at(self, context: int) -> list[BenchRow]:
        """The rows of one age, by their number of calls."""
        return sorted((row for row in self.rows if row.context == context), key=lambda row: row.batch)

    @property
    def contexts(self) -> list[int]:
        """The ages that were measured."""
        return sorted({row.context for row in self.rows})

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> BenchFigures:
        """What `as_json` gave. Raises ConfigError if it is something else."""
        try:
            rows = []
            for row in tree["rows"]:
                reference = Times(**row["reference"]) if row["reference"] else None
                rows.append(BenchRow(**row | {"wall": Times(**row["wall"]), "reference": reference}))
            known = {name: tree[name] for name in cls.__dataclass_fields__}
            return cls(**known | {"rows": rows})
        except (KeyError, TypeError) as error:
            raise ConfigError(f"these are not the engine bench's figures: {error!r} is missing") from None


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many calls stay under a limit: never told beyond what was measured."""

    num_calls: int
    is_at_least: bool  # the largest that was measured is still under it

    def __str__(self) -> str:
        return f"at least {self.num_calls}" if self.is_at_least else str(self.num_calls)


def capacity(points: Sequence[tuple[int, float]], limit_s: float) -> Capacity:
    """How many calls, of (calls, seconds) in rising order, take `limit_s` at the most.

    Between two measured numbers of calls time is taken to grow evenly; the first one over the limit counts,
    whatever comes after it. Below the smallest nothing is known, so 0 is told.
    """
    if not points or points[0][1] > limit_s:
        return Capacity(0, False)
    for (few, short_s), (many, long_s) in pairwise(points):
        if long_s > limit_s:
            return Capacity(few + int((many - few) * (limit_s - short_s) / (long_s - short_s)), False)
    return Capacity(points[-1][0], True)


COLUMNS = ("context", "calls", "p50", "p99", "max", "CPU", "floor", "/floor", "GB read", "GB held")
REFERENCE_COLUMNS = ("ref p50", "ref p99", "ref CPU", "ref GB", "ref/ours")


def columns(figures: BenchFigures) -> tuple[str, ...]:
    """Headings of the table; times in ms a step."""
    return COLUMNS + (REFERENCE_COLUMNS if any(row.reference for row in figures.rows) else ())


def cells(row: BenchRow) -> tuple[str, ...]:
    """One line of the table."""
    wall = row.wall
    told = [str(row.context), str(row.batch)]
    told += [_ms(seconds) for seconds in (wall.p50_s, wall.p99_s, wall.max_s, row.cpu_s)]
    told += [_ms(row.floor_s), f"{row.over_floor:.1f}"]
    told += [f"{row.floor_bytes / 1e9:.3f}", f"{row.peak_bytes / 1e9:.2f}"]
    if row.reference is not None:
        told += [_ms(row.reference.p50_s), _ms(row.reference.p99_s), _ms(row.reference_cpu_s)]
        told += [f"{row.reference_peak_bytes / 1e9:.2f}", f"{row.reference_ratio:.2f}"]
    return tuple(told)


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}"


def conclusions(figures: BenchFigures, *, with_cores: bool) -> list[str]:
    """How many calls fit, a line for each age; `with_cores` also by CPU time, for models of one core."""
    lines = []
    for context in figures.contexts:
        rows = figures.at(context)
        walls = capacity([(row.batch, row.wall.p99_s) for row in rows], TICK_S)
        line = f"context {context}: calls with p99 <= {1e3 * TICK_S:.0f} ms: {walls}"
        if with_cores:
            budget_s = CPU_SHARE * TICK_S
            cores = capacity([(row.batch, row.cpu_s) for row in rows], budget_s)
            line += f"; calls per core (CPU <= {1e3 * budget_s:.0f} ms a tick): {cores}"
        lines.append(line)
    return lines


def head(figures: BenchFigures) -> list[str]:
    """What the table belongs to."""
    return [
        f"{figures.title}, {figures.num_parameters:,} weights in the language model",
        f"{figures.device}; {figures.software}",
        f"copies move {figures.bandwidth_bytes_per_s / 1e9:.1f} GB/s ({figures.bandwidth_how})",
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bench's arguments."""
    parser.add_argument("--preset", default="builtin", help="the model whose sizes to take (default builtin)")
    parser.add_argument("--batch", default="1,2,4,8", metavar="N,..", help="calls at once (default 1,2,4,8)")
    parser.add_argument(
        "--context", default="0", metavar="N,..", help="steps that each call is old (default 0)"
    )
    parser.add_argument(
        "--width", default="1", metavar="1/N", help="divide every width, to try the bench (default 1)"
    )
    parser.add_argument("--layers", type=int, default=0, help="temporal layers (default: all)")
    parser.add_argument("--kv", choices=("same", "float8"), default="same", help="what keys are kept in")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default cpu)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="", help="of the weights")
    parser.add_argument("--steps", type=int, default=200, help="measured, per row (default 200)")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU's tensor work (default 1)")
    parser.add_argument(
        "--reference", action="store_true", help="also time the moshi package, block by block in between"
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")


def options_of(args: argparse.Namespace) -> BenchOptions:
    """Read the arguments. Raises ConfigError naming the one that is wrong."""
    try:
        width = Fraction(args.width)
    except (ValueError, ZeroDivisionError):
        width = Fraction(0)
    if not 0 < width <= 1:
        raise ConfigError(f"--width {args.width!r}: write a fraction of 1, e.g. 1/16")
    if args.steps < 1 or args.threads < 1 or args.layers < 0:
        raise ConfigError("--steps and --threads count from 1, --layers from 0 (all)")
    return BenchOptions(
        preset=args.preset,
        batches=_numbers("--batch", args.batch, 1),
        contexts=_numbers("--context", args.context, 0),
        width=width,
        num_layers=args.layers,
        kv=args.kv,
        device=args.device,
        dtype=args.dtype,
        num_steps=args.steps,
        num_threads=args.threads,
        with_reference=args.reference,
    )


def _numbers(name: str, text: str, least: int) -> tuple[int, ...]:
    try:
        found = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        found = ()
    if not found or found[0] < least:
        raise ConfigError(f"{name} {text!r}: write numbers from {least} with commas, e.g. 1,2,4")
    return found
