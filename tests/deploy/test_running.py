"""The dashboard over a running gateway: real calls, a real Prometheus, every query answered."""

import asyncio
import contextlib
import json
import os
import re
import secrets
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from aiohttp import ClientError, ClientSession

from tests.deploy.plain_caller import PlainCall
from tests.deploy.test_manifests import dashboard_queries, recorded
from tests.deploy.test_prometheus import CHOSEN, ask, free_port, in_one_window, prometheus, scraped

pytestmark = [pytest.mark.loopback, pytest.mark.redis, pytest.mark.timeout(180)]

RATE_HZ = 8000
ELSEWHERE = r"offhook_transfer"  # nobody is here to be transferred to
KEY = secrets.token_urlsafe(32)


# One trunk whose registrar is not there: its figures show, and callers come by it.
TRUNKS = """\
trunks:
  lab: {peers: [127.0.0.0/8], servers: ["127.0.0.1:9"], transport: tcp, registration: {expires_s: 60}}
"""


@contextlib.asynccontextmanager
async def gateway(
    sip_port: int, http_port: int, metrics_port: int, output: Path, *, rtp_port: int = 32_000, **more: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `offhook serve` with the stand-in engine until it is ready; end it gently, if it is there."""
    trunks = output.parent / "trunks.yaml"
    trunks.write_text(TRUNKS)
    ours = {
        "OFFHOOK_SIP__TRUNKS_FILE": str(trunks),
        "OFFHOOK_SIP__PORT": str(sip_port),
        "OFFHOOK_SIP__RTP_PORT_MIN": str(rtp_port),
        "OFFHOOK_SIP__RTP_PORT_MAX": str(rtp_port + 499),
        "OFFHOOK_HTTP__PORT": str(http_port),
        "OFFHOOK_HTTP__METRICS_PORT": str(metrics_port),
        "OFFHOOK_HTTP__ADMIN_KEY": KEY,
        "OFFHOOK_STATE": str(output.parent / "state"),
        "OFFHOOK_WORKER__ENGINE": "standin",
        "OFFHOOK_DRAIN_TIMEOUT_S": "0",
        "OFFHOOK_AGENT__DELEGATE_TIMEOUT_S": "1",
        **more,
    }
    server = await offhook("serve", env=ours, output=output)
    try:
        await ready(f"http://127.0.0.1:{http_port}/readyz", server, output)
        yield server
    finally:
        is_killed = server.returncode is not None
        with contextlib.suppress(ProcessLookupError):
            server.terminate()
        try:
            await asyncio.wait_for(server.wait(), 20)
        except TimeoutError:
            server.kill()
            raise
    assert is_killed or server.returncode == 0, told(output)


async def offhook(*words: str, env: dict[str, str] | None = None, output: Path) -> asyncio.subprocess.Process:
    """Start a sub-command; what it says is added to `output`."""
    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        command = (sys.executable, "-m", "agent", *words)
        environ = {**os.environ, **(env or {})}
        return await asyncio.create_subprocess_exec(*command, env=environ, stdout=log, stderr=log)
    finally:
        os.close(log)


def told(path: Path) -> str:
    return path.read_text(errors="replace")


async def ready(url: str, server: asyncio.subprocess.Process, output: Path) -> None:
    deadline_s = time.monotonic() + 40
    async with ClientSession() as http:
        while True:
            with contextlib.suppress(ClientError):
                async with http.get(url) as answer:
                    if answer.status == 200:
                        return
            assert server.returncode is None and time.monotonic() < deadline_s, told(output)
            await asyncio.sleep(0.1)


def write_caller(path: Path) -> None:
    """A caller who asks, hears the answer begin, speaks over it, then asks at length what nobody knows."""
    parts = [(0.8, 0.9), (0.8, 2.0), (5.4, 4.0)]  # seconds of voice, of silence
    sound = []
    for voiced_s, silent_s in parts:
        at = np.arange(int(voiced_s * RATE_HZ)) / RATE_HZ
        sound += [0.3 * np.sin(2 * np.pi * 300 * at), np.zeros(int(silent_s * RATE_HZ))]
    soundfile.write(path, np.concatenate(sound), RATE_HZ)


async def test_every_dashboard_query_has_data_after_three_calls(tmp_path: Path) -> None:
    sip_port, http_port, metrics_port = free_port(), free_port(), free_port()
    write_caller(tmp_path / "caller.wav")
    async with (
        gateway(sip_port, http_port, metrics_port, tmp_path / "serve.log"),
        prometheus(f"127.0.0.1:{metrics_port}", tmp_path) as url,
        ClientSession() as http,
    ):
        await scraped(http, url, 2)
        uri = f"sip:order@127.0.0.1:{sip_port}"
        play = ["call", uri, "--play", str(tmp_path / "caller.wav"), "--wait-for-greeting"]
        log = tmp_path / "calls.log"
        talking = [await offhook(*play, "--duration", "17", output=log) for _ in range(2)]
        await live_calls(f"http://127.0.0.1:{http_port}/v1/calls", 2)
        with PlainCall(("127.0.0.1", sip_port)) as refused:
            assert (await refused.place()).status == 503, told(log)
        assert [await one.wait() for one in talking] == [0, 0], told(log)
        scrapes = (await ask(http, url, 'count_over_time(up{job="offhook"}[5m])'))[0]
        await scraped(http, url, int(scrapes) + 3)
        answers = {
            query: await ask(http, url, in_one_window(query)) for query in [*dashboard_queries(), *recorded()]
        }
    silent = [query for query, values in answers.items() if not values and not re.search(ELSEWHERE, query)]
    assert not silent, (silent, told(tmp_path / "serve.log"))
    assert answers[f"sum(offhook_worker_slots{CHOSEN})"] == [2]
    assert answers[f"sum(offhook_calls_active{CHOSEN})"] == [0]


async def live_calls(url: str, number: int) -> None:
    """Wait until so many calls are live."""
    deadline_s = time.monotonic() + 60
    async with ClientSession() as http:
        while True:
            async with http.get(url, headers={"Authorization": f"Bearer {KEY}"}) as answer:
                if len(json.loads(await answer.text())["calls"]) == number:
                    return
            assert time.monotonic() < deadline_s, f"there are never {number} calls at once"
            await asyncio.sleep(0.05)
