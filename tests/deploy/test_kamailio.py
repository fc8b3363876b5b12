"""Kamailio in front of two real gateways of which one is killed: the shipped configuration, as it is."""

import asyncio
import contextlib
import subprocess
import time
from pathlib import Path

import pytest

from agent.bench_dispatcher import CONFIG, Dispatcher, flags, kamailio_program
from tests.deploy.plain_caller import PlainCall
from tests.deploy.test_manifests import DEPLOY
from tests.deploy.test_prometheus import free_port
from tests.deploy.test_running import gateway

MOVED_WITHIN_S = 3.0  # fr_timer, and what a busy machine adds


def test_kamailio_takes_what_is_shipped(tmp_path: Path) -> None:
    gateways = DEPLOY / "kamailio" / "dispatcher.list"
    for words in (["-f", str(CONFIG)], flags(free_port(), gateways, tmp_path)):
        checked = subprocess.run(
            [kamailio_program(), "-c", *words], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0 and "config file ok" in checked.stderr, checked.stderr


async def told_by_options(address: tuple[str, int], status: int, within_s: float) -> None:
    """Wait until OPTIONS is answered so."""
    deadline_s = time.monotonic() + within_s
    while True:
        with PlainCall(address) as asked, contextlib.suppress(TimeoutError):
            answer = await asked.options()
            if answer.status == status:
                return
        assert time.monotonic() < deadline_s, f"OPTIONS is never answered by {status}"
        await asyncio.sleep(0.1)


async def answered_by(address: tuple[str, int]) -> int:
    """Place a short call; the port of the gateway that took it."""
    with PlainCall(address) as call:
        answer = await call.place()
        assert answer.status == 200, answer.first
        ended = await call.end()
        assert ended.status == 200, ended.first
        return port_of(call)


def port_of(call: PlainCall) -> int:
    return int(call.contact.partition("@")[2].partition(";")[0].rpartition(":")[2])


@pytest.mark.loopback
@pytest.mark.redis
@pytest.mark.timeout(120)
async def test_new_calls_go_to_the_other_gateway_when_one_is_killed(tmp_path: Path) -> None:
    ports = free_port(), free_port()
    line = {
        "OFFHOOK_WORKER__SLOTS": "8",
        "OFFHOOK_CALL__MEDIA_TIMEOUT_S": "120",  # the caller sends no sound
        "OFFHOOK_DRAIN_TIMEOUT_S": "60",
    }
    async with contextlib.AsyncExitStack() as stack:
        starting = [
            stack.enter_async_context(
                gateway(port, free_port(), free_port(), tmp_path / f"{port}.log", rtp_port=rtp_port, **line)
            )
            for port, rtp_port in zip(ports, (33_000, 34_000), strict=True)
        ]
        servers = dict(zip(ports, await asyncio.gather(*starting), strict=True))
        address = (await asyncio.to_thread(stack.enter_context, Dispatcher(ports))).address
        assert {await answered_by(address) for _ in range(2)} == set(ports)

        live = stack.enter_context(PlainCall(address))
        assert (await live.place()).status == 200
        survivor = port_of(live)
        (killed,) = set(ports) - {survivor}
        servers[killed].kill()
        for _ in range(3):
            began_s = time.monotonic()
            assert await answered_by(address) == survivor
            assert time.monotonic() - began_s < MOVED_WITHIN_S

        # The other one drains: it says so itself, and its live call goes on to its end.
        servers[survivor].terminate()
        await told_by_options(address, 503, within_s=10)
        with PlainCall(address) as refused:
            answer = await refused.place()
            assert answer.status == 503 and answer.one("Retry-After") == "5"
        assert servers[survivor].returncode is None, "it did not wait for its call"
        ended = await live.end()
        assert ended.status == 200, ended.first
        assert await asyncio.wait_for(servers[survivor].wait(), 30) == 0
