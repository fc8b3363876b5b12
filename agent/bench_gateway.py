"""A real `offhook serve` for a bench: its own process, ports and folders; what it holds can be counted."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from agent.child_process import stop
from agent.errors import WorkerUnavailable

HOST = "127.0.0.1"
RTP_PORTS = range(20_000, 30_000)


class GatewayProcess:
    """`offhook serve` while open, ready for calls; stopped with SIGTERM when left.

    `settings` are further OFFHOOK_* variables; ours in the environment are not passed on.
    """

    def __init__(
        self, settings: Mapping[str, str] | None = None, start_timeout_s: float = 60.0, sip_port: int = 0
    ) -> None:
        self.sip_port, self.http_port = sip_port or free_port(), free_port()
        self.key = secrets.token_urlsafe(32)  # with every right
        self._start_timeout_s = start_timeout_s
        self._folder = tempfile.TemporaryDirectory(prefix="offhook-bench-")
        self._log = Path(self._folder.name) / "gateway.log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OFFHOOK_")}
        self._environment = {
            **clean,
            "OFFHOOK_SIP__PORT": str(self.sip_port),
            "OFFHOOK_HTTP__PORT": str(self.http_port),
            "OFFHOOK_HTTP__ADMIN_KEY": self.key,
            "OFFHOOK_STATE": str(Path(self._folder.name) / "state"),
            "OFFHOOK_WORKER__COMPILE": "kept",  # compiling meanwhile would be measured, too
            **(settings or {}),
        }

    def __enter__(self) -> Self:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agent", "serve"], env=self._environment, stdout=log, stderr=log
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        stop(self._process, 20)
        self._folder.cleanup()

    def terminate(self) -> None:
        """Have it drain, as whoever stops a service does."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code, None if it still runs after so long."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    @property
    def address(self) -> tuple[str, int]:
        """Where it answers SIP."""
        return HOST, self.sip_port

    @property
    def uri(self) -> str:
        """Whom to call."""
        return f"sip:order@{HOST}:{self.sip_port}"

    @property
    def log_path(self) -> Path:
        """The file that it writes its log to; gone once it was stopped."""
        return self._log

    @property
    def log(self) -> str:
        """The last of what it wrote."""
        return self._log.read_text(errors="replace")[-4000:]

    def events(self, name: str) -> list[dict[str, Any]]:
        """What it logged under this name, where its log format is json."""
        found = []
        for line in self._log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):  # PJSIP's own lines, or one half written
                event = json.loads(line)
                found += [event] if isinstance(event, dict) and event.get("event") == name else []
        return found

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """False once it has exited, which only a fault can bring about."""
        return self._process.poll() is None

    @property
    def resident_bytes(self) -> int:
        """Its resident memory now, without its workers'."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def num_open_files(self) -> int:
        """Its file descriptors now."""
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    @property
    def num_rtp_ports(self) -> int:
        """Its UDP sockets in the RTP range; each call has two while it lasts."""
        own: set[str] = set()
        for link in Path(f"/proc/{self._process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                own.add(str(link.readlink()))
        rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
        ports = [int(row[1].split(":")[1], 16) for row in rows if f"socket:[{row[9]}]" in own]
        return sum(port in RTP_PORTS for port in ports)

    def children(self, word: str) -> list[int]:
        """Process ids of its children whose command line holds `word`."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except (OSError, IndexError):
                continue  # it has just ended
            if parent == self.pid and word in command:
                found.append(int(entry.name))
        return found

    def calls(self) -> list[dict[str, str]]:
        """The live calls, by the control API."""
        return list(json.loads(self.get("/v1/calls"))["calls"])

    def holder(self) -> int:
        """The process of the worker that holds the only call."""
        calls = self.calls()
        found = [pid for call in calls for pid in self.children(call["worker_id"])]
        if len(found) != 1:
            raise WorkerUnavailable(
                f"{len(calls)} calls are held by {len(found)} workers of this gateway, not one by one: let "
                "it start its own workers (unset OFFHOOK_WORKER__ADDRESSES), and call it alone"
            )
        return found[0]

    @property
    def url(self) -> str:
        """Where it answers HTTP."""
        return f"http://{HOST}:{self.http_port}"

    def get(self, path: str) -> str:
        """The body of one HTTP answer, asked with our key. Raises OSError if it is an error."""
        return self._ask(urllib.request.Request(f"{self.url}{path}"))

    def post(self, path: str, body: Mapping[str, object] | None = None) -> str:
        """The same for a POST, with a JSON body or none."""
        data = b"" if body is None else json.dumps(body).encode()
        return self._ask(urllib.request.Request(f"{self.url}{path}", data, method="POST"))

    def _ask(self, request: urllib.request.Request) -> str:
        request.add_header("Authorization", f"Bearer {self.key}")
        with urllib.request.urlopen(request, timeout=10.0) as answer:
            return str(answer.read().decode())

    def metric(self, name: str) -> float:
        """The sum of one metric over its labels; 0 if there is none yet."""
        lines = self.get("/metrics").splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name
        )

    def wait_for_metric(self, name: str, value: float, timeout_s: float = 10.0) -> None:
        """Return when a metric has this value. Raises WorkerUnavailable if that never comes."""
        deadline = time.monotonic() + timeout_s
        while (found := self.metric(name)) != value:
            if time.monotonic() > deadline:
                raise WorkerUnavailable(
                    f"{name} is {found:g}, not {value:g}, after {timeout_s} s:\n{self.log}"
                )
            time.sleep(0.05)

    def wait_until_idle(self, timeout_s: float = 15.0) -> None:
        """Return when no call and no slot is held. Raises WorkerUnavailable if that never comes."""
        deadline = time.monotonic() + timeout_s
        while self.metric("offhook_calls_active") or self.metric("offhook_worker_slots_used"):
            if time.monotonic() > deadline:
                raise WorkerUnavailable(f"calls or slots are still held after {timeout_s} s:\n{self.log}")
            time.sleep(0.1)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        while self.is_running and time.monotonic() < deadline:
            try:
                self.get("/readyz")
                return
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)
        what = "did not become ready" if self.is_running else f"exited with {self._process.returncode}"
        raise WorkerUnavailable(f"`offhook serve` {what}; it wrote:\n{self.log}")


def free_port() -> int:
    """A port that is free on loopback for UDP and TCP, for now."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
            tcp.bind((HOST, 0))
            port: int = tcp.getsockname()[1]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                try:
                    udp.bind((HOST, port))
                except OSError:
                    continue
            return port
