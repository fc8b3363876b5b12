"""Which machine and which source a measured figure belongs to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Machine:
    """What a figure is worth nothing without."""

    cpu: str
    num_cpus: int  # that we may run on
    load: float  # one minute's average when asked: far from 0, the figures are the neighbours' too
    python: str
    torch: str
    commit: str  # "+" behind it: the sources differ from it

    def __str__(self) -> str:
        return (
            f"{self.cpu}, {self.num_cpus} CPUs, load {self.load:.1f}, "
            f"Python {self.python}, torch {self.torch}, commit {self.commit}"
        )


def this_machine() -> Machine:
    """Look now."""
    return Machine(
        cpu=cpu_name(),
        num_cpus=len(os.sched_getaffinity(0)),
        load=os.getloadavg()[0],
        python=platform.python_version(),
        torch=importlib.metadata.version("torch"),
        commit=_commit(_SOURCE),
    )


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor, as Linux names it."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit(folder: Path) -> str:
    try:
        asked = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return asked.stdout.strip()
