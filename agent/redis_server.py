"""A Redis to talk to: the configured one, or a private one that lives and dies with us.

The private one is Debian's own `redis-server` on a unix socket in a private folder: no TCP port, nothing on
disk. If we are killed the kernel ends it (`setpriv --pdeathsig`); if it is killed we start it again on the
same socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from agent.errors import RedisUnavailable

START_TIMEOUT_S = 10.0  # a loaded two-core machine needs about 0.1
STOP_TIMEOUT_S = 5.0
RESTART_PAUSE_S = 0.5
FOLDER_PREFIX = "offhook-redis-"
STALE_AFTER_S = 60.0  # younger folders may belong to a server that is just starting
MAX_UNIX_PATH_BYTES = 107  # sockaddr_un

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def open_redis(configured_url: str | None) -> AsyncIterator[str]:
    """Yield the URL to use; without a configured one a private server runs until the block is left.

    Raises RedisUnavailable if the private server cannot be started. A configured one is not contacted here.
    """
    if configured_url is not None:
        yield configured_url
        return
    async with private_redis() as server:
        yield server.url


@contextlib.asynccontextmanager
async def private_redis() -> AsyncIterator[PrivateRedis]:
    """Run a private server, restarted whenever it dies, until the block is left.

    Raises RedisUnavailable if it does not start at first.
    """
    server = PrivateRedis()
    try:
        await server.start()
        async with asyncio.TaskGroup() as tasks:
            keeper = tasks.create_task(server.keep_running())
            try:
                yield server
            finally:
                keeper.cancel()
    finally:
        await server.stop()


class PrivateRedis:
    """One `redis-server` child of ours. Use `private_redis()`, which also keeps it running."""

    def __init__(self) -> None:
        _remove_stale_folders()
        self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))  # mode 0700
        self.socket = self._folder / "redis.sock"
        self._output = self._folder / "output"
        self._child: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """What a client connects to."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """The server's process id, for tests that stop it."""
        assert self._child is not None, "not started"
        return self._child.pid

    async def start(self) -> None:
        """Start the server and wait until it answers.

        Raises RedisUnavailable naming what is missing, or the server's last words.
        """
        command = self._command()
        with self._output.open("wb") as output:
            # The death signal follows the thread that forks: the event loop's, which lasts as long as we do.
            # A session of its own: Ctrl-C in our terminal is for us, who still have records to write.
            self._child = await asyncio.create_subprocess_exec(
                *command, stdout=output, stderr=output, start_new_session=True
            )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not await self._answers():
            if self._child.returncode is not None or time.monotonic() > deadline_s:
                words = self._output.read_text(errors="replace").strip().splitlines()[-1:]
                raise RedisUnavailable(
                    f"the private redis-server did not start: {words[0] if words else 'it said nothing'}; "
                    "try `redis-server --version`, or name a running Redis in OFFHOOK_REDIS_URL"
                )
            await asyncio.sleep(0.02)

    async def keep_running(self) -> None:
        """Start the server again whenever it ends, for ever."""
        while True:
            assert self._child is not None, "not started"
            code = await self._child.wait()
            log.warning("private_redis_ended", exit_code=code)
            await asyncio.sleep(RESTART_PAUSE_S)
            try:
                await self.start()
            except (RedisUnavailable, OSError) as error:
                log.error("private_redis_not_restarted", cause=str(error))

    async def stop(self) -> None:
        """End the server and remove its folder; safe to repeat, and when it never started."""
        child = self._child
        if child is not None and child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGCONT)  # a stopped process would not see the next one
                child.terminate()
            try:
                await asyncio.wait_for(child.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                child.kill()
                await child.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _command(self) -> list[str]:
        server, setpriv = find_redis_server(), shutil.which("setpriv")
        if server is None:
            raise RedisUnavailable(
                "redis-server is not installed; `apt-get install redis-server`, run `make setup`, "
                "or name a running Redis in OFFHOOK_REDIS_URL"
            )
        if setpriv is None:
            raise RedisUnavailable("setpriv is not installed; `apt-get install util-linux`")
        if len(os.fsencode(self.socket)) > MAX_UNIX_PATH_BYTES:
            raise RedisUnavailable(
                f"{self.socket} is too long for a unix socket; set TMPDIR to a shorter folder"
            )
        place = [
            "--port",
            "0",
            "--unixsocket",
            str(self.socket),
            "--dir",
            str(self._folder),
        ]
        nothing_kept = ["--save", "", "--appendonly", "no", "--daemonize", "no"]
        return [setpriv, "--pdeathsig", "KILL", server, *place, *nothing_kept]

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.socket))
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return await asyncio.wait_for(reader.readline(), 1.0) == b"+PONG\r\n"
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()


def find_redis_server() -> str | None:
    """Where Debian's `redis-server` is, or None; /usr/bin may be missing from a service's PATH."""
    return shutil.which("redis-server") or shutil.which("redis-server", path="/usr/bin:/usr/local/bin")


def _remove_stale_folders() -> None:
    """Clear what a killed predecessor left: our own old folders whose socket nobody serves."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        with contextlib.suppress(OSError):
            state = folder.stat()
            is_old = time.time() - state.st_mtime > STALE_AFTER_S
            if state.st_uid == os.getuid() and is_old and not _is_served(folder / "redis.sock"):
                shutil.rmtree(folder)


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True  # somebody listens, if slowly
        except OSError:
            return False
    return True
