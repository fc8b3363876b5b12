"""The two ways to hold a scene are compared trial by trial."""

import pytest

from agent.evaluation.compare import differences, table
from agent.evaluation.scenes import Family
from tests.agent.evaluation.test_figures import call, turn


def test_times_are_paired_by_call_and_turn() -> None:
    def calls(later_s: float, num: int) -> list[dict[str, object]]:
        turns = [turn(gap_s=0.3 + 0.1 * (place % 3) + later_s, barge_in=None) for place in range(num)]
        cut_in = turn(gap_s=9.0, barge_in={"stop_s": 0.4})
        return [call(*turns, cut_in, interruptions=[{"is_eligible": True, "stop_s": 0.4 + later_s}] * num)]

    gap, stop = differences({Family.FLOOR: calls(0.03, 12)}, {Family.FLOOR: calls(0.0, 11)})
    assert (gap.num, stop.num) == (11, 11)  # the twelfth has no other half
    assert gap.apart_s == pytest.approx(0.03) and gap.agrees and stop.agrees
    assert gap.sip_s == pytest.approx(0.43) and gap.virtual_s == pytest.approx(0.4)
    apart, _ = differences({Family.FLOOR: calls(0.1, 12)}, {Family.FLOOR: calls(0.0, 12)})
    few, _ = differences({Family.FLOOR: calls(0.0, 3)}, {Family.FLOOR: calls(0.0, 3)})
    none, _ = differences({}, {})
    assert not apart.agrees and not few.agrees and none.num == 0
    assert table([gap, apart, few]).row_count == 3
