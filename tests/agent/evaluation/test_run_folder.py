"""A run's folder holds one run, keeps what was held, judges it once, and never forgets a missed deadline."""

from pathlib import Path

import numpy as np
import pytest

from agent.errors import AgentError, AudioFileError
from agent.evaluation.metrics.intervals import Estimate
from agent.evaluation.run_folder import RunFolder
from agent.evaluation.scenes import Family
from agent.evaluation.trials import Json
from tests.agent.evaluation.deaf import DEAF

TRUTH: Json = {
    "family": "floor",
    "number": 3,
    "voice": "ked",
    "condition": {},
    "steps": [],
    "words": [],
    "planned_turns": 0,
}
SOUND = np.zeros(24_000, np.float32)


def run_folder(root: Path, seed: int = 0) -> RunFolder:
    folder = RunFolder(root, {"seed": seed})
    folder.prepare()
    return folder


def test_a_folder_is_of_one_run(tmp_path: Path) -> None:
    run_folder(tmp_path / "run")
    run_folder(tmp_path / "run")
    with pytest.raises(AgentError, match="holds another run"):
        run_folder(tmp_path / "run", seed=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(AudioFileError, match="choose another --folder"):
        run_folder(tmp_path / "file")


def test_what_is_held_is_there_and_judged_once(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    assert not folder.is_held(Family.FLOOR, 3) and not list(folder.held(Family.FLOOR))
    folder.keep(TRUTH, SOUND, SOUND)
    assert folder.is_held(Family.FLOOR, 3) and list(folder.held(Family.FLOOR)) == [3]
    judged = folder.result(Family.FLOOR, 3, lambda: DEAF)
    assert judged["seconds"] == 1.0 and judged["turns"] == []

    def never() -> None:
        raise AssertionError("judged again")

    assert folder.result(Family.FLOOR, 3, never) == judged  # type: ignore[arg-type]


def test_misses_once_unknown_stay_so(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    assert folder.misses == 0
    folder.note_misses(2)
    assert run_folder(tmp_path).misses == 2
    folder.note_misses(None)
    assert run_folder(tmp_path).misses is None


def test_figures_are_measured_once_and_may_be_nothing(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    measured = []

    def measure() -> dict[str, Estimate]:
        measured.append(1)
        return {"own_lines": Estimate(0.5, 0.4, 0.6, 10, 12)}

    first, second = folder.figures("lines", 10, measure), folder.figures("lines", 5, measure)
    assert first == second == {"own_lines": Estimate(0.5, 0.4, 0.6, 10, 12)} and len(measured) == 1
    folder.figures("lines", 100, measure)  # a first try with few trials does not stand for a real run
    assert len(measured) == 2


def test_what_breaks_off_while_it_is_written_leaves_no_half_a_file(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    folder.note_misses(1)
    with pytest.raises(TypeError):
        folder.figures("lines", 1, lambda: {"own_lines": object()})  # type: ignore[dict-item]
    folder.keep(TRUTH, SOUND, SOUND)
    with pytest.raises(TypeError, match="not JSON serializable"):
        run_folder(tmp_path).note_misses(object())  # type: ignore[arg-type]
    assert run_folder(tmp_path).misses == 1
