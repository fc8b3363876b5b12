"""Scripts follow one another on slots that are not restarted; turns are filed under the slot's age."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.evaluation.drift import HeldScript, hold, run, window, without_goodbye
from agent.evaluation.script import Script, SpokenStep, Step
from agent.evaluation.summary import Json
from agent.settings import WorkerSettings
from model.engine import FRAME_SAMPLES, Engine
from model.order_line import Intent, Request
from model.voices import HELD_OUT_VOICES
from tests.model.conftest import model_folder, tokenizer, tokenizer_folder

__all__ = ["model_folder", "tokenizer", "tokenizer_folder"]  # fixtures


def spoken(intent: Intent, frames: int = 3) -> SpokenStep:
    pcm = np.full(frames * FRAME_SAMPLES, 0.1, np.float32)
    return SpokenStep(Step(Request(intent, "yes")), pcm, 0.0, frames * 0.08, (), 0.5)


def script(number: int, *intents: Intent) -> Script:
    return Script(number, HELD_OUT_VOICES[0], tuple(spoken(intent) for intent in intents))


def turn(end_s: float, **more: object) -> Json:
    told = {"intent": "order", "end_s": end_s, "gap_s": 0.2, "is_miss": False, "early_starts": []}
    return {**told, "is_judged": True, "is_right": True, **more}


def held(start_s: float, *turns: Json, talk: list[list[float]] | None = None) -> Json:
    return {"slot": 0, "start_s": start_s, "seconds": 60.0, "talk": talk or [], "turns": list(turns)}


def test_callers_never_say_goodbye() -> None:
    left = without_goodbye(script(3, Intent.YES, Intent.GOODBYE, Intent.HOURS))
    assert [step.step.request.intent for step in left.steps if step.step.request] == [
        Intent.YES,
        Intent.HOURS,
    ]
    assert left.number == 3


def test_slots_are_not_restarted_between_scripts(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    engine = Engine.load(model_folder, 2)
    monkeypatch.setattr("agent.evaluation.drift.LIMIT_S", 2.0)  # the random model answers nobody
    scripts = (script(number, Intent.YES) for number in range(100))
    done: list[HeldScript] = []
    hold(engine, scripts, 60, done.append)
    assert sorted(one.call.script.number for one in done) == list(range(len(done)))
    for slot in range(2):
        starts = [one.start_s for one in done if one.slot == slot]
        assert starts == pytest.approx([0.0, 2.0, 4.0])
    assert engine._generator.offsets.tolist() == [60, 60]


def test_turns_are_filed_under_the_age_of_their_slot() -> None:
    scripts = [
        held(0.0, turn(50.0), turn(70.0, gap_s=None, is_miss=True)),
        held(120.0, turn(1.0, gap_s=0.4), turn(2.0, gap_s=None, early_starts=[1.0], is_right=False)),
        held(150.0, turn(40.0, intent="silence", gap_s=None)),
    ]
    found = window(scripts, 1.0, 3.0)
    assert found.turns == 3 and str(found.answered) == "2/3 (67%)" and str(found.early) == "1/3 (33%)"
    assert str(found.right) == "2/3 (67%)" and found.gaps.p50 == pytest.approx(0.4)
    assert window(scripts, 0.0, 1.0).turns == 1


def test_what_was_judged_is_kept_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "drift.json"
    assert run(WorkerSettings(), 0.1, 1, 0, path) == 0
    (script,) = json.loads(path.read_text())["scripts"]
    assert script["slot"] == 0 and script["start_s"] == 0 and script["seconds"] == pytest.approx(6, abs=0.2)
    assert script["talk"], "the agent greets"
    assert "minutes 0 to 0.1" in capsys.readouterr().out


def test_talk_is_shared_out_between_windows() -> None:
    scripts = [held(0.0, talk=[[0.0, 15.0]]), held(60.0, talk=[[0.0, 30.0], [50.0, 60.0]])]
    assert window(scripts, 0.0, 1.0).talk_share == pytest.approx(0.25)
    assert window(scripts, 1.0, 1.5).talk_share == pytest.approx(1.0)
    assert window(scripts, 1.0, 2.0).talk_share == pytest.approx(2 / 3)
    assert math.isnan(window(scripts, 5.0, 6.0).talk_share)
