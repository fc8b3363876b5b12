"""`offhook calibrate` measures, prints its table, and keeps the result."""

import json
from pathlib import Path

import pytest

from agent import engines
from agent.__main__ import main
from agent.calibrate import table
from agent.calibration import Calibration, Trial
from agent.standin import StandIn


def test_it_measures_prints_and_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OFFHOOK_CACHE", str(tmp_path))
    monkeypatch.setenv("OFFHOOK_WORKER__ENGINE", "standin")
    monkeypatch.setattr(engines, "StandIn", lambda num_slots: StandIn(num_slots, row_step_s=0.022))
    assert main(["calibrate", "--steps", "5"]) == 0
    shown = capsys.readouterr().out
    assert "2 calls a worker fit" in shown and "p99" in shown
    (kept,) = tmp_path.glob("calibration-*.json")
    assert json.loads(kept.read_text())["num_slots"] == 2


def test_a_result_that_cannot_be_kept_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OFFHOOK_CACHE", str(tmp_path / "file"))
    monkeypatch.setenv("OFFHOOK_WORKER__ENGINE", "standin")
    monkeypatch.setattr(engines, "StandIn", lambda num_slots: StandIn(num_slots, row_step_s=0.022))
    assert main(["calibrate", "--steps", "5"]) == 1
    assert "not kept: make" in capsys.readouterr().out


def test_a_machine_too_slow_for_one_call_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OFFHOOK_CACHE", str(tmp_path))
    monkeypatch.setenv("OFFHOOK_WORKER__ENGINE", "standin")
    monkeypatch.setattr(engines, "StandIn", lambda num_slots: StandIn(num_slots, row_step_s=0.1))
    assert main(["calibrate", "--steps", "5"]) == 1
    assert "0 calls a worker fit" in capsys.readouterr().out


def test_the_table_is_in_order_of_calls() -> None:
    trials = (Trial(2, 0.01, 0.02, 0.03), Trial(1, 0.01, 0.01, 0.01, "too slow"))
    shown = table(Calibration(2, 0.02, trials), "model")
    assert list(shown.columns[0].cells) == ["1", "2"]
    assert list(shown.columns[4].cells) == ["too slow", "fits"]
