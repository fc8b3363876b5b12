"""Kamailio with the configuration that we ship, in front of gateways on loopback, for a bench or a test."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from agent.bench_gateway import HOST, free_port
from agent.bench_probe import probe_options
from agent.child_process import stop
from agent.errors import AgentError

CONFIG = Path(__file__).resolve().parent.parent / "deploy" / "kamailio" / "kamailio.cfg"
PING_S = 1  # how often it asks gateways by OPTIONS
START_S = 20.0
STOP_S = 10.0


def kamailio_program() -> str:
    """Where Kamailio is. Raises AgentError with the remedy if it is nowhere."""
    program = shutil.which("kamailio") or shutil.which("/usr/sbin/kamailio")
    if program is None:
        raise AgentError("a rolling upgrade needs a dispatcher; install kamailio (Debian: kamailio)")
    return program


def flags(port: int, gateways: Path, folder: Path) -> list[str]:
    """The command line that puts the shipped configuration onto loopback."""
    values = {
        "LISTEN_ADDRESS": HOST,
        "LISTEN_PORT": str(port),
        "TRUNK": f'"{HOST}/32"',
        "GATEWAYS": f'"{gateways}"',
        "PING_S": str(PING_S),
    }
    defined = [word for name, value in values.items() for word in ("-A", f"{name}={value}")]
    return ["-f", str(CONFIG), *defined, "-Y", str(folder), "-P", str(folder / "pid"), "-m", "32", "-M", "4"]


class Dispatcher:
    """The real program while open, once a gateway behind it takes calls."""

    def __init__(self, ports: Sequence[int]) -> None:
        """`ports` are the gateways'. Raises AgentError where there is no Kamailio."""
        self._program, self._ports, self.port = kamailio_program(), ports, free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="offhook-bench-")
        self._log = Path(self._folder.name) / "kamailio.log"

    @property
    def address(self) -> tuple[str, int]:
        """Where it takes calls."""
        return HOST, self.port

    @property
    def log(self) -> str:
        """The last of what it wrote."""
        return self._log.read_text(errors="replace")[-4000:]

    def __enter__(self) -> Self:
        folder = Path(self._folder.name)
        gateways = folder / "dispatcher.list"
        gateways.write_text("".join(f"1 sip:{HOST}:{port};transport=udp\n" for port in self._ports))
        command = [self._program, "-DD", "-E", *flags(self.port, gateways, folder)]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            self.wait_for(200, START_S)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        stop(self._process, STOP_S)
        self._folder.cleanup()

    def wait_for(self, status: int, timeout_s: float) -> None:
        """Return when it answers OPTIONS so: 200 while a gateway takes calls. Raises AgentError."""
        give_up_s = time.monotonic() + timeout_s
        while time.monotonic() < give_up_s:
            if probe_options(self.address, timeout_s=1.0).status == status:
                return
            time.sleep(0.1)
        raise AgentError(f"the dispatcher does not answer OPTIONS by {status}; it wrote:\n{self.log}")
