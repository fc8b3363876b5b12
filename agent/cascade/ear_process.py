"""An ear in a process of its own: its recogniser keeps the interpreter's lock, which the engine needs.

    python -m agent.cascade.ear_process FD     # started by RemoteEar; FD is its end of a socket pair

The process ends when the other end of the pair closes, however its parent died.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.cascade.ear import Ear, Heard
from agent.errors import AgentError
from agent.settings import CascadeSettings

START_TIMEOUT_S = 30.0
HEAR_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 3.0
PACKAGES = Path(__file__).resolve().parents[2]

Frame = NDArray[np.float32] | None  # None: another call begins


class EarLost(AgentError):
    """The process of an ear has ended, or does not answer."""


class RemoteEar:
    """The near end; `work` is for one lane's thread, and starts the process when it is not there."""

    def __init__(self, settings: CascadeSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Connection | None = None
        self._start()

    @property
    def pid(self) -> int | None:
        """The process's id."""
        return self._process.pid if self._process is not None else None

    def work(self, frame: Frame) -> Iterator[Heard]:
        """What the ear makes of a frame, float32 [1920]. Raises EarLost; the next call then starts afresh."""
        if self._process is None:
            self._start()
            self._wait_ready()
        try:
            heard = self._ask(frame, HEAR_TIMEOUT_S)
        except (EOFError, OSError) as error:
            self.close()
            raise EarLost(f"the recogniser's process ended ({type(error).__name__})") from None
        if heard is not None:
            yield heard

    def wait_ready(self) -> None:
        """Wait until it hears. Raises EarLost if that takes too long or fails."""
        self._wait_ready()

    def close(self) -> None:
        """End the process."""
        link, self._link = self._link, None
        process, self._process = self._process, None
        if link is not None:
            link.close()
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_S)
            process.kill()
            process.wait()

    def _start(self) -> None:
        near, far = socket.socketpair()
        with far:
            command = [sys.executable, "-m", "agent.cascade.ear_process", str(far.fileno())]
            self._process = subprocess.Popen(
                command, pass_fds=(far.fileno(),), stdin=subprocess.DEVNULL, cwd=PACKAGES
            )
        self._link = Connection(near.detach())
        self._link.send(self._settings)

    def _wait_ready(self) -> None:
        try:
            self._ask(None, START_TIMEOUT_S)
        except (EOFError, OSError):
            self.close()
            raise EarLost("the recogniser's process did not start; its reason is in the log") from None

    def _ask(self, frame: Frame, timeout_s: float) -> Heard | None:
        assert self._link is not None
        self._link.send(frame)
        if not self._link.poll(timeout_s):
            raise OSError("no answer")
        answer: Heard | None = self._link.recv()
        return answer


def _serve(link: Connection) -> None:
    ear = Ear(link.recv())
    while True:
        frame: Frame = link.recv()
        if frame is None:
            ear.reset()
        link.send(None if frame is None else ear.hear(frame))


def main() -> int:
    """Hear until the pair closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the gateway's
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with contextlib.suppress(EOFError, ConnectionError), Connection(int(sys.argv[1])) as link:
        _serve(link)
    return 0


if __name__ == "__main__":
    sys.exit(main())
