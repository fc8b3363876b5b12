"""What every stage shares: the schedule, skipped steps, checkpoints that appear whole."""

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model.training.muon import MuonAdamW
from model.training.stage import Figures, Stage, mean_figures, schedule


class Fitting(Stage[Tensor]):
    """A layer that learns to give nothing."""

    def __init__(self, folder: Path, minutes: float) -> None:
        torch.manual_seed(0)
        self.layer = nn.Linear(16, 16)
        optimizer = MuonAdamW(self.layer.named_parameters(), muon_lr=0.01, adam_lr=0.01)
        super().__init__(self.layer, optimizer, folder / "stage.pt", minutes, max_norm=1.0)

    def step(self, batch: Tensor) -> Figures:
        loss = self.layer(batch).square().sum()
        self.update(loss)
        return {"loss": float(loss.detach())}


def _stage(folder: Path, minutes: float = 1.0) -> tuple[nn.Linear, Fitting]:
    stage = Fitting(folder, minutes)
    return stage.layer, stage


def test_schedule_warms_up_holds_and_ends() -> None:
    assert schedule(0.0, 0) == pytest.approx(0.02)
    assert schedule(0.0, 49) == 1
    assert schedule(0.55, 1000) == pytest.approx(1)
    assert schedule(0.775, 1000) == pytest.approx(0.5)
    assert 0 < schedule(1.0, 1000) < 0.05


def test_a_step_that_is_not_finite_is_skipped_and_counted(tmp_path: Path) -> None:
    layer, stage = _stage(tmp_path)
    before = layer.weight.detach().clone()
    stage.update(layer(torch.full((1, 16), torch.nan)).sum())
    assert torch.equal(layer.weight, before) and stage.num_skipped == 1
    stage.update(layer(torch.ones(1, 16)).sum())
    assert not torch.equal(layer.weight, before) and (stage.steps, stage.num_skipped) == (2, 1)


def test_a_checkpoint_brings_back_weights_and_the_time_spent(tmp_path: Path) -> None:
    layer, stage = _stage(tmp_path)
    stage.update(layer(torch.ones(1, 16)).sum())
    stage.spent_s = 30.0
    stage.save()
    again, resumed = _stage(tmp_path)
    assert resumed.resume() and resumed.share == 0.5 and resumed.steps == 1 and not resumed.is_done
    assert torch.equal(again.weight, layer.weight)
    assert [path.name for path in tmp_path.iterdir()] == ["stage.pt"]


def test_a_run_spends_its_time_reports_and_saves(tmp_path: Path) -> None:
    layer, stage = _stage(tmp_path, minutes=0.3 / 60)
    told: list[str] = []
    stage.run(itertools.repeat(torch.ones(4, 16)), told.append)
    assert stage.is_done and 0.3 <= stage.spent_s < 1.0
    losses = [float(line.split("loss ")[1]) for line in told]
    assert len(told) == stage.steps // 20 and losses[-1] < losses[0]
    again, resumed = _stage(tmp_path, minutes=0.3 / 60)
    assert resumed.resume() and resumed.is_done and torch.equal(again.weight, layer.weight)


def test_what_is_no_number_is_left_out_of_a_mean() -> None:
    rows = [
        {"a": 1.0, "b": float("nan")},
        {"a": float("nan"), "b": float("nan")},
        {"a": 3.0, "b": float("nan")},
    ]
    assert mean_figures(rows) == "a 2.000 b nan"


def test_there_is_nothing_to_resume_at_first(tmp_path: Path) -> None:
    assert not _stage(tmp_path)[1].resume()
