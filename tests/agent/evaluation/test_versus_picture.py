"""The page is drawn for any number of engines and rooms, also where one gave no answer."""

from pathlib import Path

import matplotlib.image
import numpy as np

from agent.evaluation.summary import summarise
from agent.evaluation.versus import figures_of
from agent.evaluation.versus_picture import draw_versus
from tests.agent.evaluation.test_versus import ROWS


def test_a_page_with_dots_and_bars(tmp_path: Path) -> None:
    calls = [{"turns": ROWS, "is_greeting_right": True}]
    mute = [{"turns": [{**row, "gap_s": None} for row in ROWS], "is_greeting_right": False}]
    figures = [
        figures_of(engine, room, summarise(rows), rows)
        for engine, rows in (("model", calls), ("cascade", mute))
        for room in ("clean", "10 dB")
    ]
    path = draw_versus(figures, "a title", "a note", tmp_path / "page")
    page = matplotlib.image.imread(path)
    assert page.shape[0] > 500 and page.shape[1] > 900
    colours = {
        tuple(np.round(255 * pixel[:3]).astype(int)) for pixel in page[::7, ::7].reshape(-1, page.shape[2])
    }
    assert (31, 95, 139) in colours and (200, 85, 61) in colours  # right orders, wrong ones
