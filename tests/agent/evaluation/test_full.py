"""A full run from its command line to its report, with the engine that needs no model."""

import argparse
import json
from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.evaluation.command import add_arguments, run
from agent.evaluation.full import RunArguments, counted_misses, is_callable, make_report, mark_of
from agent.evaluation.lines import SipLine
from agent.evaluation.metrics.intervals import rate
from agent.evaluation.quick import MISSES
from agent.evaluation.real_callers import RealCallers
from agent.evaluation.report import Verdict, read_json
from agent.evaluation.run_folder import RunFolder
from agent.evaluation.scenes import Family
from agent.settings import CascadeSettings, Settings, WorkerSettings


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_a_run_leaves_a_report_and_a_page_in_a_folder_of_its_own(tmp_path: Path) -> None:
    words = (
        "--virtual",
        "--engine",
        "standin",
        "--rows",
        "numbers,size",
        "--trials",
        "1",
        "--folder",
        str(tmp_path),
    )
    assert run(arguments(*words), Settings()) == 0  # tones read no number back, but that row has no bar
    report = read_json(tmp_path / "report.json")
    verdicts = {row.name: row.verdict for row in report.rows}
    assert verdicts["seven-digit numbers read back right"] is Verdict.REPORTED
    assert report.conditions["engine"] == "standin" and report.conditions["deadline misses"] == "0"
    assert (tmp_path / "report.png").stat().st_size > 10_000 and (tmp_path / "report.svg").exists()
    with pytest.raises(AgentError, match="holds another run"):
        run(arguments(*words, "--seed", "1"), Settings())


def test_wrong_usage_says_what_to_do() -> None:
    wrong = {
        ("--virtual", "--uri", "sip:a@127.0.0.1"): "leave --uri out",
        ("--trials", "0"): "count from 1",
        ("--fold", "1"): "give --recordings",
        ("--recordings", "clips"): "may have been trained on",
        ("--rows", "floor,real_orders"): "real_orders calls with recordings",
        ("--rows", "floor,nothing"): "no 'nothing'; choose from",
    }
    for words, message in wrong.items():
        with pytest.raises(AgentError, match=message):
            RunArguments.of(arguments(*words))
    asked = RunArguments.of(arguments("--rows", "echo,codec,floor"))
    assert asked.families == (Family.FLOOR, Family.ECHO) and asked.told == ("codec",)
    assert asked.folder == Path("eval-full") and RunArguments.of(arguments("--virtual")).folder == Path(
        "eval-virtual"
    )


def test_real_callers_are_called_where_there_are_some() -> None:
    assert is_callable(Family.FLOOR, None) and not is_callable(Family.REAL_ORDERS, None)
    assert not is_callable(Family.REAL_NUMBERS, RealCallers())


def test_a_run_with_missed_deadlines_is_void() -> None:
    asked, figures = RunArguments.of(arguments("--rows", "floor")), {"yield": rate(100, 100)}
    for misses, verdict in ((0, Verdict.MET), (None, Verdict.MET), (2, Verdict.VOID)):
        report = make_report(asked, WorkerSettings(), figures, misses)
        assert [row.verdict for row in report.rows] == [verdict]
        assert report.is_passed is (verdict is Verdict.MET)
    assert json.loads(json.dumps(report.as_json()))["conditions"]["deadline misses"] == "2"


def test_misses_of_anothers_line_are_not_known(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, {})
    folder.prepare()
    with counted_misses(folder, SipLine("sip:a@127.0.0.1", 1, "PCMU")):
        assert folder.misses is None
    assert folder.misses is None


class Metered:
    """A line of our own, whose worker counts what it misses."""

    def __init__(self, *told: int) -> None:
        self.told = list(told)

    def metric(self, name: str) -> float:
        assert name == MISSES
        return self.told.pop(0)


def test_misses_are_known_of_every_scene_wherever_a_sitting_breaks_off(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, {})
    folder.prepare()
    line = SipLine("sip:a@127.0.0.1", 1, "PCMU", Metered(5, 5, 7))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt), counted_misses(folder, line) as note:
        note()  # a scene is kept
        raise KeyboardInterrupt
    assert folder.misses == 2
    line = SipLine("sip:a@127.0.0.1", 1, "PCMU", Metered(0, 0, 1))  # type: ignore[arg-type]
    with counted_misses(folder, line):
        pass
    assert folder.misses == 3


def test_a_folder_is_of_one_cascade() -> None:
    asked = RunArguments.of(arguments("--virtual"))
    cascade, builtin = (WorkerSettings(engine=name) for name in ("cascade", "builtin"))
    marks = [mark_of(asked, cascade, CascadeSettings(hold_s=hold_s)) for hold_s in (0.5, 0.6, 0.6)]
    assert marks[0] != marks[1] == marks[2]
    assert mark_of(asked, builtin, CascadeSettings(hold_s=0.5)) == mark_of(asked, builtin, CascadeSettings())


def test_the_cascade_is_called_on_the_virtual_clock(tmp_path: Path) -> None:
    """Its threads keep a real clock's time and would answer no caller of a clock that runs faster."""
    words = ("--virtual", "--engine", "cascade", "--rows", "numbers", "--trials", "1")
    run(arguments(*words, "--folder", str(tmp_path)), Settings())
    call = json.loads((tmp_path / "numbers" / "0000.json").read_text())
    assert call["is_greeting_right"] and 0.2 < call["turns"][0]["gap_s"] < 2.5, call
