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


def _pinned_by_hand(layer: Attention, x: Tensor, pins: int) -> Tensor:
    """What a stream of float [1, T, C] gives when its first steps are pinned: each step from scratch."""
    rolling, out = CONTEXT - pins, []
    for at in range(x.shape[1]):
        nearest = list(range(max(pins, at - rolling + 1), at + 1))
        kept = [p for p in range(pins) if p <= at]
        # The pinned steps stand right before the oldest of the others, as when the window was just full.
        shift = max(0, at - (CONTEXT - 1))
        places = torch.tensor([p + shift for p in kept] + nearest)
        block = x[:, kept + nearest]
        qkv = block @ layer.in_proj_weight.T
        q, k, v = qkv.view(1, len(places), 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        cos, sin = WINDOW._angles(places[None])
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        weights = (q[:, :, -1:] @ k.transpose(2, 3) / (DIM // HEADS) ** 0.5).softmax(-1)
        out.append(layer.out_proj((weights @ v).transpose(1, 2).flatten(2)))
    return torch.cat(out, dim=1)


@pytest.mark.parametrize("pins", [0, 1, 4])
def test_pinned_steps_stay_at_the_windows_edge(layer: Attention, pins: int) -> None:
    x = noise(2, STEPS, DIM)
    state = _state(layer, 2)
    count = torch.tensor([pins, 2])
    steps = []
    for at in range(STEPS):
        place = WINDOW.streamed(torch.tensor([at, at]), 1, count)
        steps.append(layer(x[:, at : at + 1], place, state))
    got = torch.cat(steps, dim=1)
    torch.testing.assert_close(got[:1], _pinned_by_hand(layer, x[:1], pins), atol=1e-5, rtol=0)
    torch.testing.assert_close(got[1:], _pinned_by_hand(layer, x[1:], 2), atol=1e-5, rtol=0)
    if not pins:
        torch.testing.assert_close(got[:1], _whole(layer, x[:1]), atol=1e-5, rtol=0)


def test_a_block_that_fits_the_ring_reads_only_so_many_entries(layer: Attention) -> None:
    x = noise(1, CONTEXT, DIM)
    state = _state(layer, 1)
    first = layer(x[:, :2], WINDOW.streamed(torch.tensor([0]), 2, num_keys=2), state)
    rest = layer(x[:, 2:5], WINDOW.streamed(torch.tensor([2]), 3, torch.tensor([4]), num_keys=5), state)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), _whole(layer, x[:, :5]), atol=1e-5, rtol=0)


def test_eight_bit_keys_and_values_are_near_the_exact_ones(layer: Attention) -> None:
    x = noise(2, STEPS, DIM)
    exact, small = _state(layer, 2), State.root(2)
    layer.init_state(small, CONTEXT, torch.float8_e4m3fn)
    assert small["ring"].dtype == torch.float8_e4m3fn
    for at in range(STEPS):
        small.set_exec_mask(torch.tensor([True, at != 3]))
        exact.set_exec_mask(torch.tensor([True, at != 3]))
        place = WINDOW.streamed(torch.tensor([at, at - (at > 3)]), 1)
        block = x[:, at : at + 1]
        want, got = layer(block, place, exact), layer(block, place, small)
        assert (got - want).norm() < 0.06 * want.norm(), at  # 3 bits of mantissa: 2^-4 at the worst
    small.reset(mask(0, 1))
    assert not small["ring"][1].float().any()
    assert small["ring"][0].float().any()
