"""The page is drawn for any number of engines and rooms, also where one gave no answer."""

from pathlib import Path

import matplotlib.image
import numpy as np

from agent.evaluation.summary import summarise
from agent.evaluation.versus import figures_of
from agent.evaluation.versus_picture import draw_versus
from agent.evaluation.versus_tone import TONES, tone_figures
from tests.agent.evaluation.test_versus import ROWS


def test_a_page_with_dots_and_bars(tmp_path: Path) -> None:
    calls = [{"turns": ROWS, "is_greeting_right": True}]
    mute = [{"turns": [{**row, "gap_s": None} for row in ROWS], "is_greeting_right": False}]
    figures = [
        figures_of(engine, room, summarise(rows), rows)
        for engine, rows in (("model", calls), ("cascade", mute))
        for room in ("clean", "10 dB")
    ]
    tones = [
        tone_figures("model", [(tone, tone.value) for tone in TONES]),
        tone_figures("cascade", [(tone, "none") for tone in TONES]),
    ]
    page = matplotlib.image.imread(draw_versus(figures, tones, "a title", "a note", tmp_path / "page"))
    without = matplotlib.image.imread(draw_versus(figures, [], "a title", "a note", tmp_path / "less"))
    assert without.shape[0] < page.shape[0] and without.shape[1] == page.shape[1]
    assert page.shape[0] > 1000 and page.shape[1] > 900
    colours = {
        tuple(np.round(255 * pixel[:3]).astype(int)) for pixel in page[::7, ::7].reshape(-1, page.shape[2])
    }
    assert (31, 95, 139) in colours and (200, 85, 61) in colours  # right orders, wrong ones
