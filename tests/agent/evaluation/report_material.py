"""Material for a report's page with something in every panel, and what is written on a figure."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from agent.energy_gate import Segment
from agent.evaluation.metrics.floor import PauseTrial
from agent.evaluation.metrics.intervals import rate
from agent.evaluation.report_page import PageMaterial, PlanePoint, Timeline


def material() -> PageMaterial:
    """A run with something in every panel."""
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
            ("yields", rate(0, 0), rate(9, 10)),
        ],
        timeline=Timeline(
            [Segment(2.0, 4.0), Segment(6.0, 6.4)], [Segment(0.2, 1.8), Segment(4.3, 8.0)], [(4.15, "300 ms")]
        ),
        notes=["G.711", "commit 1234abc"],
    )


def words(figure: Figure) -> list[Text]:
    """All that is written."""
    return [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text().strip()]
