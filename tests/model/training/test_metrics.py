"""A stage's figures: written as they come, taken back with a lost checkpoint, shown and drawn."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from model.errors import CheckpointError
from model.training.metrics import (
    SUFFIX,
    MetricsLog,
    MetricsRow,
    latest,
    plot,
    read_metrics,
    stage_metrics,
    table,
    watch,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    log = MetricsLog(tmp_path / f"lm{SUFFIX}")
    for step in range(20, 220, 20):
        log.write(step, step / 2, {"text": 5 / step, "text_acc": 1 - 5 / step, "grad": float("nan")})
    log.write(200, 100.0, {"loop_right": 0.25})
    return tmp_path


def test_rows_come_back_without_what_is_no_number(folder: Path) -> None:
    rows = read_metrics(folder / f"lm{SUFFIX}")
    assert rows[0] == MetricsRow(20, 10.0, {"text": 0.25, "text_acc": 0.75}) and len(rows) == 11
    assert latest(rows) == {"text": (200, 0.025), "text_acc": (200, 0.975), "loop_right": (200, 0.25)}


def test_a_line_that_is_being_written_is_left_out(folder: Path) -> None:
    path = folder / f"lm{SUFFIX}"
    with path.open("a", encoding="utf-8") as file:
        file.write('{"step": 220, "spe')
    assert read_metrics(path)[-1].step == 200


def test_what_a_lost_checkpoint_measured_is_taken_back(folder: Path) -> None:
    log = MetricsLog(folder / f"lm{SUFFIX}")
    log.rewind(90)
    assert [row.step for row in read_metrics(log.path)] == [20, 40, 60, 80]
    log.rewind(-1)
    assert not read_metrics(log.path)
    with pytest.raises(CheckpointError, match="train a stage there first"):
        stage_metrics(folder)


def test_the_table_tells_now_and_halfway(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=100).print(table(folder))
    watch(folder, every_s=0.01, num_rounds=2)
    told = capsys.readouterr().out
    assert "loop_right" in told and "0.975" in told and "0.9583" in told


def test_curves_are_drawn(folder: Path) -> None:
    plot(folder, folder / "curves.png")
    with Image.open(folder / "curves.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 20
