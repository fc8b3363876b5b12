"""Published panels of calls whose floor is known."""

import pytest

from agent.evaluation.panels import conversation, interaction
from tests.agent.evaluation.test_figures import call, turn

ANSWERED = call(
    turn(start_s=2.0, end_s=4.0), turn(start_s=10.0, end_s=12.0),
    agent=[[0.0, 1.0], [5.0, 8.0], [13.0, 16.0]], seconds=30.0,
)  # fmt: skip


def test_turns_gaps_and_overlaps_are_counted_by_the_minute() -> None:
    found = conversation([ANSWERED])
    assert found["units_per_minute"].value == pytest.approx(10.0)  # five in half a minute
    assert found["gaps_per_minute"].value == pytest.approx(8.0) and found["overlaps_per_minute"].value == 0.0
    assert found["eva"].value == pytest.approx(1.0)  # a second before each answer


def test_sounds_are_told_apart_from_turns() -> None:
    cough = {"sound": "cough", "start_s": 6.0, "end_s": 6.4}
    music = {"sound": "music", "start_s": 14.0, "end_s": 15.0}
    turns, agent = ANSWERED["turns"], ANSWERED["agent"]
    kept = interaction([call(*turns, agent=agent, seconds=30.0, sounds=[cough, music])])
    assert kept["tau_s_vt"].value == 1.0 and kept["tau_s_vt"].num_eligible == 1
    assert kept["tau_r_r"].value == 1.0 and kept["tau_r_r"].num_eligible == 2
    stopped = call(
        *ANSWERED["turns"], agent=[[0.0, 1.0], [5.0, 6.4], [13.0, 16.0]], seconds=30.0, sounds=[cough]
    )
    assert interaction([stopped])["tau_s_vt"].value == 0.0
    assert kept["tau_s_bc"].num_eligible == 0
