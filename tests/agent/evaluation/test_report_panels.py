"""Panels say their figures, of good runs and of bad ones."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from agent.energy_gate import Segment
from agent.evaluation.metrics.intervals import rate
from agent.evaluation.report_page import PageMaterial, Timeline, page
from tests.agent.evaluation.report_material import material, words


@pytest.fixture(scope="module")
def drawn() -> Figure:
    return page(material(), "Offhook: 183 turns")


def test_every_panel_says_its_figures(drawn: Figure) -> None:
    found = {text.get_text() for text in words(drawn)}
    p50_ms, p99_ms = 1000 * np.percentile(material().gaps_s, [50, 99])
    assert f"p50  {p50_ms:,.0f} ms   (bar 400)" in found and f"p99  {p99_ms:,.0f} ms" in found
    assert "95 of 100 stopped" in found and "bar p90: 650 ms" in found
    assert {"Offhook", "Grok Think Fast 2.0"} <= found
    assert {"unfinished:\nmust wait", "complete:\nmay answer"} <= found
    assert {"40", "78", "98", "91"} <= found and "orders right 52 (-28)" in found and "300 ms" in found
    assert any("2 turns without" in line for line in found)
    assert "not measured in this run" not in found


def test_figures_at_the_floor_keep_their_labels_apart() -> None:
    none = rate(0, 100)
    rows = [
        (what, rate(10, 100), none) for what in ("turn taken", "yields", "orders right", "coughs ignored")
    ]
    bad = page(PageMaterial(early_late=rows), "Bad")
    bad.draw_without_rendering()
    late = next(at for at in bad.axes if at.get_title(loc="left").startswith("Turns"))
    heights = sorted(text.get_position()[1] for text in late.texts if "(-10)" in text.get_text())
    assert heights[0] >= 0 and min(np.diff(heights)) > 0.07


def test_marks_on_the_timeline_stand_apart_or_are_left_out() -> None:
    marks = [(at_s, f"side talk {at_s:.0f}") for at_s in np.arange(2.0, 30.0)]
    busy = page(PageMaterial(timeline=Timeline([Segment(0.0, 30.0)], [Segment(5.0, 12.0)], marks)), "Busy")
    busy.draw_without_rendering()
    shown = [text for text in words(busy) if text.get_text().startswith("side talk")]
    boxes = [text.get_window_extent().shrunk(0.98, 0.9) for text in shown]
    assert 20 <= len(boxes) <= len(marks)
    assert not any(one.overlaps(other) for k, one in enumerate(boxes) for other in boxes[:k])


def test_a_run_in_which_nobody_stopped_or_answered_late_is_drawn() -> None:
    bad = page(PageMaterial(gaps_s=[4.9, 4.95], stops_s=[None] * 3), "Bad")
    found = {text.get_text() for text in words(bad)}
    assert "0 of 3 stopped" in found and "p50  4,925 ms" in found
