"""The page: written at its size, whole with any part missing, and no words cut off."""

import struct
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from agent.energy_gate import Segment
from agent.evaluation.metrics.floor import PauseTrial
from agent.evaluation.metrics.intervals import rate
from agent.evaluation.report_page import PageMaterial, PlanePoint, Timeline, draw_page, page


@pytest.fixture(scope="module")
def material() -> PageMaterial:
    rng = np.random.default_rng(3)
    pauses = [
        PauseTrial(float(length_s), bool(k % 3 == 0), True, bool(k % 7 == 0))
        for k, length_s in enumerate(rng.uniform(0.2, 1.5, 200))
    ]
    return PageMaterial(
        gaps_s=[*rng.gamma(6, 0.06, 180), -0.2, -0.1, 2.9],
        num_misses=2,
        gap_bars_s=(0.4, 0.6),
        stops_s=[*rng.gamma(9, 0.045, 95), None, None, None, None, None],
        stop_bars_s=(0.45, 0.65),
        plane=[PlanePoint("Offhook", 0.96, 0.72, is_ours=True)],
        pauses=pauses,
        orders_by_snr=[("6 dB", rate(40, 100)), ("clean", rate(78, 100)), ("babble", rate(0, 0))],
        digits_by_position=[(98, 100), (91, 100), (0, 0)],
        early_late=[
            ("turn taken", rate(99, 100), rate(97, 100)),
            ("orders right", rate(80, 100), rate(52, 100)),
        ],
        timeline=Timeline(
            [Segment(2.0, 4.0), Segment(6.0, 6.4)], [Segment(0.2, 1.8), Segment(4.3, 8.0)], [(4.15, "300 ms")]
        ),
        notes=["G.711", "commit 1234abc"],
    )


@pytest.fixture(scope="module")
def drawn(material: PageMaterial) -> Figure:
    return page(material, "Offhook: 183 turns")


def words(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text().strip()]


def test_every_panel_says_its_figures(drawn: Figure, material: PageMaterial) -> None:
    found = {text.get_text() for text in words(drawn)}
    p50_ms, p99_ms = 1000 * np.percentile(material.gaps_s, [50, 99])
    assert f"p50  {p50_ms:,.0f} ms   (bar 400)" in found and f"p99  {p99_ms:,.0f} ms" in found
    assert "95 of 100 stopped" in found and "bar p90: 650 ms" in found
    assert {"Offhook", "Grok Think Fast 2.0"} <= found
    assert {"unfinished:\nmust wait", "complete:\nmay answer"} <= found
    assert {"40", "78", "98", "91"} <= found and "orders right 52 (-28)" in found and "300 ms" in found
    assert any("2 turns without" in line for line in found)
    assert "not measured in this run" not in found


def test_no_words_are_cut_off(drawn: Figure) -> None:
    renderer = FigureCanvasAgg(drawn).get_renderer()
    drawn.draw(renderer)
    width, height = drawn.bbox.width, drawn.bbox.height
    for text in words(drawn):
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text.get_text()


def test_labels_in_the_plane_do_not_cover_one_another(drawn: Figure) -> None:
    renderer = FigureCanvasAgg(drawn).get_renderer()
    drawn.draw(renderer)
    plane = next(at for at in drawn.axes if at.get_title(loc="left").startswith("Yields"))
    boxes = [text.get_window_extent(renderer).shrunk(0.95, 0.8) for text in plane.texts[1:]]
    assert len(boxes) == 11
    assert not any(one.overlaps(other) for k, one in enumerate(boxes) for other in boxes[:k])


def test_the_files_are_of_the_promised_size(tmp_path: Path) -> None:
    png, svg = draw_page(PageMaterial(), "Nothing yet", tmp_path / "new")
    assert struct.unpack(">II", png.read_bytes()[16:24]) == (1600, 1850)
    assert svg.read_text().count("<svg") == 1


def test_what_was_not_measured_says_so() -> None:
    found = [text.get_text() for text in words(page(PageMaterial(), "Nothing yet"))]
    assert found.count("not measured in this run") == 8


def test_a_run_in_which_nobody_stopped_or_answered_late_is_drawn() -> None:
    bad = page(PageMaterial(gaps_s=[4.9, 4.95], stops_s=[None] * 3), "Bad")
    found = {text.get_text() for text in words(bad)}
    assert "0 of 3 stopped" in found and "p50  4,925 ms" in found
