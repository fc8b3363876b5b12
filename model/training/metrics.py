"""What a stage measures while it trains: one JSON line every few steps, watched live or drawn afterwards."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import CheckpointError

SUFFIX = ".metrics.jsonl"
RATE_MARKS = ("acc", "share", "right")  # figures that are shares of one
_SMOOTHING = 0.7


@dataclass(frozen=True, slots=True)
class MetricsRow:
    """Figures at a step; seconds are those of the stage's budget."""

    step: int
    spent_s: float
    figures: dict[str, float]


class MetricsLog:
    """A stage's file of figures; lines are only ever added, but for what a lost checkpoint takes back."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, step: int, spent_s: float, figures: dict[str, float]) -> None:
        """Add one line; what is no number is left out."""
        finite = {name: round(value, 6) for name, value in figures.items() if math.isfinite(value)}
        row = {"step": step, "spent_s": round(spent_s, 2), **finite}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def rewind(self, step: int) -> None:
        """Forget what was measured after a step that training goes on from."""
        if not self.path.exists():
            return
        rows = [row for row in read_metrics(self.path) if row.step <= step]
        partial = self.path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        partial.touch()
        log = MetricsLog(partial)
        for row in rows:
            log.write(row.step, row.spent_s, row.figures)
        partial.replace(self.path)


def read_metrics(path: Path) -> list[MetricsRow]:
    """The rows of a file; a last line that is still being written is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        step, spent_s = int(row.pop("step")), float(row.pop("spent_s"))
        rows.append(MetricsRow(step, spent_s, row))
    return rows


def stage_metrics(folder: Path) -> dict[str, list[MetricsRow]]:
    """The rows of every stage of a working folder. Raises CheckpointError if none has measured anything."""
    found = {
        path.name.removesuffix(SUFFIX): rows
        for path in sorted(folder.glob(f"*{SUFFIX}"))
        if (rows := read_metrics(path))
    }
    if not found:
        raise CheckpointError(f"{folder} holds no *{SUFFIX}: train a stage there first, or give --folder")
    return found


def latest(rows: Sequence[MetricsRow]) -> dict[str, tuple[int, float]]:
    """The newest value of every figure, with its step."""
    return {name: (row.step, value) for row in rows for name, value in row.figures.items()}


def table(folder: Path) -> Any:
    """A `rich` table: the newest figures of every stage, and what they were halfway."""
    from rich.table import Table

    out = Table(title=str(folder))
    for column in ("stage", "step", "s", "figure", "halfway", "now"):
        out.add_column(column, justify="left" if column in ("stage", "figure") else "right")
    for stage, rows in stage_metrics(folder).items():
        middle = latest(rows[: (len(rows) + 1) // 2])
        for place, (name, (step, value)) in enumerate(latest(rows).items()):
            before = f"{middle[name][1]:.4g}" if name in middle else ""
            head = (stage, f"{rows[-1].spent_s:.0f}") if place == 0 else ("", "")
            out.add_row(head[0], str(step), head[1], name, before, f"{value:.4g}")
    return out


def watch(folder: Path, every_s: float = 2.0, num_rounds: int | None = None) -> None:
    """Show the table until interrupted (or so many times), anew every few seconds."""
    from rich.live import Live

    with Live(table(folder), refresh_per_second=4) as live:
        shown = 1
        while num_rounds is None or shown < num_rounds:
            time.sleep(every_s)
            live.update(table(folder), refresh=True)
            shown += 1


def plot(folder: Path, picture: Path) -> None:
    """Draw every stage's curves into a PNG: losses on a logarithmic axis, shares below them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stages = stage_metrics(folder)
    figure = Figure(figsize=(6 * len(stages), 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(stages), squeeze=False, sharex="col")
    for column, (stage, rows) in enumerate(stages.items()):
        for name in latest(rows):
            points = [(row.step, row.figures[name]) for row in rows if name in row.figures]
            is_share = any(mark in name for mark in RATE_MARKS)
            values = [value for _, value in points]
            axis = axes[int(is_share)][column]
            axis.plot([step for step, _ in points], values if is_share else _smooth(values), label=name)
        axes[0][column].set_title(stage)
        axes[0][column].set_yscale("log")
        axes[1][column].set_ylim(0, 1)
        axes[1][column].set_xlabel("step")
        for axis in axes[:, column]:
            axis.grid(alpha=0.3)
            if axis.lines:
                axis.legend(fontsize=7)
    figure.savefig(picture, dpi=90)


def _smooth(values: Sequence[float]) -> list[float]:
    out: list[float] = []
    for value in values:
        out.append(value if not out else _SMOOTHING * out[-1] + (1 - _SMOOTHING) * value)
    return out
