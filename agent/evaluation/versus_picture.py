"""Engines side by side on one page: how long callers wait, what becomes of their orders in noise, and whether
an answer fits the tone in which the caller spoke.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agent.evaluation.answered_tone import NO_LINE
from agent.evaluation.picture import AGENT, CALLER, FAINT, INK, OVERLAP
from agent.evaluation.summary import Share
from agent.evaluation.versus import Figures
from agent.evaluation.versus_tone import CHANCE, ToneFigures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (AGENT, CALLER, "#5b8c5a", "#7d5ba6")
KINDS = (
    ("right", "right", AGENT),
    ("again", "asks again", OVERLAP),
    ("else_", "something else", "#cfcfcf"),
    ("wrong", "wrong order read back", CALLER),
)
PAGE = (11.0, 10.2)

WIDE_BAR = 60  # per cent: a label fits into it, beside a shorter one


def draw_versus(
    figures: Sequence[Figures], tones: Sequence[ToneFigures], title: str, note: str, folder: Path
) -> Path:
    """Write `versus.png`; its path."""
    from matplotlib.figure import Figure

    engines = list(dict.fromkeys(one.engine for one in figures))
    rooms = list(dict.fromkeys(one.room for one in figures))
    page = Figure(figsize=PAGE if tones else (PAGE[0], 7.2))
    page.set_layout_engine("constrained", h_pad=0.12)
    heights = (1.2, 1.05, 0.95) if tones else (1.15, 1.0)
    grid = page.add_gridspec(len(heights), 1, height_ratios=heights)
    parts = [page.add_subfigure(grid[row]) for row in range(len(heights))]
    clean = [one for one in figures if one.room == rooms[0]]
    _draw_gaps(parts[0].subplots(), clean, rooms[0])
    _draw_orders(parts[1].subplots(), figures, engines, rooms)
    if tones:
        beside = parts[2].subplots(1, len(tones) + 1, width_ratios=[*[1.0] * len(tones), 1.15])
        for at, one in zip(beside, tones, strict=False):
            _draw_tones(at, one, is_first=one is tones[0])
        _draw_words(beside[-1], clean, rooms[0])
    page.suptitle(title, x=0.01, ha="left", fontsize=14, color=INK)
    page.supxlabel(note, x=0.01, ha="left", fontsize=8, color=FAINT)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "versus.png"
    page.savefig(path, dpi=130, facecolor="white")
    return path


def _draw_gaps(at: Axes, figures: Sequence[Figures], room: str) -> None:
    """A dot for every answer, a bar at the median; one lane an engine."""
    rng = np.random.default_rng(0)
    end_s = max([1.25, *(gap_s + 0.05 for one in figures for gap_s in one.gaps_s)])
    for lane, one in enumerate(figures):
        colour, y = COLOURS[lane % len(COLOURS)], -lane
        spread_y = y + rng.uniform(-0.2, 0.2, len(one.gaps_s))
        at.scatter(one.gaps_s, spread_y, s=26, color=colour, alpha=0.5, lw=0, zorder=3)
        if one.gaps_s:
            p50, p95 = one.gaps.p50, one.gaps.p95
            at.plot([p50, p50], [y - 0.33, y + 0.33], color=colour, lw=3.5, zorder=4)
            at.text(p50, y + 0.36, f"{1000 * p50:.0f} ms", ha="center", va="bottom", color=colour,
                    fontsize=11, weight="bold")  # fmt: skip
            told = f"95 % within {1000 * p95:.0f} ms\n{one.num_early} of {one.summary.turns} turns cut into"
            at.text(end_s, y, told, ha="left", va="center", color=colour, fontsize=9)
    at.axvline(0.2, color=FAINT, lw=1, ls=(0, (4, 3)))
    at.text(0.21, 0.46 - len(figures), "a person, 200 ms", color=FAINT, fontsize=8, ha="left", va="bottom")
    at.set(
        xlim=(min([-0.2, *(g for one in figures for g in one.gaps_s)]), end_s),
        ylim=(-len(figures) + 0.4, 0.85),
    )
    at.set_yticks([-lane for lane in range(len(figures))], [one.engine for one in figures])
    at.tick_params(axis="y", labelsize=11, length=0)
    at.tick_params(axis="x", colors=FAINT, labelsize=9)
    at.xaxis.set_major_formatter(lambda value, _place: f"{value * 1000:,.0f} ms")
    at.spines[["left", "right", "top"]].set_visible(False)
    at.spines["bottom"].set_color(FAINT)
    at.set_title(f"From the caller's last word to the answer ({room})", loc="left", fontsize=11, color=INK)


def _draw_orders(at: Axes, figures: Sequence[Figures], engines: Sequence[str], rooms: Sequence[str]) -> None:
    """Each engine's orders as a stacked bar, room by room."""
    names: list[str] = []
    places: list[float] = []
    y = 0.0
    for room in rooms:
        for engine in engines:
            one = next((each for each in figures if (each.engine, each.room) == (engine, room)), None)
            if one is None:
                continue
            names.append(f"{room}: {engine}")
            places.append(y)
            _draw_bar(at, one, y)
            y -= 1.0
        y -= 0.7
    at.set(xlim=(0, 100), yticks=places)
    at.set_yticklabels(names)
    at.tick_params(axis="y", labelsize=9, length=0)
    at.tick_params(axis="x", colors=FAINT, labelsize=9)
    at.xaxis.set_major_formatter(lambda value, _place: f"{value:.0f} %")
    at.spines[["left", "right", "top", "bottom"]].set_visible(False)
    at.set_title("What became of orders", loc="left", fontsize=11, color=INK)
    from matplotlib.patches import Patch

    patches = [Patch(color=colour, label=label) for _name, label, colour in KINDS]
    at.legend(
        handles=patches, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, frameon=False, fontsize=9
    )


def _draw_bar(at: Axes, one: Figures, y: float) -> None:
    left = 0.0
    for name, _label, colour in KINDS:
        part = getattr(one.orders, name)
        width = 100 * part.right / part.num if part.num else 0.0
        at.barh(y, width, 0.82, left, color=colour)
        if width >= 4:
            ink = "white" if name in ("right", "wrong") else INK
            at.text(left + width / 2, y, str(part.right), ha="center", va="center", color=ink, fontsize=9)
        left += width


def _draw_tones(at: Axes, one: ToneFigures, *, is_first: bool) -> None:
    """How callers spoke against how they were answered; the diagonal is right."""
    callers = list(one.answers)
    answers = [*callers, NO_LINE]
    counts = np.array([[one.answers[caller].get(answer, 0) for answer in answers] for caller in callers])
    most = max(1, int(counts.sum(1).max()))
    for (row, column), num in np.ndenumerate(counts):
        is_right, part = row == column, num / most
        colour = AGENT if is_right else "#9a9a9a"
        at.barh(-row, 0.94, 0.9, column - 0.47, color=colour, alpha=0.08 + 0.92 * part, lw=0)
        if num:
            at.text(column, -row, str(num), ha="center", va="center", fontsize=9,
                    color="white" if part > 0.55 else INK)  # fmt: skip
    at.set(xlim=(-0.5, len(answers) - 0.5), ylim=(0.55 - len(callers), 0.5))
    at.set_xticks(range(len(answers)), [*callers, "other"])
    at.set_yticks([-row for row in range(len(callers))], callers if is_first else [""] * len(callers))
    at.tick_params(length=0, labelsize=8.5, colors=INK)
    at.spines[["left", "right", "top", "bottom"]].set_visible(False)
    if is_first:
        at.set_ylabel("caller's tone", fontsize=9, color=FAINT)
    at.set_xlabel("tone of the answer", fontsize=9, color=FAINT)
    right = one.in_tone
    title = f"{one.engine}: {right.value:.0%} in tone (chance {CHANCE:.0%})" if right.num else one.engine
    at.set_title(title, loc="left", fontsize=11, color=INK)


def _draw_words(at: Axes, figures: Sequence[Figures], room: str) -> None:
    """The share of judged turns whose answer had the right words, with what it was waited for."""
    for lane, one in enumerate(figures):
        right = Share(
            one.summary.orders.right + one.summary.fixed.right, one.summary.orders.num + one.summary.fixed.num
        )
        percent = 100 * right.value if right.num else 0.0
        at.barh(-lane, percent, 0.62, color=COLOURS[lane % len(COLOURS)])
        wait = f", {1000 * one.gaps.p50:.0f} ms" if one.gaps_s else ""
        told = f"{one.engine}: {right.right}/{right.num}{wait}"
        left, ink = (2.0, "white") if percent > WIDE_BAR else (percent + 2.0, INK)
        at.text(left, -lane, told, ha="left", va="center", fontsize=9.5, color=ink)
    at.set(xlim=(0, 100), yticks=[], ylim=(0.45 - max(len(figures), 3), 0.5))
    at.tick_params(axis="x", colors=FAINT, labelsize=9)
    at.xaxis.set_major_formatter(lambda value, _place: f"{value:.0f} %")
    at.spines[["left", "right", "top"]].set_visible(False)
    at.spines["bottom"].set_color(FAINT)
    at.set_title(f"Right answers, median wait ({room})", loc="left", fontsize=11, color=INK)
