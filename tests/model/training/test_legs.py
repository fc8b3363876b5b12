"""A leg ends in time and tells what is left."""

import pytest

from model.training.legs import Leg, LegOver, StageState, what_is_left


def test_a_leg_is_over_when_its_minutes_are() -> None:
    now_s = [100.0]
    leg = Leg(2, lambda: now_s[0])
    leg.check()
    now_s[0] = 219.9
    assert not leg.is_over
    now_s[0] = 220.0
    assert leg.is_over
    with pytest.raises(LegOver):
        leg.check()


def test_without_minutes_a_leg_never_ends() -> None:
    assert not Leg(None, lambda: 1e12).is_over


def test_what_is_left_names_what_is_not_done() -> None:
    states = [
        StageState("bank", 61, 61, "shards"),
        StageState("codec", 3.125, 35, "minutes"),
        StageState("recordings", 0, 0, "clips"),
        StageState("lm", 0, 60, "minutes"),
    ]
    assert what_is_left(states) == "left: codec: 3.12 of 35 minutes; lm: 0 of 60 minutes"
    assert [str(state) for state in states[:3:2]] == ["bank: done (61 shards)", "recordings: nothing"]
    assert what_is_left(states[:1]) == "left: nothing"
