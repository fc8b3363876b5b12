"""Where the clicks of a recording stand, judged by the wire."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from agent.bench_gateway import GatewayProcess
from agent.standin import StandIn
from agent.worker_address import WorkerAddress
from agent.worker_server import WorkerIdentity, WorkerServer
from tests.agent.worker_rig import accepts, eventually
from tests.loopback.slaved_caller import MS_SAMPLES, Recorded, SlavedCaller, assert_caller_in_place
from tests.signals import find_clicks

pytestmark = [pytest.mark.loopback, pytest.mark.redis, pytest.mark.timeout(120)]

CALL_S = 10.0
# The playout gate's 5 ms ramp softens some clicks: one between the two levels may match, but need not.
LOUD, FAINT = 0.2, 0.1


async def recorded_echo(folder: Path) -> tuple[SlavedCaller, Path]:
    """A call to a model that says what it hears, and its recording."""
    address = WorkerAddress(path=str(folder / "worker.sock"))
    server = WorkerServer(StandIn(1, mode="echo"), WorkerIdentity("echo", "standin", 17))
    settings = {
        "OFFHOOK_WORKER__COUNT": "0",
        "OFFHOOK_WORKER__ADDRESSES": f"unix:{address.path}",
        "OFFHOOK_WORKER__ENGINE": "standin",  # so that no tokenizer is looked for
        "OFFHOOK_RECORDING__FOLDER": str(folder / "calls"),
    }
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(address))
        await eventually(lambda: accepts(address))
        caller = await asyncio.to_thread(placed, settings)
        server.stop()
    (path,) = (folder / "calls").glob("*.flac")
    return caller, path


def placed(settings: dict[str, str]) -> SlavedCaller:
    """One call to a gateway of its own; over, and written to the disk."""
    with GatewayProcess(settings) as gateway, SlavedCaller() as caller:
        caller.call(gateway.address, CALL_S)
        gateway.wait_until_idle()
    return caller


def farthest(clicks: list[int], others: list[int]) -> int:
    """How far the loneliest of these clicks is from the nearest of the others, in samples."""
    return int(np.abs(np.subtract.outer(clicks, others)).min(axis=1).max())


async def test_clicks_on_both_channels_are_within_1_ms_of_their_true_places(tmp_path: Path) -> None:
    """The true place of a sound is its media time on the wire: one line for both channels.

    Media time is the line of RTP timestamps of the gateway's own packets; the caller speaks by it (see
    `slaved_caller`). The recording is 8 ms behind it on both channels: what the caller's sound needs to the
    bridge (3 ms of the resampler, 5 that the decoder keeps back to conceal losses). Which tick it begins with
    is free, but is a tick.

    - Agent: the RTP time at which the click left. There is no jitter buffer between, so this holds for every
      click on any machine, and no other click may be recorded.
    - Caller: the RTP time of the first tick that can take the click in. Nothing of the jitter buffer is in
      it. A click may come whole ticks later where the machine held its packets up; `assert_caller_in_place`
      limits that.
    """
    caller, path = await recorded_echo(tmp_path)
    recorded = Recorded(path, caller)
    said, sent = recorded.agent, recorded.agent_truth
    assert len(find_clicks(said, LOUD)) >= 8
    assert farthest(find_clicks(said, LOUD), find_clicks(sent, FAINT)) <= MS_SAMPLES
    assert farthest(find_clicks(sent, LOUD), find_clicks(said, FAINT)) <= MS_SAMPLES
    errors = recorded.caller_errors()
    assert len(errors) >= 10
    assert_caller_in_place(errors)
