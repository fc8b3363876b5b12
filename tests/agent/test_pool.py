"""Workers die, hang and never start; calls find another, and nothing is left behind."""

import asyncio
import os
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest

from agent import metrics, pool, worker_link
from agent.errors import ConfigError, NoFreeSlot
from agent.local_worker import LocalWorker
from agent.pool import Berth, RemoteWorker, WorkerPool
from agent.settings import WorkerSettings
from agent.slot import ClaimRefused, PromptRefused, Slot, WorkerLost
from agent.standin import FORCE_HANG, LINE_TOKEN, StandIn
from agent.trace import Trace, replay
from agent.worker_address import WorkerAddress
from model.control import CallProfile
from tests.agent.worker_rig import QUIET, START_S, converse, eventually, is_alive, served


def settings(count: int = 1, slots: int = 2, **more: object) -> WorkerSettings:
    return WorkerSettings.model_validate(
        {"count": count, "slots": slots, "engine": "standin", "start_timeout_s": START_S, **more}
    )


def pids(workers: WorkerPool) -> list[int]:
    sources = [berth.source for berth in workers.berths]
    return [source.pid for source in sources if isinstance(source, LocalWorker) and source.pid is not None]


def restarts() -> float:
    found = metrics.REGISTRY.get_sample_value("offhook_worker_restarts_total", {"worker": "w0"})
    return found or 0.0


def temporary_folders() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("offhook-*"))


async def lose(slot: Slot) -> None:
    with pytest.raises(WorkerLost):
        async for _ in slot.replies():
            pass


async def test_a_killed_worker_is_replaced_and_the_call_goes_on_there() -> None:
    before = restarts()
    async with WorkerPool(settings(), name="gw") as workers:
        await workers.wait_ready()
        slot = await workers.claim("a", fencing=1, seed=0)
        history = [reply.tokens for reply in await converse(slot, 5)]
        assert history[0][0] == LINE_TOKEN
        (first,) = pids(workers)
        os.kill(first, signal.SIGKILL)
        await lose(slot)
        assert workers.num_slots == 0 and workers.candidates() == []
        again = await workers.claim("a", fencing=2, seed=0, history=np.stack(history), wait_s=START_S)
        replies = await converse(again, 3)
        assert not any(reply.pcm.any() for reply in replies)  # it does not greet again
        (second,) = pids(workers)
        assert second != first and restarts() == before + 1
        folder = Path(workers.links[0].address.path).parent
        assert folder in temporary_folders()
    for pid in (first, second):
        assert not is_alive(pid)
    assert folder not in temporary_folders()


async def test_a_second_warm_worker_takes_the_call_at_once() -> None:
    async with WorkerPool(settings(count=2, slots=1), name="gw") as workers:
        await workers.wait_ready(2)
        slot = await workers.claim("a", fencing=1, seed=0)
        victim = next(b.source for b in workers.berths if b.source.worker_id == slot.worker_id)
        assert isinstance(victim, LocalWorker) and victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        await lose(slot)
        again = await workers.claim("a", fencing=2, seed=0, wait_s=START_S)
        assert len(await converse(again, 1)) == 1
        assert again.worker_id != slot.worker_id


async def test_slots_run_out_and_come_back() -> None:
    async with WorkerPool(settings(count=2, slots=1), name="gw") as workers:
        await workers.wait_ready(2)
        assert sorted(workers.candidates()) == [("gw-w0", 1), ("gw-w1", 1)]
        one, other = [await workers.claim(name, fencing=1, seed=0) for name in "ab"]
        assert {one.worker_id, other.worker_id} == {"gw-w0", "gw-w1"}
        assert workers.num_slots == 2 and workers.num_slots_free == 0 and workers.candidates() == []
        with pytest.raises(NoFreeSlot):
            await workers.claim("c", fencing=1, seed=0)
        waiting = asyncio.ensure_future(workers.claim("c", fencing=1, seed=0, wait_s=START_S))
        await asyncio.sleep(0)
        await one.release()
        assert (await waiting).worker_id == one.worker_id
        with pytest.raises(NoFreeSlot):
            await workers.claim("d", fencing=1, seed=0, worker_id="another")


async def test_a_worker_that_stands_still_is_killed_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_link, "SILENCE_TIMEOUT_S", 1.6)
    async with WorkerPool(settings(), name="gw") as workers:
        await workers.wait_ready()
        slot = await workers.claim("a", fencing=1, seed=0)
        (first,) = pids(workers)
        os.kill(first, signal.SIGSTOP)
        await lose(slot)
        await eventually(lambda: bool(workers.links) and pids(workers) != [first], START_S)
        assert not is_alive(first)


async def test_an_engine_thread_that_hangs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "HUNG_AFTER_S", 0.5)
    async with WorkerPool(settings(), name="gw") as workers:
        await workers.wait_ready()
        slot = await workers.claim("a", fencing=1, seed=0)
        (first,) = pids(workers)
        await slot.force_text(FORCE_HANG)
        await slot.send(QUIET)
        await lose(slot)
        await eventually(lambda: not is_alive(first), START_S)


async def test_a_worker_without_a_model_says_so_at_once(tmp_path: Path) -> None:
    broken = settings(engine="builtin", model_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"lacks model\.safetensors"):
        async with WorkerPool(broken, name="gw") as workers:
            with pytest.raises(NoFreeSlot):
                await workers.claim("a", fencing=1, seed=0)
            await workers.wait_ready()


async def test_a_worker_that_dies_again_and_again_is_reported_and_restarted_ever_more_slowly() -> None:
    berth = Berth(RemoteWorker("w", WorkerAddress(path="/none")), "w0", settings(), lambda: None)
    waits = []
    for _ in range(9):
        berth.note_death(lived_s=0.1)
        waits.append(berth.backoff_s)
    assert waits == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert berth.is_crash_looping
    berth.note_death(lived_s=pool.STEADY_S + 1)
    assert berth.backoff_s == 0.0 and not berth.is_crash_looping


async def test_a_remote_worker_is_connected_to_and_reconnected(tmp_path: Path) -> None:
    remote = settings(count=0, addresses=(f"unix:{tmp_path}/w.sock",))
    async with WorkerPool(remote, name="gw") as workers:
        async with served(tmp_path, 1):
            await workers.wait_ready(timeout_s=START_S)
            slot = await workers.claim("a", fencing=1, seed=0)
            assert slot.worker_id == "w0"
            with pytest.raises(ClaimRefused):
                await workers.links[0].claim("b", fencing=1, seed=0)
        await lose(slot)
        async with served(tmp_path, 1):
            assert isinstance(await workers.claim("a", fencing=1, seed=0, wait_s=START_S), Slot)


async def test_what_a_worker_counts_reaches_the_metrics() -> None:
    def value(name: str) -> float:
        return metrics.REGISTRY.get_sample_value(name, {"worker": "w0"}) or 0.0

    ticks = value("offhook_worker_tick_seconds_count")
    async with WorkerPool(settings(slots=3), name="gw") as workers:
        await workers.wait_ready()
        slot = await workers.claim("a", fencing=1, seed=0)
        await converse(slot, 4)
        await eventually(lambda: value("offhook_worker_tick_seconds_count") >= ticks + 4)
        assert value("offhook_worker_slots") == 3 and value("offhook_worker_slots_used") == 1
    assert value("offhook_worker_slots") == value("offhook_worker_slots_used") == 0


async def test_what_a_worker_says_of_itself_counts_not_what_is_configured_here(tmp_path: Path) -> None:
    async with served(tmp_path, 3) as (_, address):
        configured = WorkerSettings(count=0, addresses=(str(address),), slots=7)
        async with WorkerPool(configured, name="gw") as workers:
            await workers.wait_ready(timeout_s=START_S)
            assert workers.num_slots == workers.num_slots_free == 3
            assert workers.candidates() == [("w0", 3)]
            labels = {"worker": str(address)}
            assert metrics.REGISTRY.get_sample_value("offhook_worker_slots", labels) == 3
            p99_s = metrics.REGISTRY.get_sample_value("offhook_worker_calibrated_p99_seconds", labels)
            assert p99_s == 0.05


async def test_a_prompt_that_is_refused_is_not_asked_for_again(tmp_path: Path) -> None:
    async with WorkerPool(settings(slots=1), name="gw") as workers:
        await workers.wait_ready()
        with pytest.raises(PromptRefused, match="no voice 'anna'"):
            await workers.claim("a", fencing=1, seed=0, profile=CallProfile(voice="anna"), wait_s=START_S)


async def test_a_workers_calls_are_traced_where_that_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    async with WorkerPool(settings(trace_folder=folder), name="gw") as workers:
        await workers.wait_ready()
        slot = await workers.claim("a", fencing=1, seed=5, profile=CallProfile(voice="tone"))
        await slot.say([41])
        await converse(slot, 4)
        await slot.release()
    (path,) = folder.iterdir()
    trace = Trace.load(path)
    assert (trace.seed, trace.profile.voice, len(trace.pcm)) == (5, "tone", 4)
    assert [command[1:] for command in trace.commands] == [("say", [41])]
    assert replay(StandIn(2, step_s=0.0, row_step_s=0.0), trace).is_equal
