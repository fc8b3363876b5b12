"""`offhook serve` with the stand-in engine, called over real SIP: whole calls, and what may die in them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import numpy as np
import pytest

from agent.bench_gateway import GatewayProcess
from agent.bench_redis import RedisProcess
from agent.energy_gate import Edge, EnergyGate, Pcm, find_segments
from agent.evaluation.placed_call import Speaker, calling_end, place_call
from agent.standin import line_hz
from telephony.endpoint import FRAME_SAMPLES, SAMPLE_RATE_HZ
from telephony.errors import CallRefused
from telephony.sip import SipGateway
from tests.loopback.slaved_caller import MS_SAMPLES, Recorded, SlavedCaller, assert_caller_in_place
from tests.signals import find_tone, lag_samples

pytestmark = [pytest.mark.loopback, pytest.mark.redis, pytest.mark.timeout(120)]

STANDIN = {"OFFHOOK_WORKER__ENGINE": "standin", "OFFHOOK_LOG__FORMAT": "json", "OFFHOOK_DRAIN_TIMEOUT_S": "0"}
SILENCE = np.zeros(FRAME_SAMPLES, np.float32)


@contextmanager
def serving(**settings: str) -> Iterator[GatewayProcess]:
    with GatewayProcess({**STANDIN, **settings}) as gateway:
        yield gateway


@asynccontextmanager
async def calling(**settings: str) -> AsyncIterator[tuple[GatewayProcess, SipGateway]]:
    with serving(**settings) as gateway:
        async with calling_end() as phone:
            yield gateway, phone


def talker(speech: list[tuple[float, float]], hz: float = 200.0) -> Speaker:
    """A caller who speaks (hums) in these spans of seconds, counted from pick-up."""
    frames = 0

    def speak(heard: Pcm) -> Pcm | None:
        nonlocal frames
        at = (np.arange(FRAME_SAMPLES) + frames * FRAME_SAMPLES) / SAMPLE_RATE_HZ
        frames += 1
        inside = np.zeros(FRAME_SAMPLES, bool)
        for start, end in speech:
            inside |= (at >= start) & (at < end)
        return np.asarray(np.where(inside, 0.2 * np.sin(2 * np.pi * hz * at), 0), np.float32)

    return speak


def pitches(agent: Pcm) -> list[float]:
    """The pitch of each of the agent's lines that the caller heard, to 10 Hz."""
    lines = []
    for segment in find_segments(agent):
        inside = agent[int(segment.start_s * SAMPLE_RATE_HZ) : int(segment.end_s * SAMPLE_RATE_HZ)]
        lines.append(round(find_tone(inside, SAMPLE_RATE_HZ), -1))
    return lines


def test_a_call_is_answered_and_recorded_in_step_with_the_wire(tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    with serving(OFFHOOK_RECORDING__FOLDER=str(folder)) as gateway, SlavedCaller() as caller:
        caller.call(gateway.address, 9.0)
        gateway.wait_for_metric("offhook_calls_active", 0)
        gateway.wait_for_metric("offhook_worker_slots_used", 0)
        assert gateway.metric("offhook_calls_total") == 1
    assert pitches(caller.heard)[0] == line_hz(0)
    (path,) = folder.glob("*.flac")
    recorded = Recorded(path, caller)
    assert_caller_in_place(recorded.caller_errors())
    lags = [section_lag(recorded, start_s) for start_s in np.arange(0.2, 7.0, 1.0)]
    heard = [lag for lag in lags if lag is not None]
    assert len(heard) >= 5 and all(abs(lag) <= MS_SAMPLES for lag in heard), lags
    told = json.loads(path.with_suffix(".json").read_text())
    assert told["end_reason"] == "caller_hung_up" and told["consent"] is False
    assert told["words"][0]["text"] == "line0"
    assert abs(told["seconds"] - len(recorded.stereo) / SAMPLE_RATE_HZ) < 0.001


def section_lag(recorded: Recorded, start_s: float) -> int | None:
    """Lag of the agent's channel behind its place in one second of it; None where nothing was said."""
    inside = slice(round(start_s * SAMPLE_RATE_HZ), round((start_s + 1) * SAMPLE_RATE_HZ))
    truth = recorded.agent_truth[inside]
    if float(np.abs(truth).max(initial=0)) < 0.05:
        return None
    return lag_samples(recorded.agent[inside], truth, SAMPLE_RATE_HZ // 2)


class Killer:
    """A caller who kills the worker after its second line, and hangs up once the agent was heard again."""

    KILL_S = 4.5

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway = gateway
        self._speak = talker([(2.0, 2.6), *[(at, at + 0.5) for at in np.arange(5.0, 28, 1.5)]])
        self._gate = EnergyGate()
        self._is_dead = False
        self.heard_s: float | None = None  # when the agent began to speak again

    def __call__(self, heard: Pcm) -> Pcm | None:
        for event in self._gate.push(heard):
            if event.edge is Edge.ONSET and self._is_dead:
                self.heard_s = self.heard_s or event.at_s
        if not self._is_dead and self._gate.now_s > self.KILL_S:
            os.kill(self._gateway.holder(), signal.SIGKILL)
            self._is_dead = True
        is_over = self.heard_s is not None and self._gate.now_s > self.heard_s + 2.0
        return None if is_over else self._speak(heard)


@pytest.mark.parametrize(("workers", "within_s"), [(1, 20.0), (2, 3.0)])
async def test_a_killed_worker_costs_no_call_and_no_memory(workers: int, within_s: float) -> None:
    async with calling(OFFHOOK_WORKER__COUNT=str(workers)) as (gateway, phone):
        await asyncio.to_thread(gateway.wait_for_metric, "offhook_worker_slots", 2 * workers)
        caller = Killer(gateway)
        call = await place_call(phone, gateway.uri, caller, 6.0 + within_s)
        assert await asyncio.to_thread(gateway.metric, "offhook_worker_restarts_total") == 1
    assert call.is_ended_by_us, call.ended
    assert caller.heard_s is not None and caller.heard_s - Killer.KILL_S <= within_s
    # Greeted with line 0, answered with line 1: it goes on with line 2, and greets once.
    assert pitches(call.tape.channels()[1])[:3] == [line_hz(0), line_hz(1), line_hz(2)]


async def test_redis_may_go_and_come_back() -> None:
    with RedisProcess() as redis:
        async with calling(OFFHOOK_REDIS_URL=redis.url) as (gateway, phone):
            calling_task = asyncio.create_task(
                place_call(phone, gateway.uri, talker([(2.0, 2.6), (5.0, 5.6)]), 8.0)
            )
            await asyncio.sleep(2.0)
            (live,) = await asyncio.to_thread(gateway.calls)
            redis.kill()
            await asyncio.to_thread(gateway.wait_for_metric, "offhook_redis_up", 0)
            second = await place_call(phone, gateway.uri, lambda heard: SILENCE, 2.0)
            await asyncio.to_thread(redis.start)
            await asyncio.to_thread(gateway.wait_for_metric, "offhook_redis_up", 1)
            record = await asyncio.to_thread(redis.get, f"offhook:session:{live['call_id']}")
            call = await calling_task
            assert await asyncio.to_thread(gateway.metric, "offhook_worker_dropped_frames_total") == 0
    assert json.loads(record)["call_id"] == live["call_id"]
    assert pitches(call.tape.channels()[1])[:3] == [line_hz(0), line_hz(1), line_hz(2)]
    assert pitches(second.tape.channels()[1])[0] == line_hz(0)


async def test_nothing_is_left_of_a_hundred_calls_in_small() -> None:
    async with calling() as (gateway, phone):
        await place_call(phone, gateway.uri, lambda heard: SILENCE, 0.5)
        await asyncio.to_thread(gateway.wait_for_metric, "offhook_worker_slots_used", 0)
        files = gateway.num_open_files
        for _ in range(4):
            first = place_call(phone, gateway.uri, lambda heard: SILENCE, 1.0)
            second = place_call(phone, gateway.uri, lambda heard: SILENCE, 1.2)
            await asyncio.gather(first, second)
        await asyncio.to_thread(gateway.wait_for_metric, "offhook_worker_slots_used", 0)
        await asyncio.to_thread(gateway.wait_for_metric, "offhook_calls_active", 0)
        assert await asyncio.to_thread(gateway.metric, "offhook_calls_total") == 9
        await asyncio.sleep(1.0)  # PJSIP keeps a transaction's socket a moment
        assert gateway.num_open_files <= files
        assert gateway.num_rtp_ports == 0


async def test_a_surplus_caller_hears_503_and_the_operator_may_hang_up() -> None:
    async with calling() as (gateway, phone):
        async with asyncio.TaskGroup() as group:
            calls = [
                group.create_task(place_call(phone, gateway.uri, lambda heard: SILENCE, 20.0))
                for _ in range(2)
            ]
            await asyncio.to_thread(gateway.wait_for_metric, "offhook_calls_active", 2)
            with pytest.raises(CallRefused) as refused:
                await phone.call(gateway.uri)
            assert (refused.value.status, refused.value.retry_after_s) == (503, 5)
            for live in await asyncio.to_thread(gateway.calls):
                await asyncio.to_thread(gateway.post, f"/v1/calls/{live['call_id']}/hangup")
        assert not any(call.result().is_ended_by_us for call in calls)
        await asyncio.to_thread(gateway.wait_for_metric, "offhook_calls_active", 0)
        log = gateway.log
    assert log.count("operator_hung_up") == 2 and "no_free_slot" in log


async def test_a_gateway_that_is_stopped_says_bye_and_leaves_nothing() -> None:
    async with calling_end() as phone:
        with serving() as gateway:
            live = asyncio.create_task(place_call(phone, gateway.uri, lambda heard: SILENCE, 20.0))
            await asyncio.to_thread(gateway.wait_for_metric, "offhook_calls_active", 1)
            children = gateway.children("")
            os.kill(gateway.pid, signal.SIGTERM)
            call = await live
            assert await asyncio.to_thread(gateway._process.wait, 15) == 0, gateway.log
            assert len(children) >= 2  # the worker and Redis
            assert not [pid for pid in children if is_running(pid)]
            whole = gateway.log.splitlines()[1:]  # the first may be cut
            told = [json.loads(line)["event"] for line in whole]
            assert "gateway_ready" in told and told[-1] == "gateway_stopped"
    assert call.ended is not None and call.ended.code == 200 and not call.is_ended_by_us


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_an_agent_greets_as_configured_and_says_what_it_is_told_in_a_call(tmp_path: Path) -> None:
    told = {"OFFHOOK_AGENT__GREETING": "one two three", "OFFHOOK_AGENT__VOICE": "tone"}
    async with calling(**told, OFFHOOK_RECORDING__FOLDER=str(tmp_path)) as (gateway, phone):
        talking = asyncio.create_task(place_call(phone, gateway.uri, talker([]), 8.0))
        await asyncio.to_thread(gateway.wait_for_metric, "offhook_calls_active", 1)
        await asyncio.sleep(3.0)
        (call,) = await asyncio.to_thread(gateway.calls)
        path = f"/v1/calls/{call['call_id']}"
        assert "saying" in await asyncio.to_thread(gateway.post, f"{path}/say", {"text": "four five"})
        assert "silent" in await asyncio.to_thread(gateway.post, f"{path}/silence", {"seconds": 0})
        await talking
        await asyncio.to_thread(gateway.wait_for_metric, "offhook_calls_active", 0)
    (sidecar,) = await asyncio.to_thread(lambda: list(tmp_path.glob("*.json")))
    words = [word["text"] for word in json.loads(sidecar.read_text())["words"] if word["speaker"] == "agent"]
    assert words[:4] == ["la", "la", "la", "line0"]  # the greeting, then the stand-in's own
    assert words[-2:] == ["la", "la"]


async def test_a_voice_that_the_model_has_not_is_our_fault_and_never_rings() -> None:
    async with calling(OFFHOOK_AGENT__VOICE="anna") as (gateway, phone):
        with pytest.raises(CallRefused) as refused:
            await place_call(phone, gateway.uri, talker([]), 5.0)
        assert refused.value.status == 500
        assert await asyncio.to_thread(gateway.metric, "offhook_calls_total") == 1
