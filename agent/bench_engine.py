"""`offhook bench engine`: time of a model step at full size, against what its memory traffic must take.

The measuring is `model.bench`, in this process and without a worker; here are its table, its picture, and the
machine's and the source's name beside the figures.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from agent.errors import ConfigError
from agent.evaluation.picture import AGENT, CALLER, FAINT, INK, OVERLAP
from agent.machine import this_machine
from agent.settings import Settings
from model import bench_figures
from model.bench_figures import (
    TICK_S,
    BenchFigures,
    BenchRow,
    cells,
    columns,
    conclusions,
    head,
)
from model.errors import ConfigError as ModelConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BUILTIN = "builtin"
PLAIN_WIDTH = 150  # in a file nothing needs to fit a window
LEGEND_GAP = 1.06


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bench's arguments: the measuring's own, and what to do with the figures."""
    bench_figures.add_arguments(parser)
    parser.add_argument("--plot", type=Path, metavar="F.png", help="draw the figures")
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="F.json",
        help="show figures that were measured before, or elsewhere by `python -m model.bench`",
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the figures, write and draw them if asked to; there is no bar, so the exit code is 0."""
    del settings  # what is measured is a preset, not the operator's model
    out = Console()
    if not out.is_terminal:
        out = Console(width=PLAIN_WIDTH)
    if args.source is not None:
        figures, about = read(args.source)
    else:
        for flag, path in (("--json", args.json), ("--plot", args.plot)):
            if path is not None:
                _make_room(flag, path)  # before minutes are measured for nothing
        figures, about = _measure(args)
    out.print("\n".join(head(figures)), highlight=False)
    out.print(_table(figures))
    out.print("\n".join(conclusions(figures, with_cores=figures.title.startswith(BUILTIN))), highlight=False)
    if about:
        out.print(about, highlight=False)
    if args.plot is not None:
        draw(figures, args.plot)
        out.print(f"drawn in {args.plot}", highlight=False)
    return 0


def read(path: Path) -> tuple[BenchFigures, str]:
    """Figures from a file and what is noted beside them. Raises ConfigError if it is none of ours."""
    try:
        tree = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"--from {path}: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"--from {path}: these are not the engine bench's figures")
    return BenchFigures.from_json(tree), str(tree.get("note", ""))


def _make_room(flag: str, path: Path) -> None:
    """Make a file's folder. Raises ConfigError if the file could not be written there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        raise ConfigError(f"{flag} {path} cannot be written ({error.strerror}); name another file") from None


def _measure(args: argparse.Namespace) -> tuple[BenchFigures, str]:
    """Raises ConfigError for arguments that cannot be run here."""
    from model.bench import Bench  # loads torch: not for `--help`

    note, path = str(this_machine()), args.json
    try:
        options = bench_figures.options_of(args)
        bench = Bench(options)
    except ModelConfigError as error:
        raise ConfigError(str(error)) from None
    figures = bench.figures()
    with Progress(transient=True) as progress:
        bar = progress.add_task(figures.title, total=len(options.batches) * len(options.contexts))

        def keep(row: BenchRow) -> None:
            figures.rows.append(row)
            progress.advance(bar)
            if path is not None:
                told: dict[str, Any] = {**figures.as_json(), "note": note, "options": asdict(options)}
                path.write_text(json.dumps(told, indent=1, default=str) + "\n")

        bench.run(keep)
    return figures, note


def _table(figures: BenchFigures) -> Table:
    table = Table(title="times in ms a step", title_justify="left", box=SIMPLE)
    for column in columns(figures):
        table.add_column(column, justify="right")
    for row in figures.rows:
        table.add_row(*cells(row))
    return table


def draw(figures: BenchFigures, path: Path) -> None:
    """Step time against calls, a panel for each age; with the floor and the tick's 80 ms."""
    from matplotlib.figure import Figure

    contexts = figures.contexts
    figure = Figure(figsize=(max(8.0, 1.0 + 4.4 * len(contexts)), 4.6), layout="constrained")
    panels = figure.subplots(1, len(contexts), squeeze=False, sharey=True)[0]
    for at, context in zip(panels, contexts, strict=True):
        _draw_panel(at, figures.at(context))
        at.tick_params(axis="y", length=0)
        name = "fresh calls" if context == 0 else f"calls {context:,} steps old ({context * TICK_S:.0f} s)"
        at.set_title(name, loc="left", fontsize=10, color=INK)
    panels[0].set_ylabel("ms a step", color=FAINT, fontsize=9)
    figure.suptitle(f"{figures.title}\n{figures.device}", x=0.012, ha="left", fontsize=12, color=INK)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=5, frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, facecolor="white")


def _draw_panel(at: Axes, rows: list[BenchRow]) -> None:
    calls = [row.batch for row in rows]
    at.spines[["left", "right", "top"]].set_visible(False)
    at.spines["bottom"].set_color(FAINT)
    at.grid(axis="y", color=FAINT, alpha=0.25, lw=0.6)
    at.tick_params(colors=FAINT, labelsize=9, length=3)
    at.set_xlabel("calls at once", color=FAINT, fontsize=9)
    tick_ms = 1e3 * TICK_S
    at.axhline(tick_ms, color=OVERLAP, lw=2.2, label=f"the tick, {tick_ms:.0f} ms")
    at.fill_between(calls, [1e3 * row.wall.p50_s for row in rows], [1e3 * row.wall.p99_s for row in rows],
                    color=AGENT, alpha=0.15, lw=0)  # fmt: skip
    at.plot(calls, [1e3 * row.wall.p99_s for row in rows], color=AGENT, lw=1.2, ls=(0, (4, 2)), label="p99")
    at.plot(calls, [1e3 * row.wall.p50_s for row in rows], color=AGENT, lw=2.4, marker="o", ms=5, label="p50")
    if all(row.reference for row in rows):
        theirs = [1e3 * row.reference.p50_s for row in rows if row.reference]
        at.plot(calls, theirs, color=CALLER, lw=1.8, marker="s", ms=4, label="the reference, p50")
    at.plot(calls, [1e3 * row.floor_s for row in rows], color=INK, lw=1.4, ls=(0, (1, 1.5)),
            label="floor: bytes read at copy speed")  # fmt: skip
    at.set_ylim(0, LEGEND_GAP * max(tick_ms, *at.get_ylim()))
    at.set_xticks(calls)
    at.set_xlim(min(calls) - 0.04 * np.ptp(calls) - 0.05, max(calls) * 1.04)
