"""A run's folder can be taken up again, is of one run only, and its calls are judged from disk."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from agent.errors import AgentError, AudioFileError
from agent.evaluation.command import add_arguments
from agent.evaluation.outcome import PlacedTurn
from agent.evaluation.placed_call import write_channels
from agent.evaluation.quick import Plan, engine_mark, judge_all, model_digest, run
from agent.evaluation.script import Manner
from agent.evaluation.segments import CallerTurn
from agent.settings import CascadeSettings, Settings, WorkerSettings
from model.engine import BUILTIN
from model.order_line import GREETING, HOURS, Intent, Request
from model.voices import AGENT_VOICE, synthesize


def plan(folder: Path, seed: int = 0) -> Plan:
    return Plan(folder, seed, calls=3, concurrent=2, codec="PCMU")


def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    plan(tmp_path / "run").prepare()
    plan(tmp_path / "run").prepare()
    with pytest.raises(AgentError, match="holds another run"):
        plan(tmp_path / "run", seed=1).prepare()
    (tmp_path / "file").write_text("")
    with pytest.raises(AudioFileError, match="choose another --folder"):
        plan(tmp_path / "file").prepare()


def test_only_missing_calls_are_placed(tmp_path: Path) -> None:
    run_ = plan(tmp_path)
    assert run_.missing() == [0, 1, 2]
    run_.truth(1).write_text("{}")
    assert run_.missing() == [0, 2]


def test_misses_add_up_over_sittings_until_one_is_unknown(tmp_path: Path) -> None:
    run_ = plan(tmp_path)
    run_.prepare()
    assert [run_.add_misses(2), run_.add_misses(1), run_.add_misses(None), run_.add_misses(5)] == [
        2,
        3,
        None,
        None,
    ]


def test_misses_of_a_sitting_that_is_broken_off_stay_unknown(tmp_path: Path) -> None:
    run_ = plan(tmp_path)
    run_.prepare()
    assert run_.end_sitting(run_.begin_sitting(), 2) == 2
    assert run_.end_sitting(run_.begin_sitting(), 1) == 3
    run_.begin_sitting()  # and the process dies here
    assert run_.add_misses(0) is None
    assert run_.end_sitting(run_.begin_sitting(), 0) is None


def test_calls_are_judged_from_disk_once(tmp_path: Path) -> None:
    run_ = plan(tmp_path)
    run_.prepare()
    agent = np.zeros(10 * 24_000, np.float32)
    for at_s, text in ((0.3, GREETING.text), (5.3, HOURS.text)):
        line = synthesize(text, AGENT_VOICE)
        agent[round(at_s * 24_000) :][: len(line.pcm)] = line.pcm
    write_channels(run_.sound(1), np.zeros_like(agent), agent)
    turn = PlacedTurn(Request(Intent.HOURS, "when are you open"), Manner.REPLY, CallerTurn(3.5, 5.0))
    run_.truth(1).write_text(json.dumps({"voice": "ked", "turns": [turn.as_json()]}))
    summary = judge_all(run_)
    assert (summary.calls, summary.greetings.right, summary.fixed.right, summary.gaps.num) == (1, 1, 1, 1)
    kept = json.loads(run_.result(1).read_text())
    kept["is_greeting_right"] = False
    run_.result(1).write_text(json.dumps(kept))
    assert judge_all(run_).greetings.right == 0  # read back, not judged again


def test_what_the_line_measured_is_read_from_its_recordings(tmp_path: Path) -> None:
    run_ = plan(tmp_path)
    assert run_.live_gaps_s() == []
    run_.line_folder.mkdir()
    for number, gaps in enumerate(([0.4, 0.5], [], [0.3])):
        (run_.line_folder / f"{number}.json").write_text(json.dumps({"turns": {"response_gaps_s": gaps}}))
        run_.truth(number).write_text("{}")
    assert run_.live_gaps_s() == [0.4, 0.5, 0.3]
    run_.truth(1).unlink()  # void: its gaps are not among the judged ones
    assert run_.live_gaps_s() == []


def test_a_folder_of_another_models_calls_is_refused(tmp_path: Path) -> None:
    for name in ("config.json", "lm.safetensors"):
        (tmp_path / name).write_text("old")
    old = model_digest(tmp_path)
    (tmp_path / "lm.safetensors").write_text("new")
    assert old and model_digest(tmp_path) not in ("", old) and model_digest(tmp_path / "none") == ""
    Plan(tmp_path / "run", 0, 3, 2, "PCMU", old).prepare()
    with pytest.raises(AgentError, match="holds another run"):
        Plan(tmp_path / "run", 0, 3, 2, "PCMU", model_digest(tmp_path)).prepare()


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_wrong_usage_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        arguments("--quick", "--offline")
    with pytest.raises(AgentError, match="count from 1"):
        run(arguments("--quick", "--calls", "0", "--folder", str(tmp_path)), Settings())
    for words in (("--uri", "sip:a@127.0.0.1"), ("--codec", "G722")):
        with pytest.raises(AgentError, match="--offline calls nobody"):
            run(arguments("--offline", *words), Settings())


def test_another_engine_or_another_cascade_is_another_run() -> None:
    worker, cascade = WorkerSettings(engine="cascade"), CascadeSettings()
    mark = engine_mark(worker, cascade)
    assert mark.startswith("cascade/") and mark == engine_mark(worker, CascadeSettings())
    assert engine_mark(worker, CascadeSettings(hold_s=0.7)) != mark
    assert engine_mark(WorkerSettings(), cascade) == model_digest(BUILTIN)
    assert engine_mark(WorkerSettings(engine="standin"), cascade) == "standin"


def test_callers_without_a_telephone_need_an_engine_with_words(tmp_path: Path) -> None:
    args = arguments("--offline", "--engine", "standin", "--folder", str(tmp_path))
    with pytest.raises(AgentError, match="needs an engine that has words"):
        run(args, Settings())
