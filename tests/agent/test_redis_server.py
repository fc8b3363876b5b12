"""A real redis-server: private, restarted, and gone when we are."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis.asyncio import Redis

from agent import redis_server
from agent.errors import RedisUnavailable
from agent.redis_server import open_redis, private_redis

pytestmark = pytest.mark.redis

LIVES_UNTIL_KILLED = """
import asyncio
from agent.redis_server import private_redis

async def main():
    async with private_redis() as server:
        print(server.pid, server.socket, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # a zombie has ended; only its parent has not looked


async def test_private_server_answers_on_its_socket_only_and_leaves_nothing() -> None:
    async with private_redis() as server:
        pid, folder = server.pid, server.socket.parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        async with Redis.from_url(server.url, decode_responses=True) as redis:
            assert await redis.set("key", "value")
            config = await redis.config_get("port", "save", "appendonly")
        assert config == {"port": "0", "save": "", "appendonly": "no"}
    assert not _is_running(pid)
    assert not folder.exists()


async def test_killed_server_comes_back_at_the_same_address() -> None:
    async with private_redis() as server:
        first = server.pid
        os.kill(first, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while server.pid == first or not await server._answers():
            assert time.monotonic() < deadline, "not restarted"
            await asyncio.sleep(0.02)
        async with Redis.from_url(server.url) as redis:
            assert await redis.ping()


async def test_stopped_server_does_not_keep_us_from_leaving() -> None:
    async with private_redis() as server:
        pid = server.pid
        os.kill(pid, signal.SIGSTOP)
    assert not _is_running(pid)


def test_server_dies_with_us_even_when_we_are_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", LIVES_UNTIL_KILLED], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        pid, socket = parent.stdout.readline().split()
        assert _is_running(int(pid))
        parent.kill()
    deadline = time.monotonic() + 10
    while _is_running(int(pid)):
        assert time.monotonic() < deadline, "redis-server outlived its parent"
        time.sleep(0.02)
    folder = Path(socket).parent
    assert folder.exists()  # nobody was left to remove it: the next start does, once it is old
    long_ago = time.time() - 2 * redis_server.STALE_AFTER_S
    os.utime(folder, (long_ago, long_ago))
    while folder.exists():  # the kernel may still be closing the server's sockets
        assert time.monotonic() < deadline, "the dead server's folder was not removed"
        redis_server._remove_stale_folders()
        time.sleep(0.02)


async def test_missing_binary_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_server, "find_redis_server", lambda: None)
    with pytest.raises(RedisUnavailable, match="apt-get install redis-server"):
        async with private_redis():
            pass


async def test_server_that_will_not_start_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho 'cannot find libthing.so' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(redis_server, "find_redis_server", lambda: str(broken))
    with pytest.raises(RedisUnavailable, match=r"cannot find libthing\.so"):
        async with private_redis():
            pass


async def test_configured_url_is_used_as_it_is() -> None:
    async with open_redis("redis://192.0.2.1:6379/5") as url:
        assert url == "redis://192.0.2.1:6379/5"
