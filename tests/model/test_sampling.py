"""Draws follow the distribution, temperature and top-k; each row has its own random stream."""

import pytest
import torch

from model.sampling import RowNoise, sample
from tests.model.tiny import noise

DRAWS = 4000


def _draws(logits: torch.Tensor, temperature: float, top_k: int) -> torch.Tensor:
    rows = RowNoise(1)
    rows.seed(0, 1)
    wide = torch.cat([rows.exponential(len(logits), [0]) for _ in range(DRAWS)])
    return sample(logits.expand(DRAWS, -1), temperature, top_k, wide)


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = noise(5, 20)
    ones = torch.ones(5, 20)
    assert torch.equal(sample(logits, 0.0, 3, ones), logits.argmax(-1))
    assert torch.equal(sample(logits, 0.7, 3, None), logits.argmax(-1))


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_frequencies_are_those_of_the_softmax(temperature: float) -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    share = torch.bincount(_draws(logits, temperature, 0), minlength=4) / DRAWS
    torch.testing.assert_close(share, torch.softmax(logits / temperature, 0), atol=0.03, rtol=0)


def test_nothing_outside_the_top_k_is_drawn() -> None:
    logits = torch.tensor([0.3, 0.2, 0.1, 0.0, -0.1])
    drawn = _draws(logits, 2.0, 2)
    assert set(drawn.tolist()) == {0, 1}
    assert set(_draws(logits, 2.0, 5).tolist()) == {0, 1, 2, 3, 4}


def test_a_forbidden_logit_is_never_drawn() -> None:
    logits = torch.tensor([0.0, -1e9, 0.0])
    assert 1 not in _draws(logits, 5.0, 0).tolist()


def test_a_row_repeats_by_its_seed_whatever_its_neighbours_do() -> None:
    first, second = RowNoise(2), RowNoise(2)
    first.seed(0, 7)
    second.seed(0, 7)
    second.seed(1, 99)
    alone = [first.exponential(6, [0])[0] for _ in range(4)]
    beside = [second.exponential(6, [0, 1])[0] for _ in range(4)]
    for one, other in zip(alone, beside, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(alone[0], alone[1])


def test_an_idle_row_draws_nothing() -> None:
    rows, whole = RowNoise(2), RowNoise(2)
    for each in (rows, whole):
        each.seed(1, 3)
    assert torch.equal(rows.exponential(5, [0])[1], torch.ones(5))
    assert torch.equal(rows.exponential(5, [1])[1], whole.exponential(5, [1])[1])
