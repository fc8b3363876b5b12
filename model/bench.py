"""What a step costs at a model's full size, and what it must cost at the least: `python -m model.bench`.

It needs torch, numpy, safetensors and sentencepiece alone, so that it runs wherever a GPU is rented; `offhook
bench engine` is the same with a table and a picture. Weights are random, slots are all in calls and of the
age that is asked for. The floor is the bytes that a step must read (see `model.cost`) over the speed at which
this device copies a large tensor in this very run, bytes read and bytes written both counted.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from model.bench_figures import (
    BenchFigures,
    BenchOptions,
    BenchRow,
    Times,
    add_arguments,
    cells,
    columns,
    conclusions,
    head,
    options_of,
)
from model.config import FRAME_SAMPLES
from model.cost import StepCost, lm_weights, step_cost
from model.engine import BUILTIN, Engine
from model.errors import ConfigError, ModelError
from model.heap import keep_freed_memory
from model.presets import Preset, presets
from model.published import LoadedModel
from model.random_model import random_model, reduced

if TYPE_CHECKING:
    from model.bench_reference import Reference

BUILTIN_PRESET = "builtin"
COPY_BYTES = {"cpu": 256 * 2**20, "cuda": 2**30}
COPIES = 10
WARM_STEPS = 10
BLOCK_STEPS = 25  # of ours, then as many of the reference
LEVEL = 0.05
NUM_FRAMES = 25
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def full_size(name: str) -> Preset:
    """A model that we know by name. Raises ConfigError naming those that we know."""
    known = {preset.name: preset for preset in presets().values() if not preset.is_quantized}
    if name not in known:
        raise ConfigError(f"--preset {name!r} is unknown here; we know {', '.join(known)}")
    return known[name]


class Bench:
    """One model, stepped by engines of different sizes one after another."""

    def __init__(self, options: BenchOptions) -> None:
        """Raises ConfigError for what cannot be run here."""
        self._options = options
        self.device = _device(options.device)
        is_builtin = options.preset == BUILTIN_PRESET
        name = options.dtype or ("bfloat16" if self.device.type == "cuda" and not is_builtin else "float32")
        self._dtype, self._kv = DTYPES[name], torch.float8_e4m3fn if options.kv == "float8" else None
        self._preset = full_size(options.preset)
        self.config = reduced(self._preset.config, options.width, options.num_layers)
        # The model that is shipped is run as it is shipped, with whatever is prepared for it.
        self._is_shipped = (
            is_builtin and options.width == 1 and not options.num_layers and options.kv == "same"
        ) and name == "float32"
        self._cost: StepCost = step_cost(self.config, self._dtype, self._kv)
        self._model: LoadedModel | None = None
        if self.device.type == "cpu":
            torch.set_num_threads(options.num_threads)
            keep_freed_memory()
        self.bandwidth_bytes_per_s = copy_bandwidth(self.device)

    def figures(self) -> BenchFigures:
        """An empty sheet with what it is about."""
        options, where = self._options, self.device
        size = "full size" if options.width == 1 else f"width {options.width}"
        layers = f", {self.config.lm.num_layers} temporal layers"
        keys = "float8 keys" if self._kv else "keys as the weights"
        kind = "weights as shipped" if self._is_shipped else "random weights"
        mebibytes = COPY_BYTES[where.type] >> 20
        return BenchFigures(
            title=f"{options.preset}, {size}{layers}, {kind}, {str(self._dtype)[6:]}, {keys}",
            device=_device_name(where) + (_threads(options.num_threads) * (where.type == "cpu")),
            software=f"torch {torch.__version__}, Python {platform.python_version()}",
            bandwidth_bytes_per_s=self.bandwidth_bytes_per_s,
            bandwidth_how=f"best of {COPIES} copies of {mebibytes} MiB, bytes read and written",
            num_parameters=lm_weights(self.config.lm).total,
        )

    def run(self, on_row: Callable[[BenchRow], None]) -> None:
        """Measure every row, an engine for each number of calls."""
        for batch in self._options.batches:
            _held_bytes(self.device)
            self._run_batch(batch, on_row)

    def _run_batch(self, batch: int, on_row: Callable[[BenchRow], None]) -> None:
        engine, everybody, frames = self._engine(batch), np.ones(batch, np.bool_), noise(batch)
        for slot in range(batch):
            engine.start(slot, seed=slot)
        for number in range(WARM_STEPS):  # a GPU's graph is captured in the first
            engine.step(frames[number], everybody)
        peak = _peak_bytes(self.device)  # before there is a reference
        for context in self._options.contexts:
            on_row(self._row(engine, context, peak))

    def _engine(self, batch: int) -> Engine:
        if self._is_shipped:
            return Engine.load(BUILTIN, batch, device=str(self.device))
        if self._model is None:
            self._model = random_model(self._preset, self.config, self.device, self._dtype)
        return Engine(self._model, batch, kv_dtype=self._kv)

    def _row(self, engine: Engine, context: int, peak: int) -> BenchRow:
        batch, num_steps = engine.num_slots, self._options.num_steps
        frames, everybody = noise(batch), np.ones(batch, np.bool_)

        def ours(number: int) -> None:
            engine.step(frames[number % NUM_FRAMES], everybody)

        reference, reference_bytes = self._reference(batch)
        engine.age(context)
        for number in range(WARM_STEPS):
            ours(number)
        with _without_collector():
            mine, theirs = interleaved(ours, _stepper(reference, frames), num_steps)
        mean_context = _mean_context(context + WARM_STEPS, num_steps, self.config.lm.context)
        floor = self._cost.num_bytes(batch, mean_context)
        return BenchRow(
            batch=batch,
            context=context,
            mean_context=mean_context,
            num_steps=num_steps,
            wall=times(mine.walls_s),
            cpu_s=mine.cpu_s / num_steps,
            floor_bytes=floor,
            floor_s=floor / self.bandwidth_bytes_per_s,
            peak_bytes=peak,
            reference=times(theirs.walls_s) if reference else None,
            reference_cpu_s=theirs.cpu_s / num_steps,
            reference_peak_bytes=reference_bytes,
        )

    def _reference(self, batch: int) -> tuple[Reference | None, int]:
        """A warm one, and the most bytes that it held."""
        if not self._options.with_reference:
            return None, 0
        from model.bench_reference import Reference

        held = _held_bytes(self.device)  # the one before is gone by now
        reference, frames = Reference(self.config, batch, self.device, self._dtype), noise(batch)
        for number in range(WARM_STEPS):
            reference.step(frames[number % NUM_FRAMES])
        return reference, max(0, _peak_bytes(self.device) - held)


def _stepper(reference: Reference | None, frames: NDArray[np.float32]) -> Callable[[int], None] | None:
    if reference is None:
        return None

    def theirs(number: int) -> None:
        reference.step(frames[number % NUM_FRAMES])

    return theirs


@dataclass(slots=True)
class Timed:
    """Steps of one party: seconds of each, CPU seconds of all."""

    walls_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    def run(self, step: Callable[[int], None], numbers: range) -> None:
        """Make so many steps."""
        began_cpu_s = time.process_time()
        for number in numbers:
            began_s = time.perf_counter()
            step(number)
            self.walls_s.append(time.perf_counter() - began_s)
        self.cpu_s += time.process_time() - began_cpu_s


def interleaved(
    ours: Callable[[int], None], theirs: Callable[[int], None] | None, num_steps: int
) -> tuple[Timed, Timed]:
    """Time our steps and theirs.

    Both wait for the device themselves, as both bring their sound to the host. Blocks of the two alternate,
    so that a machine that grows slower does so for both.
    """
    mine, other = Timed(), Timed()
    for first in range(0, num_steps, BLOCK_STEPS):
        block = range(first, min(num_steps, first + BLOCK_STEPS))
        mine.run(ours, block)
        if theirs is not None:
            other.run(theirs, block)
    return mine, other


def times(walls_s: Sequence[float]) -> Times:
    """Median, 99th percentile and worst."""
    p50_s, p99_s, max_s = (float(value) for value in np.percentile(walls_s, [50, 99, 100]))
    return Times(p50_s, p99_s, max_s)


def noise(batch: int) -> NDArray[np.float32]:
    """Callers' frames, float32 [25, S, 1920]."""
    rng = np.random.default_rng(0)
    return rng.normal(0, LEVEL, (NUM_FRAMES, batch, FRAME_SAMPLES)).astype(np.float32)


def _mean_context(first: int, num_steps: int, window: int) -> float:
    """How many steps the measured steps look back on average, their own included."""
    return float(np.minimum(first + 1 + np.arange(num_steps), window).mean())


def copy_bandwidth(device: torch.device, num_bytes: int = 0) -> float:
    """Bytes per second, read and written, of the fastest of several copies of a large tensor."""
    size = num_bytes or COPY_BYTES[device.type]
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(COPIES + 1):  # the first one finds its pages
        _wait(device)
        began_s = time.perf_counter()
        target.copy_(source)
        _wait(device)
        seconds.append(time.perf_counter() - began_s)
    return 2 * size / min(seconds[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device(name: str) -> torch.device:
    """Raises ConfigError if it is not there."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"--device {name!r} is none; write cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {name}: torch {torch.__version__} sees no GPU here; take --device cpu")
    if device.type not in COPY_BYTES:
        raise ConfigError(f"--device {name!r}: we run on cpu and cuda")
    return device


def _threads(number: int) -> str:
    return f", {number} thread{'s' * (number > 1)}"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")
    return platform.machine()


def _held_bytes(device: torch.device) -> int:
    """What is held once all that is unused has been given back; the peak starts from here."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return int(torch.cuda.memory_allocated(device))
    with contextlib.suppress(OSError, AttributeError):  # without it the peak is the whole run's
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    return _status_bytes("VmRSS")


def _peak_bytes(device: torch.device) -> int:
    """Most that tensors have held on a GPU, or the process in main memory, since `_held_bytes`."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return _status_bytes("VmHWM")


def _status_bytes(name: str) -> int:
    """A line of the process's status; 0 where there is none."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith(name)), 0)
    return 0


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """As in a worker, where it runs in the ticks' slack."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures as they come; 0, or 1 if something cannot be run here."""
    parser = argparse.ArgumentParser("python -m model.bench", description=(__doc__ or "").split("\n")[0])
    add_arguments(parser)
    parser.add_argument("--note", default="", help="kept with the figures: the commit, circumstances")
    args = parser.parse_args(argv)
    try:
        options = options_of(args)
        bench = Bench(options)
        figures = bench.figures()
        print("\n".join(head(figures)), flush=True)
        named = replace(figures, rows=[])
        widths = [max(len(name), 7) for name in columns(figures)]

        def on_row(row: BenchRow) -> None:
            if not figures.rows:
                named.rows.append(row)
                widths[:] = [max(len(name), 7) for name in columns(named)]
                print(_line(columns(named), widths), flush=True)
            figures.rows.append(row)
            print(_line(cells(row), widths), flush=True)
            if args.json:
                args.json.write_text(json.dumps(figures.as_json() | {"note": args.note}, indent=1) + "\n")

        bench.run(on_row)
        print("\n".join(conclusions(figures, with_cores=options.preset == BUILTIN_PRESET)))
    except ModelError as error:
        print(f"model.bench: {error}", file=sys.stderr)
        return 1
    return 0


def _line(parts: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(part.rjust(width) for part, width in zip(parts, widths, strict=True))


if __name__ == "__main__":
    sys.exit(main())
