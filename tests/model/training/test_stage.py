"""What every stage shares: the schedule, skipped steps, checkpoints that appear whole."""

from pathlib import Path

import pytest
import torch
from torch import nn

from model.training.muon import MuonAdamW
from model.training.stage import Stage, schedule


def _stage(folder: Path) -> tuple[nn.Linear, Stage]:
    torch.manual_seed(0)
    layer = nn.Linear(16, 16)
    optimizer = MuonAdamW(layer.named_parameters(), muon_lr=0.01, adam_lr=0.01)
    return layer, Stage(layer, optimizer, folder / "stage.pt", minutes=1.0, max_norm=1.0)


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


def test_there_is_nothing_to_resume_at_first(tmp_path: Path) -> None:
    assert not _stage(tmp_path)[1].resume()
