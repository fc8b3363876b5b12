"""Causal attention over a sliding window, for whole sequences and step by step on a ring of keys and values.

Source: arXiv 1706.03762 (attention), arXiv 2104.09864 (rotary positions, interleaved pairs). The ring holds
`context` steps; after T new keys are written, the first query of the block sees T - 1 steps fewer than the
window, which is what published checkpoints were run with and what the whole-sequence form does not do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.streaming import State


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block of T steps stands; the layers of a stack share it."""

    cos: Tensor  # float32 [B or 1, 1, T, D / 2], of each step's rotation
    sin: Tensor
    mask: Tensor | None  # bool, broadcast to [B, H, T, keys]: what each step sees; None: everything before it
    entries: Tensor | None = None  # int64 [B, 1, 1, T, 1]: the ring entries to write; None: a whole sequence


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

    def streamed(self, offset: Tensor, length: int) -> Place:
        """The place of the next `length` steps of rows that are at `offset` int64 [B]."""
        positions = offset[:, None] + torch.arange(length, device=offset.device)  # int64 [B, T]
        cos, sin = self._angles(positions)
        entries = (positions % self.context)[:, None, None, :, None]
        return Place(cos, sin, self._ring_mask(positions), entries)

    def _angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        ladder = torch.arange(self.head_dim // 2, dtype=torch.float32, device=positions.device)
        frequency = torch.exp(ladder * (-math.log(self.max_period) * 2 / self.head_dim))
        angle = positions.float()[:, None, :, None] * frequency
        return torch.cos(angle), torch.sin(angle)

    def _ring_mask(self, positions: Tensor) -> Tensor:
        """Bool [B, 1, T, context]: the entries each query sees; positions int64 [B, T] of the queries."""
        last = positions[:, -1:]  # [B, 1]
        entry = torch.arange(self.context, device=positions.device)[None]
        held = last - (last - entry) % self.context  # position that each entry holds; below 0: never written
        distance = positions[:, :, None] - held[:, None, :]
        seen = (held[:, None, :] >= 0) & (distance >= 0) & (distance < self.context)
        return seen[:, None]


def window_mask(length: int, context: int, device: torch.device) -> Tensor:
    """Bool [T, T]: which key a query of a whole sequence sees."""
    position = torch.arange(length, device=device)
    distance = position[:, None] - position[None, :]
    return (distance >= 0) & (distance < context)


def rotate(x: Tensor, place: Place) -> Tensor:
    """Turn each interleaved pair of x float [..., B, H, T, D] by its step's angle, in float32."""
    pairs = x.float().reshape(*x.shape[:-1], -1, 2)
    even, odd = pairs[..., 0], pairs[..., 1]
    turned = torch.stack([even * place.cos - odd * place.sin, even * place.sin + odd * place.cos], dim=-1)
    return turned.flatten(-2).to(x.dtype)


class Attention(nn.Module):
    """Multi-head self-attention: float [B, T, C] -> [B, T, C]; no biases."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.out_proj = nn.Linear(dim, dim, bias=False)
        nn.init.normal_(self.in_proj_weight, std=dim**-0.5)

    def init_state(self, state: State, context: int) -> None:
        """Give the state a ring of keys and values, float [B, 2, H, context, D]."""
        dim = self.in_proj_weight.shape[1]
        state.add("ring", (2, self.num_heads, context, dim // self.num_heads), self.in_proj_weight.dtype)

    def forward(self, x: Tensor, place: Place, state: State | None = None) -> Tensor:
        qkv = F.linear(x, self.in_proj_weight).view(*x.shape[:2], 3, self.num_heads, -1)
        turned = rotate(qkv[:, :, :2].permute(2, 0, 3, 1, 4), place)  # queries, keys: [2, B, H, T, D]
        q, k, v = turned[0], turned[1], qkv[:, :, 2].transpose(1, 2)
        if state is not None:
            k, v = self._remember(torch.stack([k, v], dim=1), place, state)
        mixed = F.scaled_dot_product_attention(
            q, k.to(q.dtype), v.to(q.dtype), attn_mask=place.mask, is_causal=place.mask is None
        )
        y: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return y

    @staticmethod
    def _remember(new: Tensor, place: Place, state: State) -> tuple[Tensor, Tensor]:
        """Write keys and values float [B, 2, H, T, D]; what the ring then holds, [B, H, context, D] each."""
        assert place.entries is not None, "a streamed block needs a streamed place"
        ring = state["ring"]
        where = place.entries.expand_as(new)
        mask = state.exec_mask.view(-1, 1, 1, 1, 1)
        # A ring is too large to copy at every step, so only the entries at hand are kept in idle rows.
        ring.scatter_(3, where, torch.where(mask, new.to(ring.dtype), ring.gather(3, where)))
        keys, values = ring.unbind(1)
        return keys, values
