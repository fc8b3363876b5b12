"""Both pictures are written, and hold what they should."""

from pathlib import Path

import matplotlib.image
import numpy as np

from agent.evaluation.picture import CallPicture, draw_call, draw_ruler
from agent.transcript import Speaker, TimedWord
from tests.agent.evaluation.scenes import channel, spoken


def call(seconds: float = 14.0) -> CallPicture:
    words = [
        TimedWord(Speaker.CALLER, "latte", 3.0, 3.4),
        TimedWord(Speaker.CALLER, "please", 3.1, 3.5),
        TimedWord(Speaker.AGENT, "right", 12.0, 12.5),
    ]
    agent = channel([(0.5, 2.0), (11.9, 13.0)], seconds)
    return CallPicture(
        channel([(3, 5)], seconds), agent, words, spoken((5.0, 5.31)), spoken((4.5, 5)), "A call"
    )


def test_the_call_is_drawn_with_words_and_gaps(tmp_path: Path) -> None:
    png, svg = draw_call(call(), tmp_path)
    image = matplotlib.image.imread(png)
    assert image.shape[1] > 1500 and np.ptp(image[..., 0]) > 0.5
    text = svg.read_text(encoding="utf-8")
    for drawn in ("latte", "please", "right", "310 ms", "A call", "both speak"):
        assert f"<!-- {drawn} -->" in text
    assert text.count("<!-- 7 s -->") == 2  # the end of the first row, and the start of the second


def test_words_do_not_cover_each_other(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    from agent.evaluation.picture import _write_words

    figure = Figure()
    at = figure.subplots()
    _write_words(at, call().words, spoken((0.0, 11.0))[0])
    first, second = (text.get_position()[0] for text in at.texts[:2])
    assert second > first + 0.2


def test_the_ruler_shows_the_median(tmp_path: Path) -> None:
    svg = draw_ruler([0.25, 0.3, 0.5], tmp_path, "Gaps")[1].read_text(encoding="utf-8")
    assert "<!-- this call: 300 ms -->" in svg and "1,000 ms" in svg
    assert "this call" not in draw_ruler([], tmp_path, "Gaps")[1].read_text(encoding="utf-8")


def test_a_silent_call_can_be_drawn(tmp_path: Path) -> None:
    silence = np.zeros(24_000, np.float32)
    assert len(draw_call(CallPicture(silence, silence, [], [], [], "Nothing"), tmp_path)) == 2
