"""One page of plots for a report: when it speaks, when it stops, what it understands, one call as it went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.energy_gate import Segment
from agent.evaluation.metrics.floor import PauseTrial
from agent.evaluation.metrics.intervals import Estimate
from agent.evaluation.picture import FAINT, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
WIDTH_IN, HEIGHT_IN = 16.0, 18.5


@dataclass(frozen=True, slots=True)
class PlanePoint:
    """A system in the plane of yielding to real interruptions and ignoring everything else."""

    name: str
    yield_rate: float
    selectivity: float
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class Timeline:
    """One call's floor: who spoke when, and what to point at (time, words)."""

    caller: Sequence[Segment]
    agent: Sequence[Segment]
    marks: Sequence[tuple[float, str]] = ()
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageMaterial:
    """What is drawn; an empty part leaves a panel that says it was not measured. Times in seconds."""

    gaps_s: Sequence[float] = ()  # signed
    num_misses: int = 0  # turns without an answer in 5 s
    gap_bars_s: tuple[float, float] | None = None  # p50, p95 that must be reached
    stops_s: Sequence[float | None] = ()  # one for each eligible trial; None did not stop within 2 s
    stop_bars_s: tuple[float, float] | None = None  # p50, p90
    plane: Sequence[PlanePoint] = ()
    pauses: Sequence[PauseTrial] = ()
    orders_by_snr: Sequence[tuple[str, Estimate]] = ()  # label of the condition, all slots right
    digits_by_position: Sequence[tuple[int, int]] = ()  # right, said
    early_late: Sequence[tuple[str, Estimate, Estimate]] = ()  # what, turns 1-3, turns 8-10; shares
    timeline: Timeline | None = None
    notes: Sequence[str] = ()  # conditions, written under the title


def draw_page(material: PageMaterial, title: str, folder: Path, name: str = "report") -> list[Path]:
    """Write `report.png` (1,600 px wide) and `report.svg`; their paths."""
    figure = page(material, title)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    for path in paths:
        figure.savefig(path, dpi=DPI, facecolor="white")
    return paths


def page(material: PageMaterial, title: str) -> Figure:
    """The page with all its panels, as a figure that belongs to no window."""
    from matplotlib.figure import Figure

    from agent.evaluation import report_panels as panels  # they need our types
    from agent.evaluation.report_plane import draw_plane

    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN))
    grid = figure.add_gridspec(
        4, 12, left=0.068, right=0.975, top=0.905, bottom=0.045, hspace=0.48, wspace=3.2,
        height_ratios=(1.0, 1.0, 0.95, 0.68),
    )  # fmt: skip
    panels.draw_gaps(figure.add_subplot(grid[0, :7]), material)
    panels.draw_stops(figure.add_subplot(grid[0, 7:]), material)
    draw_plane(figure.add_subplot(grid[1, :6]), material)
    panels.draw_pauses(figure.add_subplot(grid[1, 6:]), material)
    panels.draw_orders(figure.add_subplot(grid[2, :4]), material)
    panels.draw_digits(figure.add_subplot(grid[2, 4:8]), material)
    panels.draw_early_late(figure.add_subplot(grid[2, 8:]), material)
    panels.draw_timeline(figure.add_subplot(grid[3, :]), material)
    figure.text(0.02, 0.977, title, fontsize=20, weight="bold", color=INK, va="center")
    figure.text(0.02, 0.955, "   ·   ".join(material.notes), fontsize=11.5, color=FAINT, va="center")
    return figure
