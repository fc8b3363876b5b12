"""The worker as a process: its command line, its warmth, and how it ends."""

import asyncio
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from agent import calibration, worker
from agent.calibration import Calibration
from agent.clock import ManualClock
from agent.engines import EngineFactory
from agent.errors import ConfigError
from agent.local_worker import EXIT_CONFIG
from agent.standin import StandIn
from agent.worker import (
    FALLBACK_SLOTS,
    NUM_WARM_STEPS,
    UNMEASURED_SLOTS,
    WorkerConfig,
    build,
    main,
    parse_arguments,
    warm_up,
)
from agent.worker_address import WorkerAddress
from agent.worker_link import linked
from tests.agent.worker_rig import START_S, accepts, converse, eventually


def test_the_command_line_becomes_a_config(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"0123456789abcdef\n")
    config = parse_arguments(
        f"--address tcp:127.0.0.1:7400 --secret-file {tmp_path}/secret --slots 3 --engine standin "
        "--cpus 0,1 --phase-ms 40 --worker-id w7".split()
    )
    assert config.address == WorkerAddress(host="127.0.0.1", port=7400)
    assert (config.secret, config.num_slots, config.cpus) == (b"0123456789abcdef", 3, (0, 1))
    assert (config.phase_s, config.worker_id, config.ends_with_stdin) == (0.04, "w7", False)


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("--address tcp:127.0.0.1:7400", "OFFHOOK_WORKER__SECRET"),
        ("--address nowhere", "write unix:"),
        ("--address unix:/tmp/w --slots 0", "1 to 256"),
        ("--address unix:/tmp/w --slots many", "or write auto"),
        ("--address unix:/tmp/w --share 0", "a part of 1"),
        ("--address unix:/tmp/w --cpus x", "0,1"),
        ("--address unix:/tmp/w --secret-file /none", "cannot be read"),
    ],
)
def test_what_cannot_work_is_refused_before_the_model_is_loaded(
    line: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=remedy):
        parse_arguments(line.split())
    assert main(line.split()) == EXIT_CONFIG
    (told,) = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert told["event"] == "worker_misconfigured" and remedy in told["reason"]


def test_warming_up_steps_every_slot_and_leaves_all_free() -> None:
    engine = StandIn(3, clock=ManualClock())
    steps: list[int] = []
    step = engine.step
    engine.step = lambda pcm, active: (steps.append(int(active.sum())), step(pcm, active))[1]  # type: ignore[method-assign,func-returns-value]
    starts: list[bool] = []
    start = engine.start
    engine.start = lambda slot, **past: (starts.append("history" in past), start(slot, **past))[1]  # type: ignore[method-assign,func-returns-value]
    assert warm_up(engine) == 17
    assert steps == [3] * NUM_WARM_STEPS
    assert starts == [False] * 3 + [True]
    with pytest.raises(AssertionError, match="not started"):
        engine.step(np.zeros((3, 1920), np.float32), np.ones(3, np.bool_))


def test_the_stand_in_is_built_without_a_model() -> None:
    config = parse_arguments("--address unix:/tmp/w --engine standin --slots 5".split())
    built = build(config)
    assert isinstance(built.stepper, StandIn) and built.stepper.num_slots == 5
    assert (built.voices, built.takes_role, built.step_p99_s) == (("tone",), False, 0.0)
    config = parse_arguments("--address unix:/tmp/w --engine standin".split())
    assert config.num_slots is None and build(config).stepper.num_slots == UNMEASURED_SLOTS


class Slow(EngineFactory):
    """A model whose steps take 24 ms for each call."""

    def build(self, num_slots: int) -> StandIn:
        return StandIn(num_slots, step_s=0.0, row_step_s=self.row_step_s)

    def key(self) -> dict[str, str | int | float]:
        return {"row_step_s": self.row_step_s}

    row_step_s = 0.024


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> type[Slow]:
    monkeypatch.setattr(worker, "EngineFactory", Slow)
    monkeypatch.setattr(calibration, "NUM_LOOK_STEPS", 2)
    monkeypatch.setattr(worker, "search", partial(calibration.search, num_steps=6))
    monkeypatch.setattr(Slow, "row_step_s", 0.024)
    return Slow


def config_of(tmp_path: Path, *options: str) -> WorkerConfig:
    return parse_arguments(["--address", "unix:/tmp/w", "--cache", str(tmp_path), *options])


def told(capsys: pytest.CaptureFixture[str], event: str) -> list[dict[str, object]]:
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return [entry for entry in found if entry["event"] == event]


def test_without_a_number_of_slots_it_is_measured_once(
    tmp_path: Path, slow: type[Slow], capsys: pytest.CaptureFixture[str]
) -> None:
    for expected in (3, 0):  # trials: one, two and four calls; then none
        built = build(config_of(tmp_path))
        assert built.stepper.num_slots == 2 and 0.048 <= built.step_p99_s <= 0.064
        assert len(told(capsys, "calibration_trial")) >= expected
        assert expected or not told(capsys, "calibration_begins")
    build(config_of(tmp_path, "--calibrate"))
    assert told(capsys, "calibration_trial")


def test_a_machine_too_slow_for_one_call_refuses_to_start_and_names_the_time(
    tmp_path: Path, slow: type[Slow], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow, "row_step_s", 0.1)
    with pytest.raises(ConfigError, match=r"too slow for one call.*p99 of 1\d\d\.\d ms.*SLOTS=1"):
        build(config_of(tmp_path))
    built = build(config_of(tmp_path, "--slots", "1"))  # who insists is warned
    assert built.stepper.num_slots == 1
    (warning,) = told(capsys, "slots_beyond_calibration")
    assert warning["num_slots_measured"] == 0 and "p99 of" in str(warning["obstacle"])


def test_more_slots_than_were_measured_to_fit_are_warned_of(
    tmp_path: Path, slow: type[Slow], capsys: pytest.CaptureFixture[str]
) -> None:
    build(config_of(tmp_path))
    capsys.readouterr()
    assert build(config_of(tmp_path, "--slots", "3")).step_p99_s == 0.0
    (warning,) = told(capsys, "slots_beyond_calibration")
    assert (warning["num_slots"], warning["num_slots_measured"]) == (3, 2)
    assert build(config_of(tmp_path, "--slots", "2")).step_p99_s > 0.0
    assert not told(capsys, "slots_beyond_calibration")


def test_a_measuring_that_fails_does_not_stop_the_start(
    tmp_path: Path, slow: type[Slow], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> Calibration:
        raise AttributeError("this engine does not age")

    monkeypatch.setattr(worker, "search", fails)
    assert build(config_of(tmp_path)).stepper.num_slots == FALLBACK_SLOTS
    assert told(capsys, "calibration_failed")


async def start(address: WorkerAddress, *options: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent.worker", "--engine", "standin", "--address", str(address), *options),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await eventually(lambda: accepts(address) or process.returncode is not None, START_S)
    assert process.returncode is None
    return process


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """Exit status and log, once it has ended by itself."""
    assert process.stdin is not None
    _, log = await process.communicate()
    assert process.returncode is not None
    return process.returncode, log.decode()


async def test_sigterm_lets_the_last_call_end_and_then_the_worker(tmp_path: Path) -> None:
    address = WorkerAddress(path=str(tmp_path / "w.sock"))
    process = await start(address, "--slots", "2")
    async with linked(address) as link:
        slot = await link.claim("a", fencing=1, seed=0)
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: link.is_draining)
        assert len(await converse(slot, 3)) == 3
        await slot.release()
        await eventually(lambda: link.lost is not None)
    status, log = await ended(process)
    assert status == 0 and '"worker_draining"' in log and '"worker_ended"' in log
    assert not os.listdir(tmp_path)


async def test_a_second_signal_does_not_wait_for_calls(tmp_path: Path) -> None:
    address = WorkerAddress(path=str(tmp_path / "w.sock"))
    process = await start(address)
    async with linked(address) as link:
        await link.claim("a", fencing=1, seed=0)
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: link.is_draining)
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: link.lost is not None)
    assert (await ended(process))[0] == 0


async def test_it_ends_with_whoever_started_it_even_in_a_call(tmp_path: Path) -> None:
    address = WorkerAddress(path=str(tmp_path / "w.sock"))
    process = await start(address, "--ends-with-stdin")
    async with linked(address) as link:
        await link.claim("a", fencing=1, seed=0)
        assert process.stdin is not None
        process.stdin.close()
        await eventually(lambda: link.lost is not None)
    assert (await ended(process))[0] == 0
