"""coturn as a STUN and TURN server on loopback, which relays to its own relays and to nobody else."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from agent.child_process import stop
from tests.loopback.sipp import find_free_port

HOST, USER, REALM = "127.0.0.1", "peer", "relay.test"


class Coturn:
    """The real program while open."""

    def __init__(self, folder: Path) -> None:
        self.port, self.password = find_free_port(), secrets.token_hex(16)
        self._log = folder / "coturn.log"
        config = {
            "listening-ip": HOST,
            "listening-port": self.port,
            "relay-ip": HOST,
            "min-port": 42_000,
            "max-port": 42_999,
            "realm": REALM,
            "user": f"{USER}:{self.password}",
            # Who is not behind a relay cannot be reached: there is no way around them.
            "allowed-peer-ip": HOST,
            "denied-peer-ip": "0.0.0.0-255.255.255.255",
            "userdb": folder / "turn.db",
            "pidfile": folder / "turn.pid",
            "log-file": "stdout",
        }
        words = [
            "lt-cred-mech",
            "fingerprint",
            "allow-loopback-peers",
            "no-cli",
            "no-tls",
            "no-dtls",
            "verbose",
        ]
        self._config = folder / "turnserver.conf"
        self._config.write_text("".join(f"{name}={value}\n" for name, value in config.items()))
        with self._config.open("a") as config_file:
            config_file.writelines(f"{word}\n" for word in words)

    def __enter__(self) -> Self:
        program = shutil.which("turnserver")
        assert program, "turnserver is missing; `make setup` installs it (Debian: coturn)"
        with self._log.open("w") as log:
            self._process = subprocess.Popen([program, "-c", str(self._config)], stdout=log, stderr=log)
        deadline_s = time.monotonic() + 10
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < deadline_s, self.log
        return self

    def __exit__(self, *exc: object) -> None:
        stop(self._process, 5)

    @property
    def stun(self) -> str:
        """Its STUN URI."""
        return f"stun:{HOST}:{self.port}"

    @property
    def turn(self) -> str:
        """Its TURN URI."""
        return f"turn:{HOST}:{self.port}?transport=udp"

    @property
    def log(self) -> str:
        """What it has said."""
        return self._log.read_text(errors="replace")

    def _answers(self) -> bool:
        """Whether it answers a binding request (RFC 8489)."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.1)
            probe.sendto(bytes.fromhex("000100002112a442") + secrets.token_bytes(12), (HOST, self.port))
            try:
                return probe.recv(1500)[:2] == b"\x01\x01"
            except OSError:  # nobody is there yet
                time.sleep(0.05)
                return False
