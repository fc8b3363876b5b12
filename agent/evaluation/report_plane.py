"""The page's panel that sets a system among published ones: yields to callers, ignores everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from agent.evaluation.picture import AGENT, FAINT, INK, OVERLAP
from agent.evaluation.report_page import PageMaterial, PlanePoint
from agent.evaluation.report_panels import panel, percent_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_Box = tuple[float, float, float, float]  # left, right, middle, height

PLANE_X = (0.3, 1.03)

# tau-Voice submissions, snapshot of August 2026: R_Y against the mean of S_BC, S_VT, S_ND
PUBLISHED_PLANE = (
    PlanePoint("LiveKit cascade", 0.988, 0.578),
    PlanePoint("Grok Think Fast 2.0", 0.970, 0.359),
    PlanePoint("Grok Think Fast 1.0", 0.938, 0.515),
    PlanePoint("Qwen3.5-Omni", 0.902, 0.450),
    PlanePoint("xAI realtime", 0.752, 0.575),
    PlanePoint("Gemini Live 2.5", 0.564, 0.545),
    PlanePoint("Gemini 3.1 Live", 0.499, 0.663),
    PlanePoint("Pine Voice", 0.455, 0.665),
    PlanePoint("GPT-Realtime-2", 0.997, 0.108),
    PlanePoint("GPT-Realtime-1.5", 1.000, 0.056),
)


def draw_plane(at: Axes, material: PageMaterial) -> None:
    """Yield rate against mean selectivity, beside published systems."""
    under = "grey: tau-Voice submissions, Aug 2026, in scenes other than ours; shaded: none of them"
    if not panel(at, "Yields to a caller, ignores the rest", under, bool(material.plane)):
        return
    low_x = max(0.0, min([PLANE_X[0], *(point.yield_rate - 0.2 for point in material.plane)]))
    at.set_xlim(low_x, PLANE_X[1])
    percent_axis(at)
    at.xaxis.set_major_formatter(lambda value, _place: f"{100 * value:.0f} %")
    at.set_xlabel("real interruptions yielded to within 2 s", fontsize=11, color=INK)
    at.set_ylabel("backchannels, coughs, side talk ignored", fontsize=11, color=INK)
    at.fill_between([0.95, PLANE_X[1]], 0.6, 1.04, color=OVERLAP, alpha=0.35, lw=0)
    points = sorted([*material.plane, *PUBLISHED_PLANE], key=lambda point: not point.is_ours)
    boxes = [(p.yield_rate - 0.008, p.yield_rate + 0.008, p.selectivity, 0.02) for p in points]
    for point in points:
        is_ours, colour = point.is_ours, AGENT if point.is_ours else FAINT
        marker, size = ("D", 11) if is_ours else ("o", 6)
        at.plot([point.yield_rate], [point.selectivity], marker, ms=size, color=colour, clip_on=False)
        x, y, side, box = _free(point, boxes, low_x)
        boxes.append(box)
        if abs(y - point.selectivity) > 0.05:
            at.plot([x, point.yield_rate], [y, point.selectivity], color=colour, lw=0.7)
        at.text(x, y, point.name, fontsize=12 if is_ours else 10, color=colour, va="center", ha=side,
                weight="bold" if is_ours else "normal")  # fmt: skip


def _free(
    point: PlanePoint, taken: Sequence[_Box], low_x: float
) -> tuple[float, float, Literal["left", "right"], _Box]:
    """Where a label stands: beside its point, or the nearest place that no other label or point covers."""
    scale = (PLANE_X[1] - low_x) / (PLANE_X[1] - PLANE_X[0])
    width = len(point.name) * (0.0112 if point.is_ours else 0.0082) * scale
    own = (point.yield_rate - 0.008, point.yield_rate + 0.008, point.selectivity, 0.02)
    others = [box for box in taken if box != own]
    for shift in (0.0, 0.04, -0.04, 0.06, -0.06, 0.09, -0.09, 0.12, -0.12):
        for side in (-1, 1):
            x, y = point.yield_rate + side * 0.013, point.selectivity + shift
            low, high = min(x, x + side * width), max(x, x + side * width)
            is_inside = low > low_x and high < PLANE_X[1]
            if is_inside and not any(
                a < high and low < b and abs(mid - y) < 0.024 + h / 2 for a, b, mid, h in others
            ):
                return x, y, "right" if side < 0 else "left", (low, high, y, 0.048)
    x, y = point.yield_rate - 0.013, point.selectivity
    return x, y, "right", (x - width, x, y, 0.048)
