"""How many scenes a family needs follows from what a scene holds, and from what turned out eligible."""

import pytest

from agent.evaluation.rows import EARLY_TURNS, LATE_TURNS, QUOTAS
from agent.evaluation.scenes import REAL, Family, make_scene
from tests.agent.evaluation.test_figures import call, pause, turn


def test_the_scarcest_kind_decides() -> None:
    quota = QUOTAS[Family.FLOOR]
    assert (quota.least_scenes(100), quota.most_scenes(100)) == (100, 200)
    assert QUOTAS[Family.ORDERS].least_scenes(100) == 200
    assert QUOTAS[Family.DIALOGUE].least_scenes(100) == 34


def test_a_quota_is_met_by_every_kind_or_not_at_all() -> None:
    quota, dialogue = QUOTAS[Family.DIALOGUE], call(*[turn()] * 12, pauses=[pause(taken=False)] * 3)
    assert quota.is_met([dialogue], 3) and not quota.is_met([dialogue], 4)
    without = call(*[turn()] * 12)
    assert not quota.is_met([without, without], 1)
    unheard = call(*[turn(is_judged=False)] * 12, pauses=[pause(taken=False)] * 3)
    assert not quota.is_met([unheard], 1)
    assert list(EARLY_TURNS) == [1, 2, 3] and list(LATE_TURNS) == [8, 9, 10]


@pytest.mark.parametrize("family", [Family.DIALOGUE, Family.FLOOR, Family.ECHO])
def test_a_scene_holds_at_best_what_its_quota_says(family: Family) -> None:
    assert family not in REAL
    scene = make_scene(family, 0, 0)
    held = {
        "turn": sum(step.step.manner.value == "cut_in" for step in scene.steps),
        "incomplete": sum(len(step.pauses) for step in scene.steps),
        "early": 3, "late": 3, "-20.0": (len(scene.steps) + 1) / 2, "-12.0": (len(scene.steps) + 1) / 2,
    }  # fmt: skip
    for kind, count in QUOTAS[family].per_scene.items():
        assert count == held.get(kind, sum(step.sound == kind for step in scene.steps))
