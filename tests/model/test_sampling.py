"""Draws follow the distribution, temperature and top-k; each row has its own random stream."""

import pytest
import torch

from model.sampling import exponential, sample
from tests.model.tiny import noise

DRAWS = 4000


def _rows(value: float, count: int = DRAWS) -> torch.Tensor:
    return torch.full((count,), value)


def _draws(logits: torch.Tensor, temperature: float, top_k: int) -> torch.Tensor:
    drops = exponential(torch.full((DRAWS,), 7), torch.arange(DRAWS), 0, len(logits))
    return sample(logits.expand(DRAWS, -1), _rows(temperature), _rows(top_k).long(), drops)


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = noise(5, 20)
    cold, three = _rows(0.0, 5), _rows(3, 5).long()
    assert torch.equal(sample(logits, cold, three, torch.ones(5, 20)), logits.argmax(-1))
    assert torch.equal(sample(logits, cold + 0.7, three, None), logits.argmax(-1))


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_frequencies_are_those_of_the_softmax(temperature: float) -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    share = torch.bincount(_draws(logits, temperature, 0), minlength=4) / DRAWS
    torch.testing.assert_close(share, torch.softmax(logits / temperature, 0), atol=0.03, rtol=0)


def test_nothing_outside_the_top_k_is_drawn() -> None:
    logits = torch.tensor([0.3, 0.2, 0.1, 0.0, -0.1])
    assert set(_draws(logits, 2.0, 2).tolist()) == {0, 1}
    assert set(_draws(logits, 2.0, 5).tolist()) == {0, 1, 2, 3, 4}


def test_a_forbidden_logit_is_never_drawn() -> None:
    logits = torch.tensor([0.0, -1e9, 0.0])
    assert 1 not in _draws(logits, 5.0, 0).tolist()


def test_the_rarest_noise_is_not_zero_and_draws_nothing_forbidden() -> None:
    """Of 2^24 draws one has all its upper bits set; this seed, step and token are such a one."""
    seed, step, token = torch.tensor([8]), torch.tensor([5]), 19_972
    noise = exponential(seed, step, 0, 32_000)
    assert noise.min() == noise[0, token] > 0
    logits = torch.full((1, 32_000), -2.0)
    logits[0, :30], logits[0, token] = 1.0, -1e9
    assert sample(logits, _rows(1.0, 1), _rows(25, 1).long(), noise).item() < 30


def test_rows_have_their_own_temperature_and_top_k() -> None:
    logits = torch.tensor([0.3, 0.2, 0.1, 0.0]).expand(3 * DRAWS, -1)
    temperature = torch.cat([_rows(0.0), _rows(2.0), _rows(2.0)])
    top_k = torch.cat([_rows(0), _rows(2), _rows(0)]).long()
    drops = exponential(torch.arange(3 * DRAWS), torch.zeros(3 * DRAWS).long(), 0, 4)
    cold, two, free = sample(logits, temperature, top_k, drops).view(3, DRAWS)
    assert [set(rows.tolist()) for rows in (cold, two, free)] == [{0}, {0, 1}, {0, 1, 2, 3}]


def test_noise_is_exponential_and_unrelated_between_seeds_steps_streams_and_tokens() -> None:
    many = torch.arange(2000)
    draws = [
        exponential(many, torch.zeros_like(many), 0, 50),
        exponential(torch.zeros_like(many), many, 0, 50),
        exponential(torch.zeros_like(many), many, 3, 50),
        exponential(many << 32, many, 3, 50),
    ]
    for drops in draws:
        assert abs(drops.mean().item() - 1) < 0.02
        assert abs(drops.std().item() - 1) < 0.02
        assert abs((drops > 3).float().mean().item() - 0.0498) < 0.004
        for one, other in ((drops[1:], drops[:-1]), (drops[:, 1:], drops[:, :-1])):
            both = torch.stack([one.flatten(), other.flatten()])
            assert abs(torch.corrcoef(both)[0, 1].item()) < 0.02
    for first, second in ((0, 1), (1, 2), (2, 3)):
        both = torch.stack([draws[first].flatten(), draws[second].flatten()])
        assert abs(torch.corrcoef(both)[0, 1].item()) < 0.02


def test_what_a_row_gets_depends_on_its_seed_step_and_stream_alone() -> None:
    seeds, steps = torch.tensor([5, -(2**62), 5]), torch.tensor([9, 2**23, 9])
    together = exponential(seeds, steps, 2, 7)
    alone = torch.cat([exponential(seeds[i : i + 1], steps[i : i + 1], 2, 7) for i in range(3)])
    assert torch.equal(together, alone)
    assert torch.equal(together[0], together[2])
    assert not torch.equal(together[0], exponential(seeds[:1], steps[:1], 3, 7)[0])
    assert torch.isfinite(together).all()
    assert (together > 0).all()
