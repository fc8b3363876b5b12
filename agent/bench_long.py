"""`offhook bench long`: a call of an hour beside calls that come and go, bit for bit the call it is alone.

As fast as the machine can, one row of a batch lives through `--minutes` of a caller's sound while its
neighbours start and stop every few seconds. Beside it the same call runs alone in a batch of the same size
(it must be equal bit by bit: no neighbour is heard, nothing is lost at a window's end) and alone in a batch
of one (equal within rounding). Memory must not grow. `--drift` asks the other question about long calls,
whether the model speaks worse after forty minutes: see `agent.evaluation.drift`.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from agent.errors import ConfigError
from agent.machine import this_machine
from agent.settings import Settings
from agent.standin import burst
from agent.wire import FRAME_SAMPLES, PERIOD_S
from telephony.audio import Pcm

if TYPE_CHECKING:
    from model.engine import Engine, StepOutput
    from model.follower import Follower

MINUTES = 60.0
DRIFT_MINUTES = 40.0
MAX_MINUTES = 10_000.0  # a week
SLOTS, DRIFT_SLOTS = 4, 6
ROUNDING = 1e-5
GROWTH_BYTES = 8 * 2**20
KEEP_STEPS = 1000  # the figures so far are written every so many
WARM_SHARE = 0.05  # of the steps, after which memory must not grow
SPEECH_FRAMES, SILENCE_FRAMES = (6, 25), (4, 40)
STAY_FRAMES, AWAY_FRAMES = (25, 100), (5, 40)  # how long a neighbour is in a call, and between two


@dataclass
class BurstCaller:
    """Syllables and silences of a party of its own, without end; the same for the same seed."""

    seed: int
    _rng: np.random.Generator = field(init=False)
    _left: list[Pcm] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def __call__(self) -> Pcm:
        """The next frame, float32 [1920]."""
        if not self._left:
            line, gain = int(self._rng.integers(8)), np.float32(self._rng.uniform(0.1, 1.0))
            speech, silence = self._rng.integers(*SPEECH_FRAMES), self._rng.integers(*SILENCE_FRAMES)
            self._left = [gain * burst(line, frame) for frame in range(speech)]
            self._left += [np.zeros(FRAME_SAMPLES, np.float32)] * int(silence)
        return self._left.pop(0)


@dataclass
class Neighbours:
    """Every slot of an engine but one: calls that start, speak for seconds, and stop."""

    engine: Engine
    but: int
    seed: int
    num_calls: int = 0
    _rng: np.random.Generator = field(init=False)
    _callers: dict[int, BurstCaller] = field(default_factory=dict)
    _changes: dict[int, int] = field(default_factory=dict)  # slot -> frames until it starts or stops

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng([self.seed, 1])
        self._changes = {slot: self._draw(AWAY_FRAMES) for slot in range(self.engine.num_slots)}
        del self._changes[self.but]

    def _draw(self, span: tuple[int, int]) -> int:
        return int(self._rng.integers(*span))

    def speak(self, pcm: Pcm, active: np.ndarray) -> None:
        """Fill in their frames of this step: float32 [S, 1920], bool [S]."""
        for slot in self._changes:
            self._changes[slot] -= 1
            if self._changes[slot] <= 0:
                self._change(slot)
            if slot in self._callers:
                # Now and then a frame is missing, as on a line.
                pcm[slot], active[slot] = self._callers[slot](), self._rng.random() > 0.05

    def _change(self, slot: int) -> None:
        if slot in self._callers:
            del self._callers[slot]
            self.engine.stop(slot)
            self._changes[slot] = self._draw(AWAY_FRAMES)
            return
        self.num_calls += 1
        seed = self.seed + 1000 + self.num_calls
        self._callers[slot] = BurstCaller(seed)
        self.engine.start(slot, seed=seed)
        self._changes[slot] = self._draw(STAY_FRAMES)


@dataclass(slots=True)
class Proof:
    """What the long call was compared with, and how it came out."""

    num_steps: int = 0
    num_windows: float = 0.0  # how often its memory was overwritten whole
    num_neighbour_calls: int = 0
    num_steps_apart: int = 0  # from the same call without neighbours
    first_step_apart: int | None = None
    num_memories_compared: int = 0  # all that the row remembers; what it says is tokens, and hides a little
    num_memories_apart: int = 0
    sound_apart: float = 0.0  # from batch 1, largest difference; full scale is 1
    transcript_apart: float = 0.0  # of the transcript head's logits, as a share of the largest
    num_columns_apart: int = 0
    num_other_texts: int = 0  # steps in which batch 1 would have drawn another token, or heard another code
    num_other_codes: int = 0
    num_other_hearings: int = 0
    warm_rss_bytes: int = 0
    end_rss_bytes: int = 0
    warm_tensors: int = 0
    end_tensors: int = 0

    @property
    def is_within(self) -> bool:
        """Everything that is required."""
        is_close = self.sound_apart <= ROUNDING and not self.transcript_apart > ROUNDING
        is_flat = self.end_rss_bytes - self.warm_rss_bytes <= GROWTH_BYTES
        is_same = self.num_steps_apart == self.num_memories_apart == self.num_columns_apart == 0
        return is_same and is_close and is_flat and self.end_tensors <= self.warm_tensors


def prove(
    crowded: Engine,
    alone: Engine,
    num_steps: int,
    *,
    row: int = 1,
    seed: int = 0,
    on_step: Callable[[Proof], None] = lambda _proof: None,
) -> Proof:
    """Let one row of two equal engines live the same call, the neighbours of one of them busy."""
    from model.follower import Follower

    proof, caller = Proof(), BurstCaller(seed)
    neighbours = Neighbours(crowded, row, seed)
    for engine in (crowded, alone):
        engine.start(row, seed=seed)
    follower = Follower(crowded, row, seed=seed)
    warm_at = max(1, round(WARM_SHARE * num_steps))
    for _ in range(num_steps):
        frame = caller()
        told = _step(crowded, row, frame, neighbours)
        _compare_alone(proof, row, told, _step(alone, row, frame))
        _compare_follower(proof, follower, frame, told.pcm[row])
        proof.num_steps += 1
        if proof.num_steps == warm_at:
            proof.warm_rss_bytes, proof.warm_tensors = rss_bytes(), num_tensors()
        on_step(proof)
        if proof.num_steps % KEEP_STEPS == 0 or proof.num_steps == num_steps:
            _compare_memories(proof, crowded, alone, row)
    proof.end_rss_bytes, proof.end_tensors = rss_bytes(), num_tensors()
    proof.num_neighbour_calls = neighbours.num_calls
    proof.num_windows = num_steps / crowded.config.lm.context
    return proof


def _step(engine: Engine, row: int, frame: Pcm, neighbours: Neighbours | None = None) -> StepOutput:
    pcm = np.zeros((engine.num_slots, FRAME_SAMPLES), np.float32)
    active = np.zeros(engine.num_slots, np.bool_)
    if neighbours is not None:
        neighbours.speak(pcm, active)
    pcm[row], active[row] = frame, True
    return engine.step(pcm, active)


def _compare_alone(proof: Proof, row: int, told: StepOutput, alone: StepOutput) -> None:
    """Bit by bit: NaN would not be equal to itself either."""
    pairs = (
        (told.pcm, alone.pcm),
        (told.text, alone.text),
        (told.caller_text, alone.caller_text),
        (told.tokens, alone.tokens),
    )
    if not all(np.array_equal(one[row], other[row]) for one, other in pairs):
        proof.num_steps_apart += 1
        if proof.first_step_apart is None:
            proof.first_step_apart = proof.num_steps


def _compare_memories(proof: Proof, crowded: Engine, alone: Engine, row: int) -> None:
    from model.follower import row_memory

    pairs = zip(row_memory(crowded, row), row_memory(alone, row), strict=True)
    proof.num_memories_compared += 1
    proof.num_memories_apart += not all(one.equal(other) for one, other in pairs)


def _compare_follower(proof: Proof, follower: Follower, frame: Pcm, sound: Pcm) -> None:
    apart = follower.follow(frame, sound)
    proof.sound_apart = _larger(proof.sound_apart, apart.sound)
    if math.isnan(apart.sound):
        proof.sound_apart = math.inf
    proof.transcript_apart = _larger(proof.transcript_apart, apart.transcript)
    proof.num_columns_apart += apart.has_other_column
    led = follower.generator
    proof.num_other_texts, proof.num_other_codes = led.num_other_texts, led.num_other_codes
    proof.num_other_hearings = led.num_other_hearings


def _larger(one: float, other: float) -> float:
    """NaN as soon as one of them is: what could not be seen is not told."""
    return math.nan if math.isnan(one) or math.isnan(other) else max(one, other)


def rss_bytes() -> int:
    """Memory of this process that is in the machine's."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def num_tensors() -> int:
    """Tensors that are alive."""
    import torch

    gc.collect()
    return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bench's own arguments."""
    parser.add_argument(
        "--minutes", type=float, help=f"of the call (default {MINUTES:g}, with --drift {DRIFT_MINUTES:g})"
    )
    parser.add_argument("--slots", type=int, help=f"(default {SLOTS}, with --drift {DRIFT_SLOTS})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--drift",
        action="store_true",
        help="scripted calls one after another on slots that are not restarted: does the model grow worse?",
    )
    parser.add_argument(
        "--json", type=Path, help="also write the figures here (--drift: as it goes, default drift.json)"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the figures; 1 if the call was not what it is alone, or memory grew."""
    minutes = args.minutes
    if minutes is None:
        minutes = DRIFT_MINUTES if args.drift else MINUTES
    slots = args.slots or (DRIFT_SLOTS if args.drift else SLOTS)
    if not 0 < minutes <= MAX_MINUTES or slots < 1 + (not args.drift):
        raise ConfigError(
            f"--minutes is more than 0 and at most {MAX_MINUTES:g}; "
            "--slots is 2 or more, with --drift 1 or more"
        )
    if args.drift:
        from agent.evaluation import drift

        return drift.run(settings.worker, minutes, slots, args.seed, args.json or Path("drift.json"))
    machine, out = this_machine(), Console()

    def keep(proof: Proof) -> None:
        if args.json:
            told = {"machine": asdict(machine), "minutes": minutes, "slots": slots, "proof": asdict(proof)}
            args.json.write_text(json.dumps(told, indent=2) + "\n")

    proof = _measure(settings, minutes, slots, args.seed, keep)
    keep(proof)
    out.print(_table(proof, minutes, slots))
    out.print(str(machine), highlight=False)
    return 0 if proof.is_within else 1


def _measure(
    settings: Settings, minutes: float, slots: int, seed: int, keep: Callable[[Proof], None]
) -> Proof:
    import torch

    from model.engine import Engine

    torch.set_num_threads(settings.worker.threads)
    worker, num_steps = settings.worker, round(60 * minutes / PERIOD_S)
    crowded, alone = (Engine.load(worker.model_dir, slots, device=worker.device) for _ in range(2))
    with Progress(transient=True) as progress:
        bar = progress.add_task(f"a call of {minutes:g} min", total=num_steps)

        def on_step(proof: Proof) -> None:
            progress.advance(bar)
            if proof.num_steps % KEEP_STEPS == 0:
                keep(proof)

        return prove(crowded, alone, num_steps, seed=seed, on_step=on_step)


def _table(proof: Proof, minutes: float, slots: int) -> Table:
    grown_mb = (proof.end_rss_bytes - proof.warm_rss_bytes) / 2**20
    ties = (proof.num_other_texts, proof.num_other_codes, proof.num_other_hearings)
    rows = (
        ("steps; windows lived through", f"{proof.num_steps:,}; {proof.num_windows:.1f}", ""),
        ("calls of neighbours meanwhile", f"{proof.num_neighbour_calls:,}", ""),
        ("steps not equal bit by bit to the call alone, same batch", f"{proof.num_steps_apart}", "0"),
        (
            "whole memories of the row, so compared; not equal",
            f"{proof.num_memories_compared}; {proof.num_memories_apart}",
            "0",
        ),
        ("sound: largest difference from batch 1", f"{proof.sound_apart:.1e}", f"{ROUNDING:g}"),
        ("transcript logits: the same, relative", f"{proof.transcript_apart:.1e}", f"{ROUNDING:g}"),
        ("steps in which batch 1 would take another text, code, hearing", " / ".join(map(str, ties)), ""),
        ("memory grown after the first 5 %", f"{grown_mb:+.1f} MB", f"{GROWTH_BYTES >> 20} MB"),
        ("tensors alive then and at the end", f"{proof.warm_tensors}, {proof.end_tensors}", "no more"),
    )
    table = Table("", "measured", "bar", title=f"one call of {minutes:g} min, batch of {slots}")
    for row in rows:
        table.add_row(*row)
    return table
