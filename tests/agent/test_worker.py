"""The worker as a process: its command line, its warmth, and how it ends."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from agent.clock import ManualClock
from agent.errors import ConfigError
from agent.local_worker import EXIT_CONFIG
from agent.standin import StandIn
from agent.worker import NUM_WARM_STEPS, build_stepper, main, parse_arguments, warm_up
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
    assert warm_up(engine) == 17
    assert steps == [3] * NUM_WARM_STEPS
    with pytest.raises(AssertionError, match="not started"):
        engine.step(np.zeros((3, 1920), np.float32), np.ones(3, np.bool_))


def test_the_stand_in_is_built_without_a_model() -> None:
    config = parse_arguments("--address unix:/tmp/w --engine standin --slots 5".split())
    stepper = build_stepper(config)
    assert isinstance(stepper, StandIn) and stepper.num_slots == 5


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
