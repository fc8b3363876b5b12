"""Asterisk, running in its root with our files; what it says and what it has heard."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Self

import numpy as np
import soundfile

from agent.child_process import stop
from tests.asterisk.configuration import Place, files
from tests.asterisk.root import RigError
from tests.loopback.certificates import Authority
from tests.signals import Pcm

START_S = 40.0
STOP_S = 10.0


class Asterisk:
    """The real program while open; then what it has said is in `keep`."""

    def __init__(self, folder: Path, place: Place, keep: Path) -> None:
        self.place = place
        self._folder, self._keep = folder, keep
        self._home = folder / place.home.removeprefix("/")
        self._config = f"{place.home}/etc/asterisk.conf"
        self._process: subprocess.Popen[bytes] | None = None
        self.tls = self._home / "tls"
        self._write()

    def __enter__(self) -> Self:
        command = ["setpriv", "--pdeathsig", "TERM"]  # however we end, it does, too
        command += ["chroot", str(self._folder), "asterisk", "-f", "-C", self._config]
        with (self._home / "output").open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        deadline_s = time.monotonic() + START_S
        while "fully booted" not in self.command("core waitfullybooted"):
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                said = (self._home / "output").read_text(errors="replace").strip().splitlines()[-5:]
                self.__exit__()
                raise RigError("Asterisk does not start; its last words:\n" + "\n".join(said))
            time.sleep(0.2)
        missing = [line.split("loader.c: ")[-1] for line in self.journal() if "declined to load" in line]
        if missing:
            self.__exit__()
            raise RigError("this Asterisk has not all that its trial needs: " + " ".join(missing))
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process is None:
            return
        stop(self._process, STOP_S)
        for path in (self._home / "log/journal", self._home / "output"):
            if path.exists():
                shutil.copy(path, self._keep / f"asterisk.{path.name}")
        shutil.rmtree(self._home)

    def command(self, line: str) -> str:
        """What Asterisk answers to a line of its console."""
        program = ["chroot", str(self._folder), "asterisk", "-C", self._config, "-rx", line]
        return subprocess.run(program, capture_output=True, text=True, timeout=30).stdout.strip()

    @property
    def version(self) -> str:
        """Its own name and version."""
        return self.command("core show version").split(" built ")[0]

    def journal(self) -> list[str]:
        """Every notice, warning and error so far; the dialplan's notes begin with @."""
        path = self._home / "log/journal"
        return path.read_text(errors="replace").splitlines() if path.exists() else []

    def notes(self, kind: str) -> list[str]:
        """What the dialplan has noted under @`kind`."""
        mark = f"@{kind} "
        return [line.partition(mark)[2].strip() for line in self.journal() if mark in line]

    def heard(self, name: str) -> tuple[Pcm, int]:
        """A recording of its own, float32 [T], and its rate in Hz."""
        sound, rate = soundfile.read(self._home / "heard" / f"{name}.wav", dtype="float32")
        return np.asarray(sound, np.float32), int(rate)

    def _write(self) -> None:
        for name in ("etc", "state", "spool/outgoing", "run", "log", "tls", "heard"):
            (self._home / name).mkdir(parents=True)
        for name, text in files(self.place).items():
            (self._home / "etc" / name).write_text(text)
        authority = Authority(self.tls, "authority")
        authority.issue("asterisk")
        authority.issue("offhook")
