"""Real peers against a real endpoint: each test has its own answerer process, or shares the module's."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.loopback.baresip import Network


class AnswererProcess:
    """`tests.loopback.answerer` while open; its events in order."""

    def __init__(self, folder: Path, address: str = "127.0.0.1", peers: str = "") -> None:
        self.folder, self.address = folder, address
        self.errors = folder / "answerer.err"
        self._command = [sys.executable, "-m", "tests.loopback.answerer", "--folder", str(folder)]
        self._command += ["--address", address, "--peers", peers]
        self._events: queue.Queue[dict[str, Any]] = queue.Queue(10_000)
        self._passed: list[dict[str, Any]] = []
        self.udp_port = self.tcp_port = self.ports_free = 0

    def __enter__(self) -> Self:
        with self.errors.open("w") as errors:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            ready = self.wait("ready", 20)
        except AssertionError:
            self._end()
            raise
        self.udp_port, self.tcp_port, self.ports_free = ready["udp"], ready["tcp"], ready["ports_free"]
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            if exc[0] is None and self._process.poll() is None:
                self.stop()
        finally:
            self._end()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def sip(self) -> tuple[str, int]:
        """Where it answers SIP over UDP."""
        return self.address, self.udp_port

    def wait(self, kind: str, timeout_s: float = 10.0, **values: object) -> dict[str, Any]:
        """The next event of this kind and with these values; others are passed over, for good."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                event = self._events.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                errors = self.errors.read_text()[-3000:]
                raise AssertionError(f"no {kind} {values}; came: {self._passed[-8:]}; {errors}") from None
            self._passed.append(event)
            if event["event"] == kind and all(event.get(key) == value for key, value in values.items()):
                return event

    def sound(self, call_id: str) -> NDArray[np.float32]:
        """float32 [2, T] at 24 kHz: what the caller said, what the caller was played."""
        return np.load(self.folder / f"{call_id}.npy")  # type: ignore[no-any-return]

    def stop(self, has_calls: bool = False) -> dict[str, Any]:
        """End it, and insist that it ended well and, unless calls were up, had all its ports; its counts."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        stopped = self.wait("stopped", 15)
        assert self._process.wait(15) == 0, self.errors.read_text()[-3000:]
        assert stopped["calls"] == 0, stopped
        if not has_calls:
            assert stopped["ports_free"] == self.ports_free, stopped
        return stopped

    def _end(self) -> None:
        assert self._process.stdin is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if line.startswith("{"):  # PJSIP prints a few lines before it can be told not to
                    self._events.put(json.loads(line))


@pytest.fixture
def answerer(tmp_path: Path) -> Iterator[AnswererProcess]:
    """A fresh answerer on loopback."""
    with AnswererProcess(tmp_path) as process:
        yield process


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """A network namespace for a phone that will not use loopback."""
    with Network() as made:
        yield made
