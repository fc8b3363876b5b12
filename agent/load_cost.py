"""What a gateway costs while it is loaded: CPU time by process and thread, and memory, as /proc tells."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from agent.bench_gateway import GatewayProcess

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PYTHON = "python"  # the event loop's thread; PJSIP names its own


def cpu_s(pid: int) -> float:
    """CPU time of one process so far; 0 if it is gone."""
    return _times(Path(f"/proc/{pid}/stat"))


def threads_s(pid: int) -> dict[str, float]:
    """CPU time of its threads so far, by their names; numbers at a name's end are left out."""
    found: dict[str, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            name = (task / "comm").read_text().strip()
            name = PYTHON if task.name == str(pid) else name.rstrip("0123456789-_ ")
            found[name] = found.get(name, 0.0) + _times(task / "stat")
    return found


def resident_bytes(pid: int) -> int:
    """Memory that only this process holds, and its share of what it shares; 0 if it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _times(stat: Path) -> float:
    try:
        fields = stat.read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) * TICK_S


@dataclass(frozen=True, slots=True)
class Meter:
    """One reading of everything that takes part."""

    at_s: float
    gateway_s: float
    workers_s: float
    generator_s: float
    threads_s: dict[str, float]
    gateway_bytes: int

    @classmethod
    def read(cls, gateway: GatewayProcess) -> Meter:
        """Read now."""
        return cls(
            time.monotonic(),
            cpu_s(gateway.pid),
            sum(cpu_s(pid) for pid in gateway.children("agent.worker")),
            time.process_time(),
            threads_s(gateway.pid),
            resident_bytes(gateway.pid),
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """Between two readings, in percent of one core; memory at the later one."""

    gateway: float
    workers: float
    generator: float
    threads: dict[str, float]  # the gateway's, those of 0.5 % and more
    gateway_bytes: int

    @classmethod
    def between(cls, before: Meter, after: Meter) -> Cost:
        """What was spent."""
        share = 100 / (after.at_s - before.at_s)
        spent = {
            name: share * (total - before.threads_s.get(name, 0.0)) for name, total in after.threads_s.items()
        }
        return cls(
            share * (after.gateway_s - before.gateway_s),
            share * (after.workers_s - before.workers_s),
            share * (after.generator_s - before.generator_s),
            {name: round(part, 1) for name, part in sorted(spent.items()) if part >= 0.5},
            after.gateway_bytes,
        )
