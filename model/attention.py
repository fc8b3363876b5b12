"""Causal attention over a sliding window, for whole sequences and step by step on a ring of keys and values.

Source: arXiv 1706.03762 (attention), arXiv 2104.09864 (rotary positions, interleaved pairs). The ring holds
`context` steps; after T new keys are written, the first query of the block sees T - 1 steps fewer than the
window, which is what published checkpoints were run with and what the whole-sequence form does not do.

A row may pin its first steps (arXiv 2309.17453): they keep their places in the ring for ever, and the rest
of it rolls. Once the window is full, queries see the pinned steps at the distance they had at that moment, so
that no distance grows beyond the window however long the call is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.streaming import State

FP8_MAX = 448.0  # the largest finite float8_e4m3fn
TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Pins:
    """What queries of a block need to see pinned steps."""

    cos: Tensor  # float32 [B, 1, T, D / 2]: the queries' rotation towards pinned keys
    sin: Tensor
    entries: Tensor  # bool [B, 1, 1, keys]: the ring entries that are pinned
    count: Tensor  # int64 [B]: how many


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block of T steps stands; the layers of a stack share it."""

    cos: Tensor  # float32 [B or 1, 1, T, D / 2], of each step's rotation
    sin: Tensor
    mask: Tensor | None  # bool, broadcast to [B, H, T, keys]: what each step sees; None: everything before it
    entries: Tensor | None = None  # int64 [B, T]: the ring entries to write; None: a whole sequence
    last: Tensor | None = None  # int64 [B]: position of the block's last step
    pins: Pins | None = None
    num_keys: int | None = None  # only so many ring entries can be seen, as far as is known without a mask


@dataclass(frozen=True, slots=True)
class Turn:
    """Where one step of each row stands, for kernels that know the ring themselves."""

    cos: Tensor  # float32 [B, D / 2]
    sin: Tensor
    pinned_cos: Tensor  # the same towards pinned keys
    pinned_sin: Tensor
    entry: Tensor  # int64 [B]: the ring entry to write


@dataclass(frozen=True, slots=True)
class Window:
    """How far a stack of layers looks back, in steps, and how its positions turn."""

    context: int
    max_period: float
    head_dim: int

    def whole(self, length: int, device: torch.device) -> Place:
        """The place of a whole sequence."""
        position = torch.arange(length, device=device)
        cos, sin = self._angles(position[None])
        return Place(cos, sin, None if length <= self.context else window_mask(length, self.context, device))

    def streamed(
        self, offset: Tensor, length: int, pinned: Tensor | None = None, num_keys: int | None = None
    ) -> Place:
        """The place of the next `length` steps of rows that are at `offset` int64 [B].

        `pinned` int64 [B] counts each row's pinned steps. `num_keys` promises that no row is beyond that step
        after the block, so that the ring has not wrapped and pinned steps are like any others.
        """
        positions = offset[:, None] + torch.arange(length, device=offset.device)  # int64 [B, T]
        cos, sin = self._angles(positions)
        entry = torch.arange(num_keys or self.context, device=offset.device)[None]  # [1, keys]
        last = positions[:, -1:]
        if pinned is None or num_keys is not None:
            held = _held(last, entry, self.context)  # position that each entry holds; below 0: none yet
            distance = positions[:, :, None] - held[:, None, :]
            seen = (held[:, None, :] >= 0) & (distance >= 0) & (distance < self.context)
            return Place(cos, sin, seen[:, None], positions % self.context, last[:, 0], num_keys=num_keys)
        count = pinned[:, None]
        rolling = self.context - count
        held = count + _held(last - count, entry - count, rolling)  # in a ring behind the pinned entries
        is_pinned = entry < count
        held = torch.where(is_pinned, entry, held)
        first = torch.where(is_pinned, 0, count)
        distance = positions[:, :, None] - held[:, None, :]
        seen = (held >= first)[:, None, :] & (distance >= 0)
        entries = torch.where(positions < count, positions, count + (positions - count) % rolling)
        capped = positions.clamp(max=self.context - 1)
        pins = Pins(*self._angles(capped), is_pinned[:, None, None], pinned)
        return Place(cos, sin, seen[:, None], entries, last[:, 0], pins, num_keys)

    def decoded(self, offset: Tensor, pinned: Tensor) -> Turn:
        """The turn of rows at `offset` int64 [B] with `pinned` int64 [B] pinned steps."""
        cos, sin = self._angles(offset[:, None])
        pinned_cos, pinned_sin = self._angles(offset.clamp(max=self.context - 1)[:, None])
        entry = torch.where(offset < pinned, offset, pinned + (offset - pinned) % (self.context - pinned))
        return Turn(cos[:, 0, 0], sin[:, 0, 0], pinned_cos[:, 0, 0], pinned_sin[:, 0, 0], entry)

    def _angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        ladder = torch.arange(self.head_dim // 2, dtype=torch.float32, device=positions.device)
        frequency = torch.exp(ladder * (-math.log(self.max_period) * 2 / self.head_dim))
        angle = positions.float()[:, None, :, None] * frequency
        return torch.cos(angle), torch.sin(angle)


def _held(last: Tensor, entry: Tensor, size: Tensor | int) -> Tensor:
    """The latest step up to `last` that is written to `entry`, 0 to size - 1, of a ring.

    It is last - (last - entry) % size, with one division per row instead of one per entry.
    """
    back = last % size - entry
    return last - torch.where(back < 0, back + size, back)


def window_mask(length: int, context: int, device: torch.device) -> Tensor:
    """Bool [T, T]: which key a query of a whole sequence sees."""
    position = torch.arange(length, device=device)
    distance = position[:, None] - position[None, :]
    return (distance >= 0) & (distance < context)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each interleaved pair of x float [..., B, H, T, D] by its step's angle, in float32."""
    pairs = x.float().reshape(*x.shape[:-1], -1, 2)
    even, odd = pairs[..., 0], pairs[..., 1]
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return turned.flatten(-2).to(x.dtype)


class Attention(nn.Module):
    """Multi-head self-attention: float [B, T, C] -> [B, T, C]; no biases."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.out_proj = nn.Linear(dim, dim, bias=False)
        nn.init.normal_(self.in_proj_weight, std=dim**-0.5)

    def init_state(self, state: State, context: int, kv_dtype: torch.dtype | None = None) -> None:
        """Give the state a ring of keys and values, [B, 2, H, context, D] of `kv_dtype` (default: ours).

        Eight-bit rings have a scale per step and head beside them, float32 [B, 2, H, context].
        """
        dim = self.in_proj_weight.shape[1]
        dtype = kv_dtype or self.in_proj_weight.dtype
        state.add("ring", (2, self.num_heads, context, dim // self.num_heads), dtype)
        if dtype.itemsize == 1:
            state.add("scale", (2, self.num_heads, context))

    def forward(self, x: Tensor, place: Place, state: State | None = None) -> Tensor:
        qkv = F.linear(x, self.in_proj_weight).view(*x.shape[:2], 3, self.num_heads, -1)
        turned = rotate(qkv[:, :, :2].permute(2, 0, 3, 1, 4), place.cos, place.sin)
        q, k, v = turned[0], turned[1], qkv[:, :, 2].transpose(1, 2)  # each [B, H, T, D]
        if state is not None:
            write_ring(state, torch.stack([k, v], dim=1), place)
            k, v = read_ring(state, place.num_keys, q.dtype)
        if place.pins is not None:
            towards_pins = rotate(qkv[:, :, 0].transpose(1, 2), place.pins.cos, place.pins.sin)
            mixed = _attend_pinned(q, towards_pins, k, v, place)
        else:
            mixed = F.scaled_dot_product_attention(
                q, k, v, attn_mask=place.mask, is_causal=place.mask is None
            )
        y: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return y


def _attend_pinned(q: Tensor, towards_pins: Tensor, keys: Tensor, values: Tensor, place: Place) -> Tensor:
    """Attention in which pinned keys are scored by a query turned otherwise: float [B, H, T, D] each."""
    assert place.pins is not None
    assert place.mask is not None
    # Heads of several rows of a ring do not lie evenly apart, and products of such a view are slower than
    # a copy and its products.
    keys, values = keys.contiguous(), values.contiguous()
    scores = torch.where(
        place.pins.entries, towards_pins @ keys.transpose(2, 3), q @ keys.transpose(2, 3)
    ).float()
    weights = (scores * q.shape[-1] ** -0.5).masked_fill(~place.mask, -math.inf).softmax(-1)
    mixed: Tensor = weights.to(values.dtype) @ values
    return mixed


def write_ring(state: State, new: Tensor, place: Place) -> None:
    """Put keys and values float [B, 2, H, T, D] into the executing rows' ring."""
    assert place.entries is not None, "a streamed block needs a streamed place"
    ring = state["ring"]
    if ring.dtype.itemsize > 1:
        _put_entries(ring, new.to(ring.dtype), place.entries, state.exec_mask)
        return
    scale = new.float().abs().amax(-1).clamp(min=TINY) / FP8_MAX  # [B, 2, H, T]
    small = (new.float() / scale[..., None]).to(ring.dtype)
    bits = torch.uint8  # scatter does not know eight-bit floats
    _put_entries(ring.view(bits), small.view(bits), place.entries, state.exec_mask)
    _put_entries(state["scale"][..., None], scale[..., None], place.entries, state.exec_mask)


def _put_entries(ring: Tensor, new: Tensor, entries: Tensor, executing: Tensor) -> None:
    """A ring is too large to copy at every step, so only the entries at hand are kept in idle rows."""
    where = entries[:, None, None, :, None].expand_as(new)
    mask = executing.view(-1, 1, 1, 1, 1)
    ring.scatter_(3, where, torch.where(mask, new, ring.gather(3, where)))


def read_ring(state: State, num_keys: int | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Keys and values, [B, H, keys, D] each, as `dtype`."""
    ring = state["ring"][:, :, :, :num_keys]
    if ring.dtype.itemsize == 1:
        held = (ring.float() * state["scale"][:, :, :, :num_keys, None]).to(dtype)
    else:
        held = ring.to(dtype)
    keys, values = held.unbind(1)
    return keys, values
