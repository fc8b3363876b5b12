"""A worker process of ours is started, heard, and gone without a trace."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
import structlog

from agent.errors import ConfigError
from agent.local_worker import LocalWorker
from agent.worker_address import WorkerAddress
from tests.agent.worker_rig import START_S, accepts, eventually, is_alive


def make(tmp_path: Path, *arguments: str) -> LocalWorker:
    return LocalWorker("gw-w0", WorkerAddress(path=str(tmp_path / "w.sock")), arguments)


async def test_it_starts_passes_its_log_on_and_stops(tmp_path: Path) -> None:
    worker = make(tmp_path, "--engine", "standin")
    with structlog.testing.capture_logs() as logs:
        async with asyncio.TaskGroup() as group:
            await worker.start(group)
            pid = worker.pid
            assert pid is not None and os.getsid(pid) == pid  # Ctrl-C does not reach it
            await eventually(lambda: accepts(worker.address), START_S)
            worker.check()
            await worker.stop(is_graceful=True)
    events = {entry["event"]: entry for entry in logs}
    assert {"worker_ready", "worker_ended"} <= set(events)
    assert events["worker_ready"]["worker_id"] == "gw-w0" and events["worker_ready"]["num_slots"] == 2
    assert worker.pid is None and not is_alive(pid) and not os.listdir(tmp_path)


async def test_a_worker_that_ends_is_reported_with_its_last_word(tmp_path: Path) -> None:
    worker = make(tmp_path, "--slots", "999")
    async with asyncio.TaskGroup() as group:
        await worker.start(group)

        def has_ended() -> bool:
            try:
                worker.check()
            except ConfigError:
                return True
            return False

        await eventually(has_ended, START_S)
        await eventually(lambda: worker.last_word != "it said nothing")
        with pytest.raises(ConfigError, match="worker gw-w0: --slots 999"):
            worker.check()
        await worker.stop(is_graceful=False)


async def test_one_that_does_not_listen_to_reason_is_killed_and_can_be_started_again(tmp_path: Path) -> None:
    worker = make(tmp_path, "--engine", "standin")
    async with asyncio.TaskGroup() as group:
        await worker.start(group)
        await eventually(lambda: accepts(worker.address), START_S)
        first = worker.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        await worker.stop(is_graceful=False)
        await worker.stop(is_graceful=False)
        assert not is_alive(first) and not os.listdir(tmp_path)
        await worker.start(group)
        await eventually(lambda: accepts(worker.address), START_S)
        assert worker.pid not in (None, first)
        await worker.stop(is_graceful=True)
