"""Muon: updates are orthogonal, AdamW takes what is no matrix, checkpoints hold everything."""

import copy

import torch
from torch import nn

from model.training.muon import MuonAdamW, orthogonalize
from tests.model.tiny import noise


def _optimizer(module: nn.Module) -> MuonAdamW:
    return MuonAdamW(module.named_parameters(), muon_lr=0.02, adam_lr=0.01, adam_only=("head",))


class _Module(nn.Module):
    """Two matrices of one shape, a kernel, and a head for AdamW."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.wide, self.also = nn.Linear(24, 8), nn.Linear(24, 8)
        self.conv, self.head = nn.Conv1d(8, 8, 3), nn.Linear(8, 16)

    def loss(self) -> torch.Tensor:
        x = noise(32, 24)
        hidden = torch.relu(self.wide(x)) + self.also(x)
        hidden = self.conv(hidden[:, :, None].expand(-1, -1, 3))[..., 0]
        return torch.nn.functional.mse_loss(self.head(hidden), noise(32, 16, seed=1))


def _step(module: _Module, optimizer: MuonAdamW) -> float:
    optimizer.zero_grad()
    loss = module.loss()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step(1.0)
    return float(loss.detach())


def test_singular_values_come_near_one_in_either_shape() -> None:
    for shape in ((3, 12, 40), (2, 40, 12)):
        matrices = noise(*shape) * torch.logspace(-3, 0, shape[2])
        values = torch.linalg.svdvals(orthogonalize(matrices))
        assert values.shape == (shape[0], 12)
        assert values.max() < 1.3
        assert values.median() > 0.6


def test_directions_are_kept() -> None:
    matrix = noise(1, 8, 8)
    left, _, right = torch.linalg.svd(matrix[0])
    torch.testing.assert_close((left @ right)[None], orthogonalize(matrix, steps=12), atol=0.35, rtol=0)


def test_it_learns() -> None:
    module = _Module()
    optimizer = _optimizer(module)
    losses = [_step(module, optimizer) for _ in range(60)]
    assert losses[-1] < 0.7 * losses[0]


def test_every_parameter_moves_and_only_matrices_by_muon() -> None:
    module = _Module()
    optimizer = _optimizer(module)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    _step(module, optimizer)
    for name, p in module.named_parameters():
        assert not torch.equal(p, before[name]), name
    moved = module.wide.weight.detach() - before["wide.weight"] * (1 - 0.02 * 0.01)
    values = torch.linalg.svdvals(moved) / 0.02
    assert 0.5 < values.min() <= values.max() < 1.3, "a step of the learning rate in every direction"
    # AdamW's first step is its learning rate in each entry.
    head = (module.head.weight.detach() - before["head.weight"]).abs()
    torch.testing.assert_close(head.median(), torch.tensor(0.01), atol=1e-3, rtol=0)


def test_an_unsound_step_changes_no_parameter_and_the_next_one_is_sound() -> None:
    module = _Module()
    optimizer = _optimizer(module)
    optimizer.set_rates(1.0)
    (module.loss() * torch.nan).backward()  # type: ignore[no-untyped-call]
    before = copy.deepcopy(module.state_dict())
    optimizer.apply_if(torch.tensor(False))
    assert all(torch.equal(p, before[name]) for name, p in module.state_dict().items())
    assert _step(module, optimizer) > 0
    assert all(p.isfinite().all() and not torch.equal(p, before[name])
               for name, p in module.state_dict().items())  # fmt: skip


def test_a_sound_step_is_a_step() -> None:
    one, two = _Module(), _Module()
    optimizer = _optimizer(two)
    _step(one, _optimizer(one))
    optimizer.set_rates(1.0)
    two.loss().backward()  # type: ignore[no-untyped-call]
    optimizer.apply_if(torch.tensor(True))
    for (_, mine), (_, theirs) in zip(one.named_parameters(), two.named_parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_parameter_without_gradient_stays() -> None:
    module = _Module()
    optimizer = _optimizer(module)
    before = module.conv.weight.detach().clone()
    module.wide.weight.sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step(1.0)
    assert torch.equal(module.conv.weight, before)


def test_a_checkpoint_goes_on_exactly() -> None:
    first = _Module()
    optimizer = _optimizer(first)
    for _ in range(3):
        _step(first, optimizer)
    second = _Module(seed=9)
    second.load_state_dict(first.state_dict())
    resumed = _optimizer(second)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(3):
        assert _step(first, optimizer) == _step(second, resumed)
    for name, p in first.named_parameters():
        assert torch.equal(p, dict(second.named_parameters())[name]), name
