"""Steps as CUDA graphs: what they do is what the same steps do that are launched kernel by kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model.training import lm_stage
from model.training.lm_stage import FIGURES, LmDials, LmTraining
from model.training.muon import MuonAdamW
from model.training.replay import Replayed
from tests.model.training.test_lm_stage import CONFIG, ENDLESS, SILENCE, _batch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


class _Fit:
    """A layer that learns a sum, by steps that read nothing."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.layer = nn.Linear(16, 8).cuda()
        self.optimizer = MuonAdamW(self.layer.named_parameters(), muon_lr=0.02, adam_lr=0.01)

    def step(self, batch: Sequence[Tensor], scale: float) -> Tensor:
        x, y = batch
        self.optimizer.zero_grad()
        loss: Tensor = ((self.layer(x) - y) ** 2).mean() * scale
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.apply_if(loss.isfinite())
        return loss.detach()


def _pairs(count: int) -> list[list[Tensor]]:
    torch.manual_seed(1)
    return [[x, x[:, :8] + x[:, 8:]] for x in torch.randn(count, 32, 16, device="cuda")]


def test_replayed_steps_do_what_plain_ones_do() -> None:
    plain, replayed = _Fit(), _Fit()
    step = Replayed(replayed.step)
    losses = []
    for number, pair in enumerate(_pairs(6)):
        for fit in (plain, replayed):
            fit.optimizer.set_rates(1 / (1 + number))
        out = step(pair, 2.0)
        for _ in range(3 if number == 0 else 1):  # two runs come before the first recording
            wanted = plain.step(pair, 2.0)
        losses.append(float(out))
        assert losses[-1] == pytest.approx(float(wanted), rel=1e-3)
    for mine, theirs in zip(replayed.layer.parameters(), plain.layer.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-2)


def test_a_replayed_step_that_is_not_finite_changes_nothing() -> None:
    fit = _Fit()
    step = Replayed(fit.step)
    first, second = _pairs(2)
    fit.optimizer.set_rates(1.0)
    step(first, 1.0)
    before = [p.detach().clone() for p in fit.layer.parameters()]
    assert not step([torch.full_like(second[0], torch.nan), second[1]], 1.0).isfinite()
    assert all(torch.equal(p, was) for p, was in zip(fit.layer.parameters(), before, strict=True))
    fit.optimizer.set_rates(1.0)
    assert step(second, 1.0).isfinite()
    assert all(not torch.equal(p, was) for p, was in zip(fit.layer.parameters(), before, strict=True))


@pytest.mark.parametrize("own_share", [0.0, 0.5])
def test_a_language_model_learns_by_replayed_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_share: float
) -> None:
    monkeypatch.setattr(lm_stage, "OWN_TRANSCRIPT_SHARE", own_share)
    config = CONFIG if own_share == 0 else replace(CONFIG, extra_heads_fed_back=1)
    training = LmTraining(config, LmDials(minutes=ENDLESS), tmp_path, SILENCE, device="cuda")
    batch = _batch()
    first = training.step(batch)
    assert tuple(first) == FIGURES
    for _ in range(60):
        last = training.step(batch)
    assert last["text"] < 0.8 * first["text"] and last["audio"] < 0.9 * first["audio"]
    assert (training.steps, training.num_skipped) == (61, 0)


def test_a_checkpoint_goes_from_a_cpu_to_cuda_and_back(tmp_path: Path) -> None:
    trainings = [LmTraining(CONFIG, LmDials(minutes=ENDLESS), tmp_path, SILENCE, device=device)
                 for device in ("cpu", "cuda", "cpu")]  # fmt: skip
    for number, training in enumerate(trainings):
        assert training.resume() is (number > 0) and training.steps == 3 * number
        for _ in range(3):
            training.step(_batch())
        assert training.num_skipped == 0
        training.save()
