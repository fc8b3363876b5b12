"""Causal convolutions: frame by frame equals the whole, the past never changes, idle rows remember."""

import pytest
import torch
from torch import Tensor, nn

from model.conv import CausalConv1d, CausalConvTranspose1d
from model.streaming import State
from tests.model.tiny import assert_rows_equal, mask, noise, randomize

pytestmark = pytest.mark.usefixtures("no_gradients")

LAYERS: list[nn.Module] = [
    CausalConv1d(3, 5, 7),
    CausalConv1d(3, 5, 1),
    CausalConv1d(3, 5, 8, stride=4),
    CausalConv1d(3, 5, 4, stride=2, bias=False, pad="replicate"),
    CausalConvTranspose1d(3, 5, 8, stride=4),
    CausalConvTranspose1d(3, 3, 4, stride=2, groups=3, bias=False),
    CausalConvTranspose1d(3, 5, 4, stride=4),
]
for _index, _layer in enumerate(LAYERS):
    randomize(_layer, _index)


def _state(layer: nn.Module, batch: int) -> State:
    state = State.root(batch)
    layer.init_state(state)  # type: ignore[operator]
    return state


def _streamed(layer: nn.Module, x: Tensor, chunk: int, state: State) -> Tensor:
    return torch.cat([layer(x[..., at : at + chunk], state) for at in range(0, x.shape[-1], chunk)], dim=-1)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("chunk", [4, 8, 16])
def test_chunk_size_does_not_matter(layer: nn.Module, chunk: int) -> None:
    x = noise(2, 3, 48)
    torch.testing.assert_close(_streamed(layer, x, chunk, _state(layer, 2)), layer(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_past_does_not_change(layer: nn.Module) -> None:
    x = noise(1, 3, 32)
    later = x.clone()
    later[..., 16:] = 9
    whole, changed = layer(x), layer(later)
    half = whole.shape[-1] // 2
    torch.testing.assert_close(whole[..., :half], changed[..., :half], rtol=0, atol=1e-5)
    assert not torch.allclose(whole[..., half:], changed[..., half:])


@pytest.mark.parametrize("layer", LAYERS)
def test_an_idle_row_remembers_and_goes_on(layer: nn.Module) -> None:
    x = noise(2, 3, 32)
    state = _state(layer, 2)
    layer(x[..., :16], state)
    before = state.rows(1)
    state.set_exec_mask(mask(1, 0))
    layer(noise(2, 3, 16, seed=5), state)
    assert_rows_equal(state, before, 1)
    state.set_exec_mask(mask(1, 1))
    rest = layer(x[..., 16:], state)[1]
    torch.testing.assert_close(rest, layer(x)[1, :, -rest.shape[-1] :], atol=1e-5, rtol=0)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_reset_row_starts_afresh_and_its_neighbour_goes_on(layer: nn.Module) -> None:
    x = noise(2, 3, 32)
    state = _state(layer, 2)
    layer(x[..., :16], state)
    state.reset(mask(0, 1))
    y = layer(x[..., 16:], state)
    torch.testing.assert_close(y[1], layer(x[1:, :, 16:])[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(y[0], layer(x[:1])[0, :, -y.shape[-1] :], atol=1e-5, rtol=0)


def test_what_stands_before_the_first_sample() -> None:
    x = torch.full((1, 1, 2), 3.0)
    layer = CausalConv1d(1, 1, 4, stride=2, bias=False, pad="replicate")
    zeros = CausalConv1d(1, 1, 4, stride=2, bias=False)
    for each in (layer, zeros):
        for weight in each.parameters():
            weight.fill_(1.0)
    assert layer(x).item() == 12
    assert zeros(x).item() == 6


def test_a_broken_stride_is_named() -> None:
    with pytest.raises(ValueError, match="7 samples are no multiple of the stride 4"):
        LAYERS[2](noise(1, 3, 7))
