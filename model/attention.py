"""Causal attention over a sliding window, for whole sequences and step by step on a ring of keys.

Source: arXiv 1706.03762 (attention), arXiv 2104.09864 (rotary positions, interleaved pairs). The ring holds
`context` steps; after T new keys are written, the first query of the block sees T - 1 steps fewer than the
window, which is what published checkpoints were run with and what the whole-sequence form does not do.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.streaming import State


def rotate(x: Tensor, positions: Tensor, max_period: float) -> Tensor:
    """Turn each interleaved pair of x float [B, H, T, D] by its position's angle; positions int [B, T]."""
    half = x.shape[-1] // 2
    ladder = torch.arange(half, dtype=torch.float32, device=x.device)
    frequency = torch.exp(ladder * (-math.log(max_period) * 2 / x.shape[-1]))
    angle = positions.float()[:, None, :, None] * frequency  # [B, 1, T, D / 2]
    cos, sin = torch.cos(angle), torch.sin(angle)
    pairs = x.float().reshape(*x.shape[:-1], half, 2)
    even, odd = pairs[..., 0], pairs[..., 1]
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return turned.flatten(-2).to(x.dtype)


def window_mask(length: int, context: int | None, device: torch.device) -> Tensor:
    """Bool [T, T]: which key a query of a whole sequence sees."""
    position = torch.arange(length, device=device)
    distance = position[:, None] - position[None, :]
    mask = distance >= 0
    return mask if context is None else mask & (distance < context)


class Attention(nn.Module):
    """Multi-head self-attention: float [B, T, C] -> [B, T, C]; no biases."""

    def __init__(self, dim: int, num_heads: int, context: int, max_period: float) -> None:
        super().__init__()
        self.num_heads, self.context, self.max_period = num_heads, context, max_period
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.out_proj = nn.Linear(dim, dim, bias=False)
        nn.init.normal_(self.in_proj_weight, std=dim**-0.5)

    def init_state(self, state: State) -> None:
        """Give the state a ring of keys and values and each row's number of steps so far."""
        dim = self.in_proj_weight.shape[1]
        ring = (self.num_heads, self.context, dim // self.num_heads)
        state.add("keys", ring, self.in_proj_weight.dtype)
        state.add("values", ring, self.in_proj_weight.dtype)
        state.add("offset", (), torch.int64)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        qkv = F.linear(x, self.in_proj_weight).view(*x.shape[:2], 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [B, H, T, D]
        if state is None:
            mixed = self._whole(q, k, v)
        else:
            mixed = self._stream(q, k, v, state)
        y: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return y

    def _whole(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        length = q.shape[2]
        positions = torch.arange(length, device=q.device).expand(q.shape[0], -1)
        q, k = rotate(q, positions, self.max_period), rotate(k, positions, self.max_period)
        if length <= self.context:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        mask = window_mask(length, self.context, q.device)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    def _stream(self, q: Tensor, k: Tensor, v: Tensor, state: State) -> Tensor:
        steps = torch.arange(q.shape[2], device=q.device)
        positions = state["offset"][:, None] + steps  # int64 [B, T]
        q, k = rotate(q, positions, self.max_period), rotate(k, positions, self.max_period)
        where = (positions % self.context)[:, None, :, None].expand_as(k)
        # Rows that do not execute are written too: the ring entry they lose is the oldest, which their next
        # executed step overwrites before anything reads it.
        keys = state["keys"].scatter_(2, where, k.to(state["keys"].dtype))
        values = state["values"].scatter_(2, where, v.to(state["values"].dtype))
        mask = self._ring_mask(positions)
        state.put("offset", state["offset"] + q.shape[2])
        return F.scaled_dot_product_attention(q, keys.to(q.dtype), values.to(q.dtype), attn_mask=mask)

    def _ring_mask(self, positions: Tensor) -> Tensor:
        """Bool [B, 1, T, context]: the entries each query sees; positions int64 [B, T] of the queries."""
        last = positions[:, -1:]  # [B, 1]
        entry = torch.arange(self.context, device=positions.device)[None]
        held = last - (last - entry) % self.context  # position that each entry holds; below 0: never written
        distance = positions[:, :, None] - held[:, None, :]
        seen = (held[:, None, :] >= 0) & (distance >= 0) & (distance < self.context)
        return seen[:, None]
