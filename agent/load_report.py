"""A load's steps as a table: what of a step is told, and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from agent.load import Step


def steps_table(steps: Sequence[Step]) -> Table:
    """One column a step."""
    table = Table("", *(f"{step.num_calls} calls" for step in steps), title="load", title_justify="left")
    columns = [_figures(step) for step in steps]
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    for index in range(1, len(table.columns)):
        table.columns[index].justify = "right"
    return table


def _figures(step: Step) -> dict[str, str]:
    cost, turns = step.cost, step.turns
    return {
        "calls with faults": str(step.num_failed),
        "set-up p50, p99, ms": _told(step.setup_ms, "p50", "p99"),
        "packets late p50, p99, max, ms": _told(step.late_ms, "p50", "p99", "max", digits=1),
        "packets; lost": f"{step.num_packets}; {step.num_lost}",
        "seconds without a packet": str(step.num_silent_seconds),
        "response gap p50, p99, ms": _told(step.gap_ms, "p50", "p99"),
        "turns; not answered; wrong sound": f"{turns['turns']}; {turns['unanswered']}; {turns['wrong']}",
        "silent packets within answers": str(turns["holes"]),
        "late ticks; frames dropped": f"{step.late_ticks}; {step.frames_dropped}",
        "gateway, % of a core; a call": f"{cost.gateway:.0f}; {cost.gateway / step.num_calls:.2f}",
        "workers, %": f"{cost.workers:.0f}",
        "generator, %; a call": f"{cost.generator:.0f}; {cost.generator / step.num_calls:.2f}",
        "generator late p99, ms": f"{step.own_late_ms['p99']:.1f}" + (" (void)" if step.is_void else ""),
        "gateway's memory, MB": f"{cost.gateway_bytes / 1e6:.0f}",
    }


def _told(spread: dict[str, float], *names: str, digits: int = 0) -> str:
    return ", ".join(f"{spread[name]:.{digits}f}" for name in names)
