"""`offhook score` over a recorded call, over folders, and over what is neither."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from agent import __main__ as cli
from agent.errors import AgentError
from agent.evaluation.score_files import score
from tests.agent.evaluation.benchmark_scenes import fdb_item, span, uro_set
from tests.agent.evaluation.scenes import RATE_HZ, channel


def test_a_recorded_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    caller = channel([(2.0, 4.0), (7.0, 8.0), (12.0, 13.0)], 20.0)
    agent = channel([(0.2, 1.5), (4.5, 7.3), (9.0, 11.0)], 20.0)
    path, out = tmp_path / "both.wav", tmp_path / "scores.json"
    soundfile.write(path, np.stack([caller, agent], 1), RATE_HZ)
    assert cli.main(["score", str(path), "--json", str(out)]) == 0
    document = json.loads(out.read_text())["rows"]
    rows = {row["name"]: row["figure"] for row in document if "program" not in row["group"]}
    assert rows["answers' offset, p50"]["value"] == pytest.approx(0.75, abs=0.03)  # of 0.5 and 1.0
    assert rows["units"]["value"] == 18 and rows["overlaps"]["value"] == 3
    assert rows["R_R"] == {"value": 1.0, "low": None, "high": None, "num_eligible": 2, "num_attempted": 2}
    assert rows["R_Y"]["value"] == 1.0 and rows["L_Y"]["value"] == pytest.approx(0.4, abs=0.21)
    assert rows["turn-taking"]["value"] == pytest.approx((1.0 + 0.85) / 2, abs=0.02)
    assert [row["group"] for row in document].count("tau-Voice, as its program has it") == 5
    assert "left out" not in capsys.readouterr().out


def test_folders_tell_which_benchmark_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark = ("pause.json", span(2.0, 2.7))
    fdb_item(tmp_path / "fdb", "synthetic_pause_handling", "0", [(1.0, 2.0), (2.7, 5.0)], [], mark)
    assert cli.main(["score", str(tmp_path / "fdb")]) == 0
    shown = capsys.readouterr().out
    assert "Full-Duplex-Bench" in shown and "judge model decides" in shown
    uro_set(tmp_path / "uro", "repeat_test", [("one", "one", "one")])
    assert score(tmp_path / "uro").rows[0].figure.value == 1.0


def test_what_cannot_be_scored_is_told(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="does not exist"):
        score(tmp_path / "nothing")
    mono = tmp_path / "mono.wav"
    soundfile.write(mono, channel([], 1.0), RATE_HZ)
    with pytest.raises(AgentError, match="1 channels"):
        score(mono)
    mono.write_bytes(b"no sound")
    with pytest.raises(AgentError, match="cannot read"):
        score(mono)
