"""The worker bench counts what a worker did, and judges it."""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from agent.__main__ import main
from agent.bench_worker import Load, add_arguments, caller_frames, calls_per_core, measure, run
from agent.errors import ConfigError
from agent.settings import Settings, WorkerSettings
from agent.wire import FRAME_SAMPLES

LOAD = Load(2, 100, 0.03, 0.02, 0.025, 0.03, 0.04, 0, 200, 200, 0, 0)
START_S = 50.0


def standin() -> WorkerSettings:
    return WorkerSettings(engine="standin", start_timeout_s=START_S)


def test_the_bars_are_no_late_tick_and_40_ms_of_cpu_for_two_calls() -> None:
    assert LOAD.is_within
    assert not replace(LOAD, num_deadline_misses=1).is_within
    assert not replace(LOAD, cpu_s=0.041).is_within
    assert replace(LOAD, num_calls=4, cpu_s=0.06).is_within


def test_calls_per_core_is_where_the_line_meets_the_budget() -> None:
    loads = [replace(LOAD, num_calls=n, cpu_s=0.004 + 0.010 * n) for n in (1, 2, 4)]
    assert calls_per_core(loads) == 6  # 0.064 = 0.004 + 6 * 0.010
    assert calls_per_core(loads[:1]) is None
    assert calls_per_core([LOAD, replace(LOAD, num_calls=4)]) is None


def test_callers_are_half_speech_half_silence() -> None:
    frames = caller_frames()
    assert len(frames) == 25 and all(frame.shape == (FRAME_SAMPLES,) for frame in frames)
    assert sum(bool(frame.any()) for frame in frames) == 12


async def test_a_real_worker_is_fed_at_the_pace_of_calls() -> None:
    load = await measure(standin(), 2, 1.0, max(os.sched_getaffinity(0)))
    assert load.num_calls == 2 and 0 < load.cpu_s < 0.08
    assert load.num_ticks == pytest.approx(12.5 * 2, abs=13)  # heartbeats come once a second
    assert load.num_replies == pytest.approx(load.num_frames_sent, abs=4)
    assert 0.004 <= load.tick_p50_s <= load.tick_p95_s <= load.tick_max_s


def test_the_command_prints_and_writes_its_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(["--calls", "1", "--seconds", "0.5", "--json", str(tmp_path / "out.json")])
    assert run(args, Settings(worker=standin())) in (0, 1)
    told = json.loads((tmp_path / "out.json").read_text())
    assert [load["num_calls"] for load in told["loads"]] == [1] and told["calls_per_core"] is None
    printed = capsys.readouterr().out
    assert "standin engine" in printed and told["machine"]["commit"] in printed


def test_what_cannot_be_measured_is_said_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(ConfigError, match="1,2,4"):
        run(parser.parse_args(["--calls", "two"]), Settings())
    monkeypatch.setenv("OFFHOOK_WORKER__MODEL_DIR", str(tmp_path))
    monkeypatch.setenv("OFFHOOK_WORKER__START_TIMEOUT_S", str(START_S))
    assert main(["bench", "worker", "--calls", "1"]) == 2
    told = capsys.readouterr().err
    assert "lacks model.safetensors" in told and "Traceback" not in told
