"""The bench steps what it was asked for and counts what that must read; no time is judged here."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model import bench
from model.bench import Bench, Timed, copy_bandwidth, full_size, interleaved, main, noise, times
from model.bench_figures import BenchFigures, BenchOptions, BenchRow
from model.config import ModelConfig
from model.cost import step_cost
from model.errors import ConfigError
from model.presets import presets
from tests.model import tiny

TINY = ModelConfig("tiny", tiny.CODEC_CONFIG, tiny.LM_CONFIG)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "full_size", lambda _name: replace(presets()["moshiko"], config=TINY))
    monkeypatch.setattr(bench, "COPY_BYTES", {"cpu": 2**20, "cuda": 2**20})


def measured(options: BenchOptions) -> tuple[Bench, list[BenchRow]]:
    rows: list[BenchRow] = []
    one = Bench(options)
    one.run(rows.append)
    return one, rows


def test_sizes_are_the_published_ones() -> None:
    assert full_size("moshiko").config.lm.dim == 4096 and full_size("builtin").config.lm.dim == 256
    assert (full_size("personaplex").config.lm.dep_q, full_size("personaplex").config.lm.agent_q) == (16, 8)
    for name in ("gpt", "moshiko-q8"):  # how wide eight bits are held is another question
        with pytest.raises(ConfigError, match=f"{name}.*moshiko, moshika"):
            full_size(name)


def test_every_number_of_calls_at_every_age() -> None:
    options = BenchOptions("tiny", batches=(1, 3), contexts=(0, 5), num_steps=30)
    one, rows = measured(options)
    assert [(row.batch, row.context) for row in rows] == [(1, 0), (1, 5), (3, 0), (3, 5)]
    cost = step_cost(TINY, torch.float32)
    for row in rows:
        # Ten steps of warming fill the window of twelve but for the first two measured ones.
        assert 11 <= row.mean_context <= 12
        assert row.floor_bytes == cost.num_bytes(row.batch, row.mean_context)
        assert row.floor_s == row.floor_bytes / one.bandwidth_bytes_per_s
        assert 0 < row.wall.p50_s <= row.wall.p99_s <= row.wall.max_s and row.cpu_s > 0
        assert row.peak_bytes > 10**6 and row.reference is None
    assert "1 thread" in one.figures().device


def test_the_reference_is_run_beside_it() -> None:
    options = BenchOptions("tiny", batches=(2,), num_steps=3, with_reference=True)
    (row,) = measured(options)[1]
    assert row.reference is not None and row.reference.p50_s > 0 and row.reference_cpu_s > 0


def test_eight_bit_keys_halve_what_is_read_of_them() -> None:
    options = BenchOptions("tiny", batches=(1,), num_steps=2, kv="float8", dtype="bfloat16")
    one, (row,) = measured(options)
    assert row.floor_bytes == step_cost(TINY, torch.bfloat16, torch.float8_e4m3fn).num_bytes(
        1, row.mean_context
    )
    assert "float8 keys" in one.figures().title and "bfloat16" in one.figures().title


def test_blocks_of_both_alternate() -> None:
    order: list[str] = []
    mine, theirs = interleaved(lambda n: order.append(f"a{n}"), lambda n: order.append(f"b{n}"), 30)
    assert order[:25] == [f"a{n}" for n in range(25)] and order[25:50] == [f"b{n}" for n in range(25)]
    assert order[50:] == [f"a{n}" for n in range(25, 30)] + [f"b{n}" for n in range(25, 30)]
    assert len(mine.walls_s) == len(theirs.walls_s) == 30
    assert interleaved(lambda _n: None, None, 3)[1] == Timed()


def test_times_are_percentiles() -> None:
    found = times([0.001 * n for n in range(1, 102)])
    assert (found.p50_s, found.p99_s, found.max_s) == pytest.approx((0.051, 0.1, 0.101))


def test_callers_make_the_same_noise_each_time() -> None:
    assert noise(2).shape == (25, 2, 1920) and np.array_equal(noise(2), noise(2))


def test_a_copy_counts_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    assert copy_bandwidth(torch.device("cpu"), 1000) == 2000  # each copy takes one second of this clock


def test_a_device_that_is_not_there_is_refused() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no GPU here"):
            Bench(BenchOptions("tiny", device="cuda"))
    for name in ("toaster", "meta"):
        with pytest.raises(ConfigError, match=name):
            Bench(BenchOptions("tiny", device=name))


def test_the_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.json"
    words = ["--preset", "tiny", "--batch", "1,2", "--steps", "2", "--json", str(path), "--note", "of today"]
    assert main(words) == 0
    told = json.loads(path.read_text())
    assert told["note"] == "of today" and len(BenchFigures.from_json(told).rows) == 2
    printed = capsys.readouterr().out
    assert "context 0: calls with p99" in printed and "GB/s" in printed
    assert main(["--batch", "none"]) == 1
    assert "--batch" in capsys.readouterr().err


@pytest.mark.timeout(120)
def test_it_needs_no_package_of_the_agent() -> None:
    """A rented GPU's machine has torch and little else."""
    absent = (
        "rich structlog pydantic matplotlib scipy soundfile aiohttp redis "
        "huggingface_hub sphn tqdm prometheus_client"
    )
    program = f"""
import sys
class Without:
    def __init__(self, finder): self.finder = finder
    def __getattr__(self, name): return getattr(self.finder, name)
    def find_spec(self, name, *more):
        return None if name.split(".")[0] in {absent.split()!r} else self.finder.find_spec(name, *more)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import torch
torch.set_num_threads(1)
from model import bench
from tests.model.test_bench import TINY
from dataclasses import replace
from model.presets import presets
bench.full_size = lambda name: replace(presets()["moshiko"], config=TINY)
bench.COPY_BYTES = dict(cpu=2**20)
sys.exit(bench.main(["--preset", "tiny", "--batch", "1", "--steps", "1", "--reference"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert "ref p50" in done.stdout
