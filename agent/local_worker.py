"""A worker process of our own: started, its log passed on, and gone without a trace. Event loop only.

The process cannot outlive us, however we die: it stops when its stdin closes. It is in a session of its own,
so that Ctrl-C reaches the gateway alone, which then ends its calls before its workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from agent.errors import ConfigError, WorkerUnavailable
from agent.worker_address import WorkerAddress

TERM_TIMEOUT_S = 3.0
NUM_KEPT_LINES = 20
EXIT_CONFIG = 2  # a worker's exit status: its settings or its model cannot work
PACKAGES = Path(__file__).resolve().parent.parent  # where `-m agent.worker` is found, installed or not
_OURS = ("event", "level", "logger", "timestamp", "worker_id")


@dataclass
class LocalWorker:
    """One `python -m agent.worker` at a time; `start` again after `stop` for the next."""

    worker_id: str
    address: WorkerAddress
    arguments: tuple[str, ...]  # of agent.worker, address and id excepted
    _process: asyncio.subprocess.Process | None = None
    _reading: asyncio.Task[None] | None = None
    _lines: deque[str] = field(default_factory=lambda: deque(maxlen=NUM_KEPT_LINES))

    @property
    def pid(self) -> int | None:
        """The running process's id."""
        return self._process.pid if self._process is not None else None

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Start the process; its output is read by a task in `group`."""
        assert self._process is None, self.worker_id
        self._lines.clear()
        command = [sys.executable, "-m", "agent.worker", "--ends-with-stdin"]
        identity = ["--address", str(self.address), "--worker-id", self.worker_id]
        self._process = await asyncio.create_subprocess_exec(
            *command,
            *identity,
            *self.arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            cwd=PACKAGES,
        )
        self._reading = group.create_task(self._pass_on(self._process))

    def check(self) -> None:
        """Raise, with its last word, if the process has ended.

        ConfigError if that says what the operator must mend, else WorkerUnavailable.
        """
        status = self._process.returncode if self._process is not None else None
        if status == EXIT_CONFIG:
            raise ConfigError(f"worker {self.worker_id}: {self.last_word}")
        if status is not None:
            raise WorkerUnavailable(f"worker {self.worker_id} ended with status {status}: {self.last_word}")

    @property
    def last_word(self) -> str:
        """The reason it gave last, or its last line."""
        for line in reversed(self._lines):
            event = _parse(line)
            if event is not None and event.get("reason"):
                return str(event["reason"])
        return self._lines[-1] if self._lines else "it said nothing"

    async def stop(self, *, is_graceful: bool) -> None:
        """End the process, wait for it, and remove its socket; harmless when there is none."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()  # a worker takes this as an order to stop
        if is_graceful:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TERM_TIMEOUT_S):
                    await process.wait()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()
        if self._reading is not None:
            await self._reading  # ends with the process's output
        self.address.remove()

    async def _pass_on(self, process: asyncio.subprocess.Process) -> None:
        """Its log lines become ours; a line longer than 64 KiB is dropped."""
        log = structlog.get_logger("agent.worker").bind(worker_id=self.worker_id)
        assert process.stdout is not None
        while True:
            try:
                line = (await process.stdout.readline()).decode(errors="replace").rstrip()
            except ValueError:
                continue
            if not line:
                if process.stdout.at_eof():
                    return
                continue
            self._lines.append(line)
            event = _parse(line)
            if event is None:
                log.warning("worker_output", line=line)
            else:
                level = logging.getLevelNamesMapping().get(str(event.get("level")).upper(), logging.INFO)
                values = {key: value for key, value in event.items() if key not in _OURS}
                log.log(level, str(event.get("event")), **values)


def _parse(line: str) -> dict[str, object] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
