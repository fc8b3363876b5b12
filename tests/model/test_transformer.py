"""Transformer layers: norms and gates by hand, stacks streamed in any chunk."""

import pytest
import torch

from model.attention import Window
from model.streaming import State
from model.transformer import (
    Gating,
    LmLayer,
    ProjectedTransformer,
    RmsNorm,
    Transformer,
    gated_hidden,
)
from tests.model.tiny import CODEC_TRANSFORMER, LM_CONFIG, mask, noise, pieces, randomize

pytestmark = pytest.mark.usefixtures("no_gradients")


def test_rms_norm_by_hand_and_in_float32() -> None:
    norm = RmsNorm(2)
    norm.alpha.copy_(torch.tensor([1.0, 2.0]).view(1, 1, 2))
    x = torch.tensor([[3.0, 4.0]])
    torch.testing.assert_close(norm(x), torch.tensor([[3.0, 8.0]]) / 12.5**0.5)
    half = norm(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), norm(x), atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("dim", "feedforward", "hidden"), [(4096, 16896, 11264), (1024, 4224, 2816), (64, 256, 168)]
)
def test_gated_width_is_the_published_one(dim: int, feedforward: int, hidden: int) -> None:
    assert gated_hidden(dim, feedforward) == hidden


def test_the_first_half_is_the_gate() -> None:
    unit = Gating(1, 3)
    unit.linear_in.weight.copy_(torch.tensor([[0.0], [0.0], [5.0], [5.0]]))
    unit.linear_out.weight.fill_(1.0)
    assert unit(torch.ones(1, 1)).item() == 0
    unit.linear_in.weight.copy_(torch.tensor([[5.0], [5.0], [1.0], [1.0]]))
    assert unit(torch.ones(1, 1)).item() == pytest.approx(2 * 5 * 0.9933, abs=1e-3)


@pytest.mark.parametrize("chunk", [1, 3, 12])
def test_lm_stack_streams_inside_the_window(chunk: int) -> None:
    stack = Transformer([LmLayer(LM_CONFIG) for _ in range(2)], Window(LM_CONFIG.context, 1e4, 16))
    randomize(stack, 2)
    state = State.root(2)
    stack.init_state(state)
    x = noise(2, LM_CONFIG.context, LM_CONFIG.dim)
    parts = [stack(part, state) for part in pieces(x, chunk, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), stack(x), atol=1e-4, rtol=0)
    assert state["offset"].tolist() == [LM_CONFIG.context] * 2


def test_idle_rows_stand_still_and_reset_rows_start_over() -> None:
    stack = ProjectedTransformer(32, CODEC_TRANSFORMER)
    randomize(stack, 3)
    state = State.root(3)
    stack.init_state(state)
    stack(noise(3, 32, 4), state)
    state.set_exec_mask(mask(1, 0, 1))
    stack(noise(3, 32, 2), state)
    state.reset(mask(0, 0, 1))
    assert state["offset"].tolist() == [6, 4, 0]
