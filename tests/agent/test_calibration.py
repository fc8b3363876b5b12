"""The search for the number of slots, on a clock that the engine's scripted steps move."""

import json
import math
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.calibration import (
    NUM_STEPS,
    Calibration,
    CalibrationFile,
    Limits,
    Timer,
    Trial,
    cache_folder,
    calibrated,
    is_out_of_memory,
    search,
)
from agent.clock import ManualClock
from agent.standin import StandIn, StandInOutput

GPU = Limits.of("cuda:0", 1)
CPU = Limits.of("cpu", 2)


class Scripted:
    """A machine on which a step takes as long as the test says."""

    def __init__(
        self,
        step_s: Callable[[int, int], float],  # of the number of slots and of the step
        *,
        cpu_share: float = 1.0,
        num_bytes_per_slot: int = 0,
        limit: int = 1 << 30,
    ) -> None:
        self.clock = ManualClock()
        self.cpu_s = 0.0
        self.built: list[int] = []
        self.aged: list[int] = []
        self.num_stops = 0
        self._step_s, self._cpu_share, self._limit = step_s, cpu_share, limit
        self._num_bytes_per_slot = num_bytes_per_slot

    def build(self, num_slots: int) -> StandIn:
        if num_slots > self._limit:
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        self.built.append(num_slots)
        return ScriptedEngine(num_slots, self)

    def step(self, num_slots: int, number: int) -> None:
        took_s = self._step_s(num_slots, number)
        self.clock.advance(took_s)
        self.cpu_s += self._cpu_share * took_s

    def memory(self) -> tuple[int, int]:
        return (1 << 30) - self.built[-1] * self._num_bytes_per_slot, 1 << 30

    def search(self, limits: Limits) -> Calibration:
        timer = Timer(self.clock, lambda: self.cpu_s)
        return search(self.build, limits, memory=self.memory, timer=timer)


class OutOfMemoryError(RuntimeError):
    """As torch's."""


class ScriptedEngine(StandIn):
    """The stand-in on that machine."""

    def __init__(self, num_slots: int, machine: Scripted) -> None:
        super().__init__(num_slots, mode="echo", step_s=0.0, row_step_s=0.0, clock=machine.clock)
        self._machine, self._num_steps = machine, 0

    def age(self, frames: int) -> None:
        self._machine.aged.append(frames)
        super().age(frames)

    def stop(self, slot: int) -> None:
        self._machine.num_stops += 1
        super().stop(slot)

    def step(self, pcm: NDArray[np.float32], active: NDArray[np.bool_]) -> StandInOutput:
        assert active.all()
        self._machine.step(self.num_slots, self._num_steps)
        self._num_steps += 1
        return super().step(pcm, active)


@pytest.mark.parametrize("fit", [1, 2, 3, 5, 8, 13, 16])
def test_the_largest_number_that_fits_is_found(fit: int) -> None:
    machine = Scripted(lambda slots, step: 0.064 * (slots + 0.5) / (fit + 1))
    found = machine.search(GPU)
    assert found.num_slots == fit
    assert found.p99_s == pytest.approx(0.064 * (fit + 0.5) / (fit + 1))
    assert len(machine.built) == len(set(machine.built)) and len(machine.aged) >= len(machine.built)
    assert machine.num_stops >= sum(machine.built)


def test_a_large_number_is_found_within_a_part_in_sixteen_and_few_trials() -> None:
    machine = Scripted(lambda slots, step: 0.010 + 0.0005 * slots)  # 108 fit
    found = machine.search(GPU)
    assert 100 <= found.num_slots <= 108 and len(found.trials) <= 13
    assert [trial.num_slots for trial in found.trials][:7] == [1, 2, 4, 8, 16, 32, 64]


def test_no_more_slots_are_tried_than_the_device_kind_may_have() -> None:
    for limits in (GPU, CPU):
        assert Scripted(lambda slots, step: 0.001).search(limits).num_slots == limits.max_slots
    assert (GPU.max_slots, CPU.max_slots) == (256, 8)


def test_the_limits_are_80_percent_of_a_tick_and_on_a_cpu_70_ms_of_its_time_per_thread() -> None:
    assert GPU.wall_s == CPU.wall_s == pytest.approx(0.064)
    assert GPU.cpu_s is None and CPU.cpu_s == pytest.approx(0.140)
    shared = Limits.of("cpu", 2, share=0.5)
    assert Limits.of("cuda", 1, share=0.25).headroom_share == pytest.approx(0.80)
    assert shared.wall_s == pytest.approx(0.032) and shared.cpu_s == pytest.approx(0.070)


def test_cpu_time_counts_on_a_cpu_only() -> None:
    def step_s(slots: int, step: int) -> float:
        return 0.010 * slots

    assert Scripted(step_s, cpu_share=4.0).search(CPU).num_slots == 3  # 30 ms, 4 threads' worth: 120 ms
    assert Scripted(step_s, cpu_share=4.0).search(GPU).num_slots == 6
    assert "CPU time" in Scripted(step_s, cpu_share=4.0).search(CPU).trials[2].obstacle


def test_it_is_the_slowest_steps_that_count() -> None:
    machine = Scripted(lambda slots, step: 0.09 if slots > 2 and step % 40 == 20 else 0.01)
    found = machine.search(GPU)
    assert found.num_slots == 2 and "p99 of 90.0 ms where 64.0 fit" in found.trials[2].obstacle


def test_what_a_neighbour_did_once_is_measured_again() -> None:
    machine = Scripted(lambda slots, step: 0.5 if slots == 2 and step in (30, 31, 32) else 0.02 * slots)
    assert machine.search(GPU).num_slots == 3


def test_what_is_clearly_too_slow_costs_few_steps() -> None:
    machine = Scripted(lambda slots, step: 0.03 if slots == 1 else 1.0)
    began_s = machine.clock.now()
    assert machine.search(GPU).num_slots == 1
    assert machine.clock.now() - began_s < 0.03 * (NUM_STEPS + 5) + 16


def test_a_machine_too_slow_for_one_call_says_how_slow() -> None:
    found = Scripted(lambda slots, step: 0.2).search(GPU)
    assert (found.num_slots, len(found.trials)) == (0, 1)
    assert found.p99_s == pytest.approx(0.2) and "200.0 ms" in found.trials[0].obstacle


def test_memory_bounds_the_search_and_some_is_left() -> None:
    found = Scripted(lambda slots, step: 0.001, limit=11).search(GPU)
    assert found.num_slots == 11 and found.trials[-1].num_slots in (11, 12)
    assert {trial.obstacle for trial in found.trials} == {"", "out of memory"}
    found = Scripted(lambda slots, step: 0.001, num_bytes_per_slot=100 << 20).search(GPU)
    assert found.num_slots == 9  # ten leave 24 MiB of 1 GiB
    assert "MiB of memory are left" in next(trial.obstacle for trial in found.trials if trial.obstacle)


def test_an_engine_that_fails_at_once_fails_the_search_and_later_bounds_it() -> None:
    def broken(slots: int, step: int) -> float:
        raise ValueError("no kernel for this size")

    with pytest.raises(ValueError, match="no kernel"):
        Scripted(broken).search(GPU)
    found = Scripted(lambda slots, step: 0.001 if slots < 5 else broken(slots, step)).search(GPU)
    assert found.num_slots == 4 and found.trials[3].obstacle == "the engine raised ValueError"


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (OutOfMemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_running_out_of_memory_is_recognised(error: Exception, is_it: bool) -> None:
    assert is_out_of_memory(error) is is_it


def test_a_real_engine_on_the_real_clock() -> None:
    def build(num_slots: int) -> StandIn:
        return StandIn(num_slots, step_s=0.001, row_step_s=0.02)  # three rows are 61 ms

    assert search(build, GPU, num_steps=12).num_slots in (2, 3)  # 3, unless this machine is very busy


KEY: dict[str, str | int | float] = {"cpu": "Acme 9000", "num_cpus": 2, "share": 0.5}
FOUND = Calibration(
    2, 0.05, (Trial(2, 0.04, 0.05, 0.03), Trial(4, math.nan, math.nan, math.nan, "out of memory"))
)


def test_a_result_is_kept_for_its_key_and_no_other(tmp_path: Path) -> None:
    file = CalibrationFile(tmp_path / "not" / "yet", KEY)
    assert file.read() is None
    file.write(FOUND)
    kept = file.read()
    assert kept is not None and (kept.num_slots, kept.p99_s, kept.trials[0]) == (2, 0.05, FOUND.trials[0])
    assert math.isnan(kept.trials[1].p99_s) and kept.trials[1].obstacle == "out of memory"
    assert CalibrationFile(tmp_path / "not" / "yet", {**KEY, "num_cpus": 4}).read() is None
    assert [path.name for path in file.path.parent.iterdir()] == [file.path.name]


@pytest.mark.parametrize(
    "damaged", ["", "{", "[]", "{}", '{"key": {}}', '{"key": KEY, "num_slots": 2, "p99_s": 1, "trials": [7]}']
)
def test_a_damaged_file_counts_as_nothing(tmp_path: Path, damaged: str) -> None:
    file = CalibrationFile(tmp_path, KEY)
    file.path.write_text(damaged.replace("KEY", json.dumps(KEY)))
    assert file.read() is None


def test_a_folder_that_cannot_be_written_is_no_obstacle() -> None:
    file = CalibrationFile(Path("/proc/offhook"), KEY)
    assert calibrated(file, lambda: FOUND) is FOUND


def test_it_is_measured_once_unless_asked_for_and_a_zero_is_not_trusted(tmp_path: Path) -> None:
    file, asked = CalibrationFile(tmp_path, KEY), list[int]()

    def measure(num_slots: int) -> Calibration:
        asked.append(num_slots)
        return Calibration(num_slots, 0.05, ())

    assert calibrated(file, lambda: measure(0)).num_slots == 0
    assert calibrated(file, lambda: measure(3)).num_slots == 3
    assert calibrated(file, lambda: measure(4)).num_slots == 3
    assert calibrated(file, lambda: measure(5), is_forced=True).num_slots == 5
    assert asked == [0, 3, 5]


def measure_slowly(folder: str, key: dict[str, str | int | float]) -> None:
    """In a process of its own: note when it measured."""

    def measure() -> Calibration:
        began_s = time.monotonic()
        time.sleep(0.2)
        notes = Path(folder) / f"notes-{key['model']}-{began_s}"
        notes.write_text(f"{began_s} {time.monotonic()}")
        return Calibration(2, 0.05, ())

    calibrated(CalibrationFile(Path(folder), key), measure)


def test_workers_measure_one_at_a_time_and_the_same_thing_only_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    keys: list[dict[str, str | int | float]] = [{"model": "a"}, {"model": "a"}, {"model": "b"}]
    workers = [context.Process(target=measure_slowly, args=(str(tmp_path), key)) for key in keys]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    times = sorted(
        tuple(float(word) for word in path.read_text().split()) for path in tmp_path.glob("notes-*")
    )
    assert len(times) == 2 and times[0][1] <= times[1][0]


def test_the_cache_is_where_the_operator_or_the_desktop_has_it() -> None:
    assert cache_folder({"OFFHOOK_CACHE": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert cache_folder({"XDG_CACHE_HOME": "/b"}) == Path("/b/offhook")
    assert cache_folder({}) == Path.home() / ".cache" / "offhook"
