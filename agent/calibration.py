"""How many calls this machine can hold: measured once with every slot in a long call, then kept.

No torch here. `search` is given a factory of engines and doubles the number of slots until a step is too slow
or memory runs short, then bisects. What it finds is kept in one JSON file per hardware, model and version, so
that the next start takes no time. Workers of one machine measure one at a time (a lock file): together they
would measure each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from agent.clock import Clock, Now, SystemClock
from agent.tick_loop import Stepper
from agent.wire import FRAME_SAMPLES, PERIOD_S
from model.errors import SlotError
from telephony.audio import Pcm

NUM_STEPS = 120  # timed, per number of slots: the 99th percentile is then the second slowest
NUM_LOOK_STEPS = 10  # after so many, what is clearly too slow is given up
NUM_WARM_STEPS = 5
AGED_FRAMES = 6000  # eight minutes: beyond what any of the models remembers
WALL_SHARE = 0.8  # of a tick: what the slowest of 100 steps may take
CPU_S = 0.070  # of CPU time a tick and thread: on a CPU the worker shares the machine with telephony
# A CPU steps all slots whatever is used, so many would make even a single caller wait.
MAX_SLOTS = {"cuda": 256, "cpu": 8}
HEADROOM_SHARE = 0.05  # of memory that must stay free: prompts, histories, other programs
COARSE = 16  # bisecting stops at one part in so many
BUDGET_S = 300.0  # then the best so far stands
LEVEL = 0.05

Key = Mapping[str, str | int | float]
Memory = Callable[[], tuple[int, int]]  # bytes that are free, bytes there are

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a step may take."""

    max_slots: int
    wall_s: float  # at the 99th percentile
    cpu_s: float | None  # CPU time of the process, on the average; None: not limited
    headroom_share: float = HEADROOM_SHARE  # of memory, that must stay free

    @classmethod
    def of(cls, device: str, num_threads: int, share: float = 1.0) -> Limits:
        """The limits on a device, of which the worker may use a share (others use the rest)."""
        kind = device.partition(":")[0]
        wall_s = WALL_SHARE * PERIOD_S * share
        if kind == "cpu":
            return cls(MAX_SLOTS[kind], wall_s, CPU_S * num_threads * share)
        return cls(MAX_SLOTS[kind], wall_s, None, HEADROOM_SHARE + 1 - share)


@dataclass(frozen=True, slots=True)
class Trial:
    """One number of slots, measured; times are NaN where it came to no step."""

    num_slots: int
    p50_s: float
    p99_s: float
    cpu_s: float
    obstacle: str = ""  # why so many do not fit; empty: they do


@dataclass(frozen=True, slots=True)
class Calibration:
    """The result: the largest number of slots that fits, 0 if not even one does, and its step time."""

    num_slots: int
    p99_s: float
    trials: tuple[Trial, ...]


class Timer:
    """Times steps; tests give it clocks of their own."""

    def __init__(self, clock: Clock | None = None, cpu_now: Now = time.process_time) -> None:
        self._clock: Clock = SystemClock() if clock is None else clock
        self._cpu_now = cpu_now

    def now(self) -> float:
        """Seconds on the monotonic clock."""
        return self._clock.now()

    def measure(self, stepper: Stepper, limits: Limits, num_steps: int = NUM_STEPS) -> Trial:
        """Step all slots as in long calls; they are free again afterwards."""
        size = stepper.num_slots
        noise = np.random.default_rng(0).normal(0, LEVEL, (size, FRAME_SAMPLES)).astype(np.float32)
        everybody = np.ones(size, np.bool_)
        stepper.age(AGED_FRAMES)
        self._occupy(stepper, noise, everybody)
        with _without_collector():
            for _ in range(NUM_WARM_STEPS - 1):  # one was taken above
                stepper.step(noise, everybody)
            began_cpu_s, walls_s = self._cpu_now(), list[float]()
            for number in range(1, num_steps + 1):
                began_s = self._clock.now()
                stepper.step(noise, everybody)
                walls_s.append(self._clock.now() - began_s)
                if number == NUM_LOOK_STEPS and np.median(walls_s) > limits.wall_s:
                    break
            cpu_s = (self._cpu_now() - began_cpu_s) / len(walls_s)
        for slot in range(size):
            stepper.stop(slot)
        p50_s, p99_s = (float(s) for s in np.percentile(walls_s, [50, 99]))
        return Trial(size, p50_s, p99_s, cpu_s, _obstacle(p99_s, cpu_s, limits))

    @staticmethod
    def _occupy(stepper: Stepper, noise: Pcm, everybody: NDArray[np.bool_]) -> None:
        """Have all slots steppable: aged as they are or, with an engine that cannot do that, as new calls."""
        try:
            stepper.step(noise, everybody)
        except SlotError:
            log.warning("calibration_with_young_calls", num_slots=stepper.num_slots)
            for slot in range(stepper.num_slots):
                stepper.start(slot, seed=slot)


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """As in a worker, where it runs in the ticks' slack."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _obstacle(p99_s: float, cpu_s: float, limits: Limits) -> str:
    if limits.cpu_s is not None and cpu_s > limits.cpu_s:
        return f"{1e3 * cpu_s:.1f} ms of CPU time where {1e3 * limits.cpu_s:.1f} fit"
    if p99_s > limits.wall_s:
        return f"p99 of {1e3 * p99_s:.1f} ms where {1e3 * limits.wall_s:.1f} fit"
    return ""


def search(
    build: Callable[[int], Stepper],
    limits: Limits,
    *,
    memory: Memory | None = None,
    timer: Timer | None = None,
    num_steps: int = NUM_STEPS,
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> Calibration:
    """The largest number of slots within the limits; `build` makes engines over the same weights.

    Raises what the engine raises with a single slot; with more, an engine that fails counts as one too many.
    """
    timer = Timer() if timer is None else timer
    trying = _Search(build, limits, memory, timer, num_steps)
    ends_s = timer.now() + BUDGET_S
    trials: list[Trial] = []
    low, high, candidate = 0, limits.max_slots + 1, 1
    best: Trial | None = None
    while high - low > max(1, low // COARSE) and timer.now() < ends_s:
        trial = trying.attempt(candidate, is_first=not low)
        trials.append(trial)
        on_trial(trial)
        if trial.obstacle:
            high = candidate
        else:
            low, best = candidate, trial
        candidate = min(2 * low, limits.max_slots) if high > limits.max_slots else (low + high) // 2
    return Calibration(low, (best or trials[0]).p99_s, tuple(trials))


@dataclass(frozen=True, slots=True)
class _Search:
    """What all trials of one search have in common."""

    build: Callable[[int], Stepper]
    limits: Limits
    memory: Memory | None
    timer: Timer
    num_steps: int

    def attempt(self, num_slots: int, *, is_first: bool) -> Trial:
        """Measure one number of slots."""
        try:
            trial = self._measure(num_slots)
            free_bytes, all_bytes = (1, 1) if self.memory is None else self.memory()
        except Exception as error:
            if is_first and not is_out_of_memory(error):
                raise
            obstacle = "out of memory" if is_out_of_memory(error) else _told(error)
            return Trial(num_slots, math.nan, math.nan, math.nan, obstacle)
        if free_bytes < self.limits.headroom_share * all_bytes and not trial.obstacle:
            return replace(trial, obstacle=f"{free_bytes >> 20} of {all_bytes >> 20} MiB of memory are left")
        return trial

    def _measure(self, num_slots: int) -> Trial:
        """A second time where only the slowest steps were too slow.

        Neighbours on the machine make single steps slow, and what they did once they may not do twice.
        """
        stepper = self.build(num_slots)
        trial = self.timer.measure(stepper, self.limits, self.num_steps)
        if trial.obstacle.startswith("p99") and trial.p50_s <= self.limits.wall_s:
            again = self.timer.measure(stepper, self.limits, self.num_steps)
            trial = min(trial, again, key=lambda one: (bool(one.obstacle), one.p99_s))
        return trial


def _told(error: Exception) -> str:
    log.warning("calibration_trial_failed", error=type(error).__name__, cause=str(error)[:200])
    return f"the engine raised {type(error).__name__}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, be it the device's (torch's own error, known by its name) or the machine's."""
    words = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (
            isinstance(error, RuntimeError) and ("out of memory" in words or "can't allocate memory" in words)
        )
    )


# ---- what is kept ----


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where we keep what can be made again, as the XDG base directory specification has it."""
    own = environ.get("OFFHOOK_CACHE")
    if own:
        return Path(own)
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "offhook"


def compiled_key(key: Key) -> Key:
    """The key of what was measured with compiled steps."""
    return {**key, "compiled": 1}


class CalibrationFile:
    """One hardware's and model's result on disk; what is missing, damaged or another's counts as nothing."""

    def __init__(self, folder: Path, key: Key) -> None:
        self._key = dict(key)
        digest = hashlib.sha256(json.dumps(self._key, sort_keys=True).encode()).hexdigest()
        self.path = folder / f"calibration-{digest[:16]}.json"
        self._lock = folder / "calibration.lock"

    def read(self) -> Calibration | None:
        """What was kept for exactly this key."""
        try:
            tree = json.loads(self.path.read_text(encoding="utf-8"))
            if tree["key"] != self._key:
                return None
            trials = tuple(_trial(row) for row in tree["trials"])
            return Calibration(int(tree["num_slots"]), float(tree["p99_s"]), trials)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, found: Calibration) -> None:
        """Keep it; the file appears whole or not at all. A folder that cannot be written is only noted."""
        trials = [_to_json(asdict(trial)) for trial in found.trials]
        tree = {"key": self._key, "num_slots": found.num_slots, "p99_s": found.p99_s, "trials": trials}
        partial = self.path.with_suffix(f".{os.getpid()}.partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
            partial.replace(self.path)
        except OSError as error:
            log.warning("calibration_not_kept", path=str(self.path), cause=error.strerror)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other worker of this machine measures; the kernel ends the lock with its holder."""
        with contextlib.ExitStack() as stack:
            try:
                self._lock.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(self._lock.open("a"))
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                log.warning("calibration_not_alone", path=str(self._lock), cause=error.strerror)
            yield


def _to_json(trial: dict[str, object]) -> dict[str, object]:
    """NaN is no JSON: null."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in trial.items()}


def _trial(row: Mapping[str, Any]) -> Trial:
    p50_s, p99_s, cpu_s = (
        math.nan if row[name] is None else float(row[name]) for name in ("p50_s", "p99_s", "cpu_s")
    )
    return Trial(int(row["num_slots"]), p50_s, p99_s, cpu_s, str(row["obstacle"]))


def calibrated(
    file: CalibrationFile, measure: Callable[[], Calibration], *, is_forced: bool = False
) -> Calibration:
    """The kept result, or a new one, which is then kept. One that found no room for a call is not trusted."""
    kept = None if is_forced else file.read()
    if kept is not None and kept.num_slots:
        return kept
    with file.alone():
        kept = None if is_forced else file.read()  # whoever had the lock may have had the same key
        if kept is not None and kept.num_slots:
            return kept
        found = measure()
        file.write(found)
        return found
