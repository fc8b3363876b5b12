"""One call as a picture: both waveforms, the words of both sides, overlaps, and each gap with its length.

A long call is broken into rows like a line of music. The latency ruler sets the call's gaps against a
person's 200 ms and the second that a cascade of recogniser, language model and synthesiser takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agent.energy_gate import Pcm, Segment
from agent.evaluation.segments import SAMPLE_RATE_HZ
from agent.transcript import Speaker, TimedWord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_S = 11.0
CALLER, AGENT, OVERLAP, INK, FAINT = "#c8553d", "#1f5f8b", "#f2c14e", "#2b2b2b", "#9a9a9a"
HUMAN_S, CASCADE_S = 0.2, 1.0
_LANES = {Speaker.CALLER: 1.0, Speaker.AGENT: -1.0}
_COLOURS = {Speaker.CALLER: CALLER, Speaker.AGENT: AGENT}
_POINTS_PER_S = 100


@dataclass(frozen=True, slots=True)
class CallPicture:
    """What is drawn; float32 [T] at 24 kHz, times in seconds from the first sample."""

    caller: Pcm
    agent: Pcm
    words: Sequence[TimedWord]
    gaps: Sequence[Segment]  # from a caller's end to the answer's start
    overlaps: Sequence[Segment]
    title: str

    @property
    def seconds(self) -> float:
        """Length of the call."""
        return len(self.caller) / SAMPLE_RATE_HZ


def draw_call(call: CallPicture, folder: Path) -> list[Path]:
    """Write `call.png` and `call.svg`; their paths."""
    from matplotlib.figure import Figure

    num_rows = max(1, math.ceil((call.seconds - 1.0) / ROW_S))  # no row for the last second alone
    row_s = max(1.0, math.ceil(10 * call.seconds / num_rows) / 10)
    figure = Figure(figsize=(13, 0.75 + 2.05 * num_rows), layout="constrained")
    axes = figure.subplots(num_rows, 1, squeeze=False)[:, 0]
    for row, at in enumerate(axes):
        _draw_row(at, call, Segment(row * row_s, (row + 1) * row_s))
    figure.suptitle(call.title, x=0.012, ha="left", fontsize=13, color=INK)
    _legend(figure)
    return _save(figure, folder, "call")


def _draw_row(at: Axes, call: CallPicture, span: Segment) -> None:
    at.set(xlim=(span.start_s, span.end_s), ylim=(-2.35, 2.35), yticks=[])
    at.spines[["left", "right", "top"]].set_visible(False)
    at.spines["bottom"].set_color(FAINT)
    at.set_xticks(np.arange(math.ceil(span.start_s), span.end_s + 0.01))
    at.xaxis.set_major_formatter(lambda value, _place: f"{value:.0f} s")
    at.tick_params(axis="x", colors=FAINT, labelsize=8, length=3)
    for one in call.overlaps:
        at.axvspan(one.start_s, one.end_s, color=OVERLAP, alpha=0.45, lw=0)
    for speaker, pcm in ((Speaker.CALLER, call.caller), (Speaker.AGENT, call.agent)):
        times, low, high = _envelope(pcm, span)
        lane = _LANES[speaker]
        at.fill_between(times, lane + low, lane + high, color=_COLOURS[speaker], lw=0.3)
    _write_words(at, [word for word in call.words if span.start_s <= word.start_s < span.end_s], span)
    for gap in call.gaps:
        if span.start_s <= gap.start_s < span.end_s:
            _mark_gap(at, gap, span)


def _envelope(pcm: Pcm, span: Segment) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, lowest and highest value per 10 ms, scaled to a lane."""
    size = SAMPLE_RATE_HZ // _POINTS_PER_S
    part = pcm[round(span.start_s * SAMPLE_RATE_HZ) : round(span.end_s * SAMPLE_RATE_HZ)]
    rows = part[: len(part) // size * size].reshape(-1, size)
    scale = 0.62 / max(float(np.abs(pcm).max(initial=0.0)), 1e-3)
    times = span.start_s + (np.arange(len(rows)) + 0.5) / _POINTS_PER_S
    return times, rows.min(1) * scale - 0.01, rows.max(1) * scale + 0.01


def _write_words(at: Axes, words: Sequence[TimedWord], span: Segment) -> None:
    """Each word at its time, pushed right where the one before still stands."""
    per_letter_s = 0.0054 * (span.end_s - span.start_s)
    for speaker, lane in _LANES.items():
        free_s = span.start_s
        for word in (word for word in words if word.speaker is speaker):
            start_s = max(word.start_s, free_s)
            at.text(
                start_s, lane + math.copysign(0.92, lane), word.text,
                fontsize=8.5, color=_COLOURS[speaker], ha="left", va="center", clip_on=False,
            )  # fmt: skip
            free_s = start_s + per_letter_s * (len(word.text) + 1)


def _mark_gap(at: Axes, gap: Segment, span: Segment) -> None:
    end_s = min(gap.end_s, span.end_s)
    at.annotate("", (end_s, 0.0), (gap.start_s, 0.0), arrowprops={"arrowstyle": "|-|,widthA=0.25,widthB=0.25",
                "color": INK, "lw": 1.1, "shrinkA": 0, "shrinkB": 0})  # fmt: skip
    label = f"{round((gap.end_s - gap.start_s) * 1000)} ms"
    at.text(end_s + 0.06, 0.0, label, fontsize=9, color=INK, va="center", ha="left", weight="bold")


def _legend(figure: Figure) -> None:
    from matplotlib.patches import Patch

    parts = [
        Patch(color=CALLER, label="caller"),
        Patch(color=AGENT, label="agent"),
        Patch(color=OVERLAP, alpha=0.45, label="both speak"),
    ]
    figure.legend(handles=parts, loc="upper right", ncols=3, frameon=False, fontsize=9)


def draw_ruler(gaps_s: Sequence[float], folder: Path, title: str) -> list[Path]:
    """Write `latency.png` and `latency.svg`: this call's response gaps between a person and a cascade."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.3), layout="constrained")
    at = figure.subplots()
    end_s = max(1.25, *(gap_s + 0.1 for gap_s in gaps_s)) if gaps_s else 1.25
    at.set(xlim=(min(0.0, *gaps_s, 0.0) - 0.03, end_s), ylim=(-1.0, 1.75), yticks=[])
    at.spines[["left", "right", "top"]].set_visible(False)
    at.spines["bottom"].set_color(FAINT)
    at.tick_params(axis="x", colors=FAINT, labelsize=9)
    at.xaxis.set_major_formatter(lambda value, _place: f"{value * 1000:,.0f}")
    at.set_xlabel(
        "ms from the end of the caller's words to the first sound of the answer", color=FAINT, fontsize=9
    )
    for value_s, name in ((HUMAN_S, "a person"), (CASCADE_S, "a cascade")):
        at.axvline(value_s, color=FAINT, lw=1.2, ls=(0, (4, 3)), ymax=0.78)
        at.text(
            value_s,
            1.25,
            f"{name}\n{value_s * 1000:,.0f} ms",
            ha="center",
            va="bottom",
            color=INK,
            fontsize=9,
        )
    if gaps_s:
        median_s = float(np.median(gaps_s))
        at.scatter(gaps_s, [0.0] * len(gaps_s), s=80, color=AGENT, alpha=0.55, lw=0, zorder=3)
        at.plot([median_s, median_s], [-0.4, 0.4], color=AGENT, lw=3, zorder=4)
        at.text(median_s, -0.5, f"this call: {median_s * 1000:.0f} ms", ha="center", va="top", color=AGENT,
                fontsize=11, weight="bold")  # fmt: skip
    figure.suptitle(title, x=0.012, ha="left", fontsize=12, color=INK)
    return _save(figure, folder, "latency")


def _save(figure: Figure, folder: Path, name: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    for path in paths:
        figure.savefig(path, dpi=130, facecolor="white")
    return paths
