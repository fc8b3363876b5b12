"""What the page draws is what was measured; what was not is left empty."""

import pytest

from agent.evaluation.figures import figures_of
from agent.evaluation.page_material import material_of
from agent.evaluation.scenes import Family
from tests.agent.evaluation.test_figures import call, pause, turn


def test_a_run_fills_the_page() -> None:
    said = {"expected": ["Five five five, one two three four. Is that right?"],
            "heard": "five five nine one two three four is that right"}  # fmt: skip
    results = {
        Family.DIALOGUE: [call(turn(gap_s=-0.1), turn(gap_s=None, is_miss=True), pauses=[pause(taken=True)])],
        Family.FLOOR: [
            call(
                turn(start_s=1.0, end_s=2.0),
                number=7, voice="ked", agent=[[2.5, 4.0]],
                interruptions=[{"is_eligible": True, "is_yielded": True, "stop_s": 0.3, "response_s": None}],
                sounds=[{"sound": "side_talk", "is_eligible": True, "is_stopped": False, "start_s": 3.0,
                         "end_s": 3.5}],
            )
        ],
        Family.NUMBERS: [call(turn(**said))],
        Family.ORDERS: [call(turn(), condition={"snr_db": "clean"})],
    }  # fmt: skip
    figures = {
        key: one for family, calls in results.items() for key, one in figures_of(family, calls).items()
    }
    material = material_of(results, figures, ["seed: 0"])
    assert material.gaps_s == [-0.1] and material.num_misses == 1 and material.stops_s == [0.3]
    assert material.gap_bars_s == (0.4, 0.6) and material.stop_bars_s == (0.45, 0.65)
    (ours,) = material.plane
    assert (ours.yield_rate, ours.selectivity, ours.is_ours) == (1.0, 1.0, True)
    assert material.digits_by_position == [(1, 1), (1, 1), (0, 1), (1, 1), (1, 1), (1, 1), (1, 1)]
    assert material.orders_by_snr[0][0] == "clean" and material.early_late[0][1].num_eligible == 2
    assert material.timeline is not None and material.timeline.marks == [(3.0, "side talk")]
    assert [one.start_s for one in material.timeline.caller] == [1.0, 3.0]
    assert material.pauses[0].is_taken and material.pauses[0].length_s == pytest.approx(0.7)


def test_nothing_measured_draws_nothing() -> None:
    material = material_of({}, {}, [])
    assert (
        not material.gaps_s and not material.plane and material.timeline is None and not material.early_late
    )
