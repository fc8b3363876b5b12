"""The panels of a report's page; every one is labelled where the thing is, and its colours never stand alone.

Orange and blue stay apart for colour-blind readers. A panel without material says that it was not measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.evaluation.metrics.intervals import Estimate, rate, wilson
from agent.evaluation.picture import AGENT, CALLER, FAINT, INK, OVERLAP
from agent.evaluation.report_page import PageMaterial
from agent.evaluation.segments import overlaps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PALE = "#e6ebf0"
GAP_BIN_S = 0.05
YIELD_S = 2.0
LETTER = 0.0071  # width of a letter on the timeline, as a share of the call
PAUSE_EDGES_S = (0.2, 0.4, 0.6, 0.8, 1.0, 1.5)


def panel(at: Axes, title: str, under: str, has_material: bool, **limits: Any) -> bool:
    """Dress a panel; False leaves it saying that nothing was measured."""
    at.set_title(title, loc="left", fontsize=14, weight="bold", color=INK, pad=26)
    at.text(0, 1.02, under, transform=at.transAxes, fontsize=11, color=FAINT, va="bottom")
    at.spines[["right", "top"]].set_visible(False)
    at.spines[["left", "bottom"]].set_color(FAINT)
    at.tick_params(colors=INK, labelsize=11, length=3)
    if not has_material:
        at.set(xticks=[], yticks=[])
        empty: dict[str, Any] = {"ha": "center", "color": FAINT, "fontsize": 12}
        at.text(0.5, 0.5, "not measured in this run", transform=at.transAxes, **empty)
        return False
    at.set(**limits)
    return True


def percent_axis(at: Axes) -> None:
    """Shares from 0 to 100 % upwards, with faint lines."""
    at.set_ylim(0, 1.06)
    at.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    at.yaxis.set_major_formatter(lambda value, _place: f"{100 * value:.0f} %")
    at.grid(axis="y", color=PALE, lw=0.8)
    at.set_axisbelow(True)


def draw_gaps(at: Axes, material: PageMaterial) -> None:
    """Histogram of the signed gaps with its percentiles."""
    from matplotlib.ticker import MaxNLocator

    gaps = np.asarray(material.gaps_s, np.float64)
    under = f"{len(gaps)} answers, {material.num_misses} turns without; below zero: before the caller's end"
    if not panel(at, "How soon it answers", under, bool(len(gaps))):
        return
    low = min(-0.3, math.floor(float(gaps.min()) / 0.1) * 0.1)
    high = max(1.2, min(3.0, math.ceil(1.6 * float(np.percentile(gaps, 95)) / 0.2) * 0.2))
    edges = np.arange(low, high + GAP_BIN_S / 2, GAP_BIN_S)
    counts, _edges = np.histogram(np.clip(gaps, None, edges[-1] - 1e-9), edges)
    colours = [CALLER if edge < -1e-9 else AGENT for edge in edges[:-1]]
    at.bar(edges[:-1], counts, GAP_BIN_S, align="edge", color=colours, edgecolor="white", lw=0.6)
    top = float(counts.max())
    at.set(xlim=(low, high), ylim=(0, 1.5 * top))
    at.yaxis.set_major_locator(MaxNLocator(integer=True))
    at.xaxis.set_major_formatter(lambda value, _place: f"{1000 * value:,.0f}")
    at.set_xlabel("ms from the caller's last sound to the agent's first", fontsize=11, color=INK)
    at.axvspan(0.0, 0.2, color=PALE, lw=0, zorder=0)
    at.text(0.1, 1.48 * top, "people", fontsize=11, color=FAINT, ha="center", va="top")
    _percentiles(at, gaps, top, high, material.gap_bars_s)


def _percentiles(
    at: Axes, gaps: np.ndarray, top: float, high_s: float, bars_s: tuple[float, float] | None
) -> None:
    bars = dict(zip((50, 95), bars_s or (), strict=False))
    for percent, height in zip((50, 90, 95, 99), (1.12, 1.23, 1.34, 1.45), strict=True):
        value_s = float(np.percentile(gaps, percent))
        place_s = min(value_s, high_s)
        at.plot([place_s, place_s], [0, height * top], color=INK, lw=1.0, alpha=0.5, zorder=1)
        label = f"p{percent}  {1000 * value_s:,.0f} ms"
        label += f"   (bar {1000 * bars[percent]:,.0f})" if percent in bars else ""
        is_right = place_s > 0.75 * high_s
        at.text(
            place_s + (-0.01 if is_right else 0.01), height * top, label,
            fontsize=12, color=INK, va="top", ha="right" if is_right else "left",
            weight="bold" if percent in bars else "normal", zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip


def draw_stops(at: Axes, material: PageMaterial) -> None:
    """Cumulative share of the interruptions that the agent has yielded to."""
    stops = sorted(stop for stop in material.stops_s if stop is not None)
    num = len(material.stops_s)
    under = f"{num} interruptions of a speaking agent; share that has stopped by then"
    if not panel(at, "How soon it stops when interrupted", under, num > 0, xlim=(0, YIELD_S)):
        return
    percent_axis(at)
    steps = np.concatenate([[0.0], stops, [YIELD_S]])
    shares = np.concatenate([[0.0], np.arange(1, len(stops) + 1) / num, [len(stops) / num]])
    at.step(steps, shares, where="post", color=AGENT, lw=2.6)
    at.set_xlabel("ms from the caller's onset to the agent's last sound", fontsize=11, color=INK)
    at.xaxis.set_major_formatter(lambda value, _place: f"{1000 * value:,.0f}")
    for rank, bar_s in zip((0.5, 0.9), material.stop_bars_s or (), strict=False):
        label = f"bar p{100 * rank:.0f}: {1000 * bar_s:,.0f} ms"
        at.plot([bar_s], [rank], marker="<", ms=9, color=INK, clip_on=False)
        at.text(bar_s + 0.05, rank, label, fontsize=10.5, color=INK, va="center")
    style: dict[str, Any] = {"fontsize": 11.5, "color": AGENT, "ha": "right", "weight": "bold"}
    for rank in (0.5, 0.9):
        if len(stops) >= rank * num:
            value_s = stops[max(0, math.ceil(rank * num) - 1)]
            at.plot([value_s], [rank], "o", ms=7, color=AGENT)
            at.text(value_s - 0.03, rank + 0.015, f"{1000 * value_s:,.0f} ms", va="bottom", **style)
    stopped = f"{len(stops)} of {num} stopped"
    reached = len(stops) / num
    shift, side = (-0.035, "top") if reached > 0.5 else (0.02, "bottom")
    at.text(YIELD_S - 0.02, reached + shift, stopped, va=side, **style)


def draw_pauses(at: Axes, material: PageMaterial) -> None:
    """Share of pauses taken, by length, at unfinished and at complete points."""
    trials = [trial for trial in material.pauses if trial.is_eligible]
    under = "share of the caller's pauses in which it took the floor; below: how many"
    if not panel(at, "Takes over in a pause, by its length", under, bool(trials)):
        return
    percent_axis(at)
    spans = list(pairwise(PAUSE_EDGES_S))
    for is_complete, colour, shape, shift, name in (
        (False, CALLER, "o", -0.13, "unfinished:\nmust wait"),
        (True, FAINT, "s", 0.13, "complete:\nmay answer"),
    ):
        last = None
        for place, (low_s, high_s) in enumerate(spans):
            kind = [t for t in trials if t.is_complete is is_complete and low_s <= t.length_s < high_s]
            if not kind:
                continue
            num_taken, x = sum(t.is_taken for t in kind), place + shift
            low, high = wilson(num_taken, len(kind))
            at.plot([x, x], [low, high], color=colour, lw=2, alpha=0.6)
            at.plot([x], [num_taken / len(kind)], shape, ms=9, color=colour)
            at.text(x, -0.02, f"{len(kind)}", fontsize=10, color=colour, ha="center", va="top")
            last = max(x, len(spans) - 0.62), num_taken / len(kind)
        if last:
            at.text(*last, name, fontsize=11.5, color=colour, va="center", weight="bold")
    at.set(xlim=(-0.5, len(spans) + 0.3))
    at.set_xticks(range(len(spans)), [f"{low_s:.1f} to {high_s:.1f} s" for low_s, high_s in spans])
    at.tick_params(axis="x", pad=18, length=0)


def draw_orders(at: Axes, material: PageMaterial) -> None:
    """Orders right by noise."""
    rows = material.orders_by_snr
    if not panel(at, "Orders with all slots right", "by speech-to-noise ratio, with 95 % bars", bool(rows)):
        return
    percent_axis(at)
    _points(at, [label for label, _figure in rows], [figure for _label, figure in rows])


def _points(at: Axes, labels: Sequence[str], figures: Sequence[Estimate]) -> None:
    for place, figure in enumerate(figures):
        if math.isnan(figure.value):
            continue
        at.plot([place, place], [figure.low, figure.high], color=AGENT, lw=2, alpha=0.6)
        at.plot([place], [figure.value], "o", ms=9, color=AGENT)
        label = f"{100 * figure.value:.0f}"
        at.text(
            place,
            figure.high + 0.015,
            label,
            fontsize=12,
            color=AGENT,
            ha="center",
            va="bottom",
            weight="bold",
        )
    at.plot(range(len(figures)), [figure.value for figure in figures], color=AGENT, lw=1, alpha=0.5)
    at.set(xlim=(-0.4, len(figures) - 0.4))
    at.set_xticks(range(len(labels)), labels)


def draw_digits(at: Axes, material: PageMaterial) -> None:
    """Digits right by their place."""
    rows = material.digits_by_position
    under = "share heard right at each place of the number"
    if not panel(at, "Digits, by position", under, bool(rows)):
        return
    percent_axis(at)
    places = range(1, len(rows) + 1)
    _points(at, [str(place) for place in places], [rate(right, said) for right, said in rows])


def draw_early_late(at: Axes, material: PageMaterial) -> None:
    """First turns against late ones; what clearly changed stands out."""
    rows = material.early_late
    under = "each figure's first value and what it became"
    if not panel(at, "Turns 1 to 3 against 8 to 10", under, bool(rows), xlim=(-0.25, 2.2)):
        return
    percent_axis(at)
    at.set_xticks([0, 1], ["turns 1 to 3", "turns 8 to 10"])
    known = [row for row in rows if row[1].num_eligible and row[2].num_eligible]
    ordered = sorted(known, key=lambda row: -row[2].value)
    heights = _apart([late.value for _what, _early, late in ordered])
    for (what, early, late), y in zip(ordered, heights, strict=True):
        is_changed = late.high < early.low or late.low > early.high
        colour = CALLER if is_changed else AGENT
        at.plot([0, 1], [early.value, late.value], "o-", ms=8, color=colour, lw=2)
        label = f"{what} {100 * late.value:.0f} ({100 * (late.value - early.value):+.0f})"
        at.text(1.06, y, label, fontsize=10.5, color=colour, va="center")


def _apart(heights: Sequence[float], step: float = 0.075) -> list[float]:
    """Falling heights moved apart, down first and then, where the floor stops them, up."""
    placed: list[float] = []
    for height in heights:
        placed.append(min(height, placed[-1] - step) if placed else height)
    for index, height in reversed(list(enumerate(placed))):
        floor = placed[index + 1] + step if index + 1 < len(placed) else 0.0
        placed[index] = max(height, floor)
    return placed


def draw_timeline(at: Axes, material: PageMaterial) -> None:
    """Who spoke when in one call."""
    line = material.timeline
    title = (line.title if line else "") or "One call, as it went"
    if not panel(at, title, "who spoke when, in seconds; yellow: both", line is not None) or line is None:
        return
    at.spines["left"].set_visible(False)
    end_s = max([one.end_s for one in (*line.caller, *line.agent)], default=1.0)
    at.set(xlim=(-0.065 * end_s, 1.01 * end_s), ylim=(-0.75, 3.2), yticks=[])
    at.spines["bottom"].set_bounds(0, end_s)
    at.set_xticks(np.arange(0, end_s + 0.1, 2 if end_s <= 40 else 10))
    for spans, lane, colour, name in (
        (line.caller, 1.0, CALLER, "caller"),
        (line.agent, 0.0, AGENT, "agent"),
    ):
        at.text(
            -0.01 * end_s, lane, name, fontsize=12.5, color=colour, ha="right", va="center", weight="bold"
        )
        at.broken_barh(
            [(one.start_s, one.duration_s) for one in spans], (lane - 0.38, 0.76), color=colour, lw=0
        )
    both = [(one.start_s, one.duration_s) for one in overlaps(line.caller, line.agent)]
    at.broken_barh(both, (-0.38, 1.76), color=OVERLAP, alpha=0.6, lw=0, zorder=3)
    for at_s, words, height in _mark_heights(line.marks, end_s):
        at.plot([at_s, at_s], [-0.4, height - 0.14], color=INK, lw=0.9, ls=(0, (2, 2)))
        at.text(at_s, height, words, fontsize=10.5, color=INK, ha="center", va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip


def _mark_heights(marks: Sequence[tuple[float, str]], end_s: float) -> list[tuple[float, str, float]]:
    """Each mark at the lowest of four heights that is free there; words that fit nowhere are left out."""
    placed: list[tuple[float, str, float]] = []
    until_s = [-math.inf] * 4
    for at_s, words in sorted(marks):
        reach_s = 0.5 * LETTER * len(words) * end_s
        level = next((k for k, end in enumerate(until_s) if at_s - reach_s > end), None)
        if level is None:
            placed.append((at_s, "", 1.55))
            continue
        until_s[level] = at_s + reach_s
        placed.append((at_s, words, 1.7 + 0.42 * level))
    return placed
