"""The page: written at its size, whole with any part missing, and no words cut off."""

import struct
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from agent.evaluation.report_page import PageMaterial, draw_page, page
from tests.agent.evaluation.report_material import material, words


@pytest.fixture(scope="module")
def drawn() -> Figure:
    return page(material(), "Offhook: 183 turns")


def test_no_words_are_cut_off(drawn: Figure) -> None:
    drawn.draw_without_rendering()
    width, height = drawn.bbox.width, drawn.bbox.height
    for text in words(drawn):
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text.get_text()


def test_the_files_are_of_the_promised_size(tmp_path: Path) -> None:
    png, svg = draw_page(PageMaterial(), "Nothing yet", tmp_path / "new")
    assert struct.unpack(">II", png.read_bytes()[16:24]) == (1600, 1850)
    assert svg.read_text().count("<svg") == 1


def test_what_was_not_measured_says_so() -> None:
    found = [text.get_text() for text in words(page(PageMaterial(), "Nothing yet"))]
    assert found.count("not measured in this run") == 8
