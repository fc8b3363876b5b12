"""Rows of a small benchmark whose answers are known, both columns."""

from pathlib import Path

import pytest

from agent.evaluation.benchmark_folders import read_fdb, read_uro
from agent.evaluation.benchmark_rows import PAPER, SCRIPT, fdb_rows, uro_rows
from agent.evaluation.report import Row
from tests.agent.evaluation.benchmark_scenes import fdb_item, span, uro_set

PAUSED = [(1.0, 2.0), (2.7, 5.0)]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Row]:
    root = tmp_path_factory.mktemp("fdb")
    pause = ("pause.json", span(2.0, 2.7))
    fdb_item(root, "synthetic_pause_handling", "0", PAUSED, [(2.3, 4.0)], pause)  # takes over
    fdb_item(root, "synthetic_pause_handling", "1", PAUSED, [(2.2, 2.5), (5.3, 7.0)], pause)  # waits
    turn = ("turn_taking.json", span(3.0, 3.4))
    fdb_item(root, "candor_turn_taking", "0", [(1.0, 3.0)], [(3.3, 6.0)], turn)
    fdb_item(root, "candor_turn_taking", "1", [(1.0, 3.0)], [(2.5, 6.0)], turn)
    cut = ("interrupt.json", [{"context": "", "interrupt": "", "timestamp": [3.0, 4.0]}])
    fdb_item(root, "synthetic_user_interruption", "0", [(3.0, 4.0)], [(1.0, 3.4), (4.5, 6.0)], cut)
    fdb_item(root, "synthetic_user_interruption", "1", [(3.0, 4.0)], [(1.0, 7.0)], cut)
    overlap = ("metadata.json", {"timestamps": [3.0, 4.0]})
    fdb_item(root, "user_backchannel", "0", [(3.0, 4.0)], [(1.0, 7.0)], overlap)
    fdb_item(root, "user_backchannel", "1", [(3.0, 4.0)], [(1.0, 3.5)], overlap)
    fdb_item(root, "user_backchannel", "2", [(3.0, 4.0)], [], overlap)
    fdb_item(root, "icc_backchannel", "0", PAUSED, [(2.1, 2.5)])
    return {(row.name, row.group): row for row in fdb_rows(read_fdb(root))}


@pytest.mark.parametrize(
    ("name", "paper", "script"),
    [
        ("synthetic_pause_handling: take-over rate", 0.5, 1.0),  # an answer after the turn counts there
        ("candor_turn_taking: take-over rate", 1.0, 1.0),
        ("candor_turn_taking: latency, mean of those taken", -0.1, 0.15),  # the early start became 0
        ("synthetic_user_interruption: take-over rate", 0.5, 1.0),
        ("synthetic_user_interruption: latency, mean of those taken", 0.5, 0.25),
        ("icc_backchannel: take-over rate", 0.0, 0.0),
        ("icc_backchannel: backchannels", 1 / 8, 1 / 8),
        ("user_backchannel: stop latency, mean", 2.25, 0.75),
    ],
)
def test_both_columns(rows: dict[tuple[str, str], Row], name: str, paper: float, script: float) -> None:
    assert rows[name, PAPER].figure.value == pytest.approx(paper, abs=0.03)
    assert rows[name, SCRIPT].figure.value == pytest.approx(script, abs=0.03)


def test_eligible_and_attempted_are_told_apart(rows: dict[tuple[str, str], Row]) -> None:
    behaviour = rows["user_backchannel: behaviour “resume”", PAPER].figure
    assert (behaviour.value, behaviour.num_eligible, behaviour.num_attempted) == (0.5, 2, 3)
    note = rows["candor_turn_taking: take-over rate", SCRIPT].note
    assert note.startswith("2 of 2 without output.json")


def test_uro_rows(tmp_path: Path) -> None:
    uro_set(tmp_path, "repeat_test", [("one two", "one two", "one two"), ("one two", "one", "no idea")])
    uro_set(tmp_path, "gsm8k_test", [("7", "it is seven", "it is eleven")])
    found = {row.name: row for row in uro_rows(read_uro(tmp_path))}
    assert found["repeat_test: repeated"].figure.value == 0.5
    assert "URO score 50.00" in found["repeat_test: repeated"].note
    assert found["gsm8k_test: WER of the spoken answer"].figure.value == pytest.approx(1 / 3)
    assert len(found) == 3
