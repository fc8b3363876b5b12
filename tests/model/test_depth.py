"""The depth transformer: one codebook after another equals all at once, each with its own weights."""

import pytest
import torch
from torch import Tensor

from model.depth import DepthTransformer
from tests.model.tiny import LM_CONFIG, noise, randomize

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture(scope="module")
def depth() -> DepthTransformer:
    module = DepthTransformer(LM_CONFIG)
    randomize(module, 1)
    return module


def test_step_by_step_equals_all_at_once(depth: DepthTransformer) -> None:
    x = noise(3, LM_CONFIG.dep_q, LM_CONFIG.depformer_dim)
    past: list[list[tuple[Tensor, Tensor]]] = [[] for _ in depth.layers]
    steps = [depth.step(x[:, k], k, past) for k in range(LM_CONFIG.dep_q)]
    torch.testing.assert_close(torch.stack(steps, dim=1), depth(x), atol=1e-5, rtol=0)


def test_later_codebooks_do_not_reach_back(depth: DepthTransformer) -> None:
    x = noise(2, LM_CONFIG.dep_q, LM_CONFIG.depformer_dim)
    changed = x.clone()
    changed[:, 5] += 1
    torch.testing.assert_close(depth(changed)[:, :5], depth(x)[:, :5], atol=1e-6, rtol=0)
    assert not torch.allclose(depth(changed)[:, 5:], depth(x)[:, 5:])


def test_every_codebook_has_its_own_weights(depth: DepthTransformer) -> None:
    x = noise(1, LM_CONFIG.depformer_dim).expand(LM_CONFIG.dep_q, -1)
    alone = [depth.step(x[:1], k, [[] for _ in depth.layers])[0] for k in range(LM_CONFIG.dep_q)]
    for k in range(1, LM_CONFIG.dep_q):
        assert not torch.allclose(alone[0], alone[k], atol=1e-2)
