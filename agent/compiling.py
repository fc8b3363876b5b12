"""Has a worker's step compiled in the background, and adopted by the running engine between two ticks.

A worker whose model has a fitting package uses it from its start (`agent.engines`). Any other starts with
plain steps at once, and this makes the package: a child process that takes only CPU time that nobody wants.
Whatever goes wrong here, the plain step goes on.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from agent.engines import host_memory
from agent.local_worker import PACKAGES
from model.package import EXIT_NO_COMPILER

MIN_FREE_BYTES = 2 << 30  # compiling takes 1.5 GB

log = structlog.get_logger(__name__)

Errand = Callable[[], None]


class StepCompiler:
    """One engine's compilation: a thread that waits for a child process."""

    def __init__(
        self, engine: Any, model: Path, cache: Path, between_ticks: Callable[[Errand], None]
    ) -> None:
        """`engine` is a model.engine.Engine; `between_ticks` runs an errand on its thread."""
        self._engine, self._model, self._cache = engine, model, cache
        self._between_ticks = between_ticks
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._is_over = False
        self._log = log.bind(**structlog.contextvars.get_contextvars())
        self._thread = threading.Thread(target=self._run, name="compile", daemon=True)

    def start(self) -> None:
        """Begin, unless something speaks against it, which is logged."""
        reason = why_not(self._engine)
        if reason:
            self._log.info("step_not_compiled", reason=reason)
            return
        self._thread.start()

    def close(self) -> None:
        """End the compilation, if it goes on."""
        with self._lock:
            self._is_over = True
            if self._child is not None and self._child.poll() is None:
                os.killpg(self._child.pid, signal.SIGKILL)
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        """The thread; its logger was bound by hand."""
        try:
            self._compile()
        except Exception as error:
            self._log.warning("step_not_compiled", reason=f"{type(error).__name__}: {str(error)[:200]}")

    def _compile(self) -> None:
        from model.compiled import Unpacked
        from model.package import package_key, package_path

        began_s = time.monotonic()
        status, told = self._run_child()
        if self._is_over:
            return
        if status:
            reason = told.strip().rpartition("\n")[2][:300] or f"status {status}"
            level = self._log.info if status == EXIT_NO_COMPILER else self._log.warning
            level("step_not_compiled", reason=reason)
            return
        key = package_key(self._model, self._engine.num_slots)
        unpacked = Unpacked(package_path(self._cache, key), key)
        seconds = round(time.monotonic() - began_s, 1)

        def adopt() -> None:
            try:
                self._engine.adopt_compiled(unpacked)
                self._log.info("compiled_step_adopted", seconds=seconds, num_slots=self._engine.num_slots)
            except Exception as error:
                self._log.warning("step_not_compiled", reason=f"{type(error).__name__}: {str(error)[:200]}")
            finally:
                unpacked.close()

        self._between_ticks(adopt)

    def _run_child(self) -> tuple[int, str]:
        """Exit status and last words of the compilation."""
        command = [sys.executable, "-m", "model.compiled", "--ends-with-stdin"]
        task = ["--model", self._model, "--slots", self._engine.num_slots, "--cache", self._cache]
        with self._lock:
            if self._is_over:
                return 0, ""
            self._child = subprocess.Popen(
                [*command, *map(str, task)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                cwd=PACKAGES,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
        self._log.info("compile_started", num_slots=self._engine.num_slots, pid=self._child.pid)
        assert self._child.stderr is not None and self._child.stdin is not None
        with self._child.stdin:  # kept open: the child ends with it
            told = self._child.stderr.read()
            self._child.stderr.close()
            return self._child.wait(), told


def why_not(engine: Any) -> str:
    """Why this engine's step is not compiled here; empty if it is."""
    from model.compiled import why_not

    if reason := why_not(engine.program):
        return reason
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        return "there is no C++ compiler on this machine (g++)"
    free_bytes, _ = host_memory()
    if free_bytes < MIN_FREE_BYTES:
        return f"compiling needs {MIN_FREE_BYTES >> 20} MiB of memory, and {free_bytes >> 20} are free"
    return ""
