"""The options of `offhook train`, and what of a machine a run may use."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from model.presets import BUILTIN
from model.training.pool import NUM_NUMBERS, NUM_ORDERS, Pool, draw_pool
from model.training.recordings import add_recordings_option
from model.training.sizes import SIZES, SMALL

CUDA_BATCH_SCALE = 8
STAGES = ("bank", "recordings", "codec", "tone", "tokens", "lm", "voice", "export")
NUM_ANNOUNCED = 8000  # 1,200 were learnt by heart, and other words not at all
HARDNESS = 0.8
NUM_CURVE_RECORDINGS = "0,50,100,200"


@dataclass(frozen=True, slots=True)
class Machine:
    """What a run may use: a device, processes that prepare batches (0: none), and how large batches are."""

    device: str = "cpu"
    num_workers: int = 0
    batch_scale: int = 1  # times the batch of a single CPU core


@dataclass(frozen=True, slots=True)
class PoolSize:
    """How many orders and numbers training calls are about; a folder's bank was made for one size."""

    num_orders: int = NUM_ORDERS
    num_numbers: int = NUM_NUMBERS

    def draw(self) -> Pool:
        """The pool of this size, the same each time."""
        return draw_pool(num_orders=self.num_orders, num_numbers=self.num_numbers)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything a run is to have in the end; one plan, given each time, takes a folder there."""

    num_shards: int = 60
    num_announced: int = NUM_ANNOUNCED
    num_lines: int = 2  # that each caller is heard on; synthetic ones at another speed on each but the first
    num_tone_shards: int = 13
    codec_minutes: float = 35.0
    tone_minutes: float = 8.0
    lm_minutes: float = 60.0
    voice_minutes: float = 15.0
    start_from: Path | None = None  # a model folder whose weights codec and language model begin with
    pool_size: PoolSize = PoolSize()
    hardness: float = HARDNESS  # of callers' lines, 0 to 1

    @property
    def num_read_back(self) -> int:
        """Random numbers that the agent is told to say, besides the sentences off the order line."""
        return self.num_announced // 12


def machine(options: argparse.Namespace) -> Machine:
    """What the options say, and for the rest what suits the device."""
    on_cuda = options.device.startswith("cuda")
    workers = max(1, (os.cpu_count() or 1) - 1) if on_cuda else 0
    return Machine(
        options.device,
        workers if options.workers is None else options.workers,
        options.batch_scale or (CUDA_BATCH_SCALE if on_cuda else 1),
    )


def plan(options: argparse.Namespace) -> Plan:
    """What the options ask for."""
    return Plan(
        options.shards,
        options.announced,
        options.lines,
        options.tone_shards,
        options.codec_minutes,
        options.tone_minutes,
        options.lm_minutes,
        options.voice_minutes,
        options.start_from,
        PoolSize(options.pool_orders, options.pool_numbers),
        options.hardness,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `offhook train`."""
    default = Path.home() / ".cache" / "offhook" / "train"
    parser.add_argument("--folder", type=Path, default=default, help=f"working folder (default {default})")
    parser.add_argument(
        "--out", type=Path, default=BUILTIN, help="model folder to write (default: the built-in one)"
    )
    parser.add_argument(
        "--size", choices=SIZES, default=SMALL, help=f"of the model; a folder keeps to one (default {SMALL})"
    )
    parser.add_argument(
        "--only", choices=STAGES, help="this stage alone, on what the folder holds (default: all, in order)"
    )
    parser.add_argument(
        "--from",
        dest="start_from",
        type=Path,
        metavar="MODEL_FOLDER",
        help="begin with a trained model's weights, of the same size (default: from nothing)",
    )
    _add_machine(parser)
    _add_amounts(parser)
    add_recordings_option(parser)
    _add_legs(parser)


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="that compute a step on a CPU (default 1, beside a serving gateway; two free cores make a step "
        "about 1.6 times as fast)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        help="processes that prepare batches (default: none on a CPU, beside CUDA all cores but one)",
    )
    parser.add_argument(
        "--batch-scale",
        type=int,
        help=f"how many times a CPU core's batch a step takes (default 1, with CUDA {CUDA_BATCH_SCALE})",
    )


def _add_amounts(parser: argparse.ArgumentParser) -> None:
    own = Plan()
    numbers: tuple[tuple[str, int, str], ...] = (
        ("--shards", own.num_shards, "bank shards of 40 callers each"),
        ("--lines", own.num_lines, "telephone lines that each caller is heard on"),
        ("--announced", own.num_announced, "sentences off the order line that the agent is taught to say"),
        ("--tone-shards", own.num_tone_shards, "shards of 40 callers who say the same in each tone"),
        ("--pool-orders", NUM_ORDERS, "orders that calls are about"),
        ("--pool-numbers", NUM_NUMBERS, "numbers that callers leave"),
    )
    for name, number, what in numbers:
        parser.add_argument(name, type=int, default=number, help=f"{what} (default {number})")
    parser.add_argument(
        "--hardness",
        type=float,
        default=HARDNESS,
        help="how hard callers' lines are: rooms, noise, lost packets, echo, other sounds; 0: none of it "
        f"(default {HARDNESS})",
    )
    minutes = (
        ("codec", own.codec_minutes, "the codec's time"),
        ("tone", own.tone_minutes, "that of the listener to how callers speak"),
        ("lm", own.lm_minutes, "the language model's"),
        ("voice", own.voice_minutes, "the agent's voice's"),
    )
    for name, time, what in minutes:
        parser.add_argument(f"--{name}-minutes", type=float, default=time, help=f"{what} (default {time:g})")


def _add_legs(parser: argparse.ArgumentParser) -> None:
    """What a run does besides, or in place of, going through to the end."""
    parser.add_argument(
        "--leg-minutes",
        type=float,
        metavar="M",
        help="end after so many minutes of whatever is due, and tell what is left (default: go to the end)",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--status", action="store_true", help="only tell how far each stage is")
    instead.add_argument(
        "--watch", action="store_true", help="only show what the stages measure, live, until interrupted"
    )
    instead.add_argument("--plot", type=Path, metavar="PNG", help="only draw what the stages measured")
    instead.add_argument(
        "--pack",
        type=Path,
        metavar="PARTS",
        help="only put what the next leg needs into files in this folder",
    )
    instead.add_argument(
        "--unpack", type=Path, metavar="PARTS", help="only unpack such files into the working folder"
    )
    instead.add_argument(
        "--curve",
        metavar=NUM_CURVE_RECORDINGS,
        help="only measure how well the codec hears real people, by the number of recordings it learnt from",
    )
    parser.add_argument(
        "--pack-parts", type=int, default=4, help="files of at most 60 MB that --pack may write (default 4)"
    )
    parser.add_argument(
        "--curve-minutes", type=float, default=2.0, help="training for each point of --curve (default 2)"
    )
