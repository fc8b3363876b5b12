"""A Redis for a bench: a process of its own on a loopback port, which the bench kills and starts again."""

from __future__ import annotations

import contextlib
import subprocess
import time
from typing import Self

from redis import Redis
from redis.exceptions import RedisError

from agent.bench_gateway import HOST, free_port
from agent.errors import RedisUnavailable
from agent.redis_server import find_redis_server

START_TIMEOUT_S = 10.0
RETRY_S = 0.02


class RedisProcess:
    """`redis-server` while open, but for the times between `kill` and `start`; it keeps nothing on disk."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """What a client connects to."""
        return f"redis://{HOST}:{self.port}/0"

    def start(self) -> None:
        """Start it on its port, empty; returns when it answers. Raises RedisUnavailable."""
        server = find_redis_server()
        if server is None:
            raise RedisUnavailable("redis-server is not installed; run `make setup`")
        command = [server, "--port", str(self.port), "--bind", HOST, "--save", "", "--appendonly", "no"]
        assert self._process is None, "it runs already"
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RedisUnavailable(
                    f"redis-server does not answer on port {self.port}: see that `redis-server --version` "
                    "works, or try again if another program took the port"
                )
            time.sleep(RETRY_S)

    def kill(self) -> None:
        """End it with SIGKILL; returns when it is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def get(self, key: str) -> str:
        """The value of one key, or "" if there is none. Raises RedisError when it is away."""
        with contextlib.closing(Redis(HOST, self.port, decode_responses=True)) as client:
            return str(client.get(key) or "")

    def _answers(self) -> bool:
        try:
            self.get("nothing")
        except RedisError:
            return False
        return True
