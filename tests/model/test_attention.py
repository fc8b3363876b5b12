"""Attention: rotary positions are relative, the ring is the window, idle rows keep their ring."""

import pytest
import torch
from torch import Tensor

from model.attention import Attention, Window, rotate, window_mask
from model.streaming import State
from tests.model.tiny import assert_rows_equal, mask, noise, randomize

pytestmark = pytest.mark.usefixtures("no_gradients")

DIM, HEADS, CONTEXT = 16, 2, 6
WINDOW = Window(CONTEXT, 100.0, DIM // HEADS)
STEPS = 4 * CONTEXT


@pytest.fixture(scope="module")
def layer() -> Attention:
    attention = Attention(DIM, HEADS)
    randomize(attention, 1)
    return attention


def _state(layer: Attention, batch: int) -> State:
    state = State.root(batch)
    layer.init_state(state, CONTEXT)
    return state


def _whole(layer: Attention, x: Tensor) -> Tensor:
    y: Tensor = layer(x, WINDOW.whole(x.shape[1], x.device))
    return y


def test_rotation_keeps_lengths_and_sees_only_distance() -> None:
    q, k = noise(1, HEADS, 1, 8), noise(1, HEADS, 1, 8, seed=1)

    def score(at: int, distance: int) -> Tensor:
        here, there = (WINDOW.streamed(torch.tensor([p]), 1) for p in (at + distance, at))
        return (rotate(q, here.cos, here.sin) * rotate(k, there.cos, there.sin)).sum(-1)

    far = WINDOW.streamed(torch.tensor([77]), 1)
    torch.testing.assert_close(rotate(q, far.cos, far.sin).norm(), q.norm())
    torch.testing.assert_close(score(0, 3), score(50, 3), atol=1e-4, rtol=0)
    assert not torch.allclose(score(0, 3), score(0, 2), atol=1e-3)


def test_window_mask_by_hand() -> None:
    assert window_mask(4, 2, torch.device("cpu")).int().tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 1, 1],
    ]


def test_step_by_step_equals_the_whole_past_the_wrap(layer: Attention) -> None:
    x = noise(2, STEPS, DIM)
    state = _state(layer, 2)
    steps = [
        layer(x[:, at : at + 1], WINDOW.streamed(torch.tensor([at, at]), 1), state) for at in range(STEPS)
    ]
    torch.testing.assert_close(torch.cat(steps, dim=1), _whole(layer, x), atol=1e-5, rtol=0)


def test_rows_stand_at_different_places(layer: Attention) -> None:
    x = noise(2, STEPS, DIM)
    state = _state(layer, 2)
    lag, first = 5, []
    for at in range(STEPS):
        state.set_exec_mask(torch.tensor([True, at >= lag]))
        late = max(at - lag, 0)
        block = torch.stack([x[0, at : at + 1], x[1, late : late + 1]])
        y = layer(block, WINDOW.streamed(torch.tensor([at, late]), 1), state)
        first.append(y[1])
    torch.testing.assert_close(
        torch.stack(first[lag:], dim=1)[0], _whole(layer, x[1:])[0, : STEPS - lag], atol=1e-5, rtol=0
    )


def test_a_block_of_two_sees_one_step_less_once_the_ring_is_full(layer: Attention) -> None:
    x = noise(1, STEPS, DIM)
    state = _state(layer, 1)
    blocks = [
        layer(x[:, at : at + 2], WINDOW.streamed(torch.tensor([at]), 2), state) for at in range(0, STEPS, 2)
    ]
    streamed, whole = torch.cat(blocks, dim=1), _whole(layer, x)
    torch.testing.assert_close(streamed[:, :CONTEXT], whole[:, :CONTEXT], atol=1e-5, rtol=0)
    torch.testing.assert_close(streamed[:, CONTEXT + 1 :: 2], whole[:, CONTEXT + 1 :: 2], atol=1e-5, rtol=0)
    assert not torch.allclose(streamed[:, CONTEXT::2], whole[:, CONTEXT::2], atol=1e-3)


def test_an_idle_row_keeps_its_ring_bit_for_bit(layer: Attention) -> None:
    state = _state(layer, 2)
    for at in range(CONTEXT + 1):
        layer(noise(2, 1, DIM, seed=at), WINDOW.streamed(torch.tensor([at, at]), 1), state)
    before = state.rows(1)
    state.set_exec_mask(mask(1, 0))
    layer(torch.full((2, 1, DIM), torch.nan), WINDOW.streamed(torch.tensor([7, 7]), 1), state)
    assert_rows_equal(state, before, 1)
