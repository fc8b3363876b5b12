"""A sitting holds what is missing, goes on until there are trials enough, and gives up in the end."""

import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from agent.evaluation.lines import HeldScene, Keep, VirtualLine
from agent.evaluation.rows import QUOTAS
from agent.evaluation.run_folder import RunFolder
from agent.evaluation.scenes import Family, Scene
from agent.evaluation.script import SpokenStep, Step, speak_step
from agent.evaluation.sitting import Sitting, keep_scene
from model.order_line import Intent, Request
from model.voices import HELD_OUT_VOICES
from tests.agent.evaluation.deaf import DEAF
from tests.agent.evaluation.parties import Manners, Parties


@cache
def step() -> SpokenStep:
    asked = Step(Request(Intent.NUMBER, "five five five one two three four", number="5551234"))
    return speak_step(asked, HELD_OUT_VOICES[0], random.Random(0), rate=1.3, pitch=1.0, level_dbfs=-24)


def scene(family: Family, number: int) -> Scene:
    return Scene(family, number, "ked", (step(),))


class Counting:
    """A line that notes which scenes it was given."""

    def __init__(self, line: VirtualLine) -> None:
        self.line, self.numbers = line, list[int]()

    def hold(self, scenes: Iterator[Scene], keep: Keep) -> None:
        listed = list(scenes)
        self.numbers += [one.number for one in listed]
        self.line.hold(iter(listed), keep)


def sitting(root: Path, trials: int) -> Sitting:
    folder = RunFolder(root, {})
    folder.prepare()
    made = Sitting(folder, scene, trials)
    made._judge = DEAF
    return made


def line(manners: Manners) -> Counting:
    engine = Parties(manners, 2)
    return Counting(VirtualLine(engine, engine, limit_s=8.0))


def test_a_broken_run_goes_on_where_it_was(tmp_path: Path) -> None:
    answering = line(Manners(line="One.", greeting=""))
    assert len(sitting(tmp_path, 2).run(Family.NUMBERS, answering)) == 2
    assert sorted(answering.numbers) == [0, 1]
    assert len(sitting(tmp_path, 3).run(Family.NUMBERS, answering)) == 3
    assert sorted(answering.numbers) == [0, 1, 2]
    assert len(sitting(tmp_path, 3).hold(Family.NUMBERS, 2, answering)) == 2
    assert sorted(answering.numbers) == [0, 1, 2]


def test_a_run_that_finds_no_trials_gives_up_at_twice_the_plan(tmp_path: Path) -> None:
    answering = line(Manners(line="One.", greeting=""))
    echoless = sitting(tmp_path, 2).run(Family.TONE, answering)  # every turn is a trial
    assert len(echoless) == 2
    made = sitting(tmp_path, 1)
    results = made.run(Family.FLOOR, answering)  # these scenes hold none of its sounds
    assert len(results) == QUOTAS[Family.FLOOR].most_scenes(1)


def test_a_scene_with_holes_is_void_and_not_kept(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, {})
    folder.prepare()
    engine, held = Parties(Manners()), list[HeldScene]()
    VirtualLine(engine, engine, limit_s=8.0).hold(iter([scene(Family.NUMBERS, 0)]), held.append)
    (whole,) = held
    at = whole.said[0].frame * 1920
    holes = whole.caller.copy()
    holes[at : at + 20_000] = 0
    keep_scene(folder, HeldScene(whole.scene, whole.said, holes, whole.agent, whole.words))
    assert not folder.is_held(Family.NUMBERS, 0)
    keep_scene(folder, whole)
    assert folder.is_held(Family.NUMBERS, 0) and np.abs(whole.caller).max() > 0.01
