"""Depth transformer: the codebooks of one frame, one after another, each with its own weights.

Source: RQ-Transformer (arXiv 2203.01941) as used by Moshi (arXiv 2410.00037, section 3.4.1). It has no
positions; its past is the frame at hand and is never kept.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import LmConfig
from model.transformer import Gating, RmsNorm


class DepthAttention(nn.Module):
    """Causal attention over codebooks; the sets of projections are stacked along dim 0."""

    def __init__(self, config: LmConfig) -> None:
        super().__init__()
        dim, sets = config.depformer_dim, config.num_weight_sets
        self.num_heads, self.weight_sets = config.depformer_num_heads, config.weight_sets
        self.in_proj_weight = nn.Parameter(torch.empty(sets * 3 * dim, dim))
        self.out_proj = nn.Linear(dim, sets * dim, bias=False)
        nn.init.normal_(self.in_proj_weight, std=dim**-0.5)
        nn.init.normal_(self.out_proj.weight, std=dim**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """All codebooks at once, teacher-forced: float [N, K, C] -> [N, K, C]."""
        in_proj = self._per_step(self.in_proj_weight)  # [K, 3C, C]
        qkv = torch.bmm(x.transpose(0, 1), in_proj.transpose(1, 2)).transpose(0, 1)  # [N, K, 3C]
        q, k, v = qkv.reshape(*x.shape[:2], 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        out_proj = self._per_step(self.out_proj.weight)  # [K, C, C]
        return torch.bmm(mixed.transpose(0, 1), out_proj.transpose(1, 2)).transpose(0, 1)

    def _per_step(self, stacked: Tensor) -> Tensor:
        """Each step's own projection: float [sets * D, C] -> [K, D, C]."""
        sets = stacked.view(max(self.weight_sets) + 1, -1, stacked.shape[-1])
        return sets if len(sets) == len(self.weight_sets) else sets[list(self.weight_sets)]

    def step(self, x: Tensor, step: int, past: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Codebook `step` alone: float [B, C] -> [B, C]; appends its key and value to `past`."""
        w_in, w_out = self.projections(self.weight_sets[step])
        qkv = F.linear(x, w_in)
        q, k, v = qkv.view(len(x), 3, self.num_heads, 1, -1).unbind(1)  # each [B, H, 1, D]
        past.append((k, v))
        keys = torch.cat([key for key, _ in past], dim=2)
        values = torch.cat([value for _, value in past], dim=2)
        return F.linear(F.scaled_dot_product_attention(q, keys, values).reshape(x.shape), w_out)

    def projections(self, place: int) -> tuple[Tensor, Tensor]:
        """One set of weights: float [3C, C] into queries, keys and values, [C, C] out."""
        dim = self.in_proj_weight.shape[1]
        w_in = self.in_proj_weight[3 * dim * place : 3 * dim * (place + 1)]
        return w_in, self.out_proj.weight[dim * place : dim * (place + 1)]


class DepthLayer(nn.Module):
    """Attention and gated unit with weights per codebook (or shared by schedule), norms shared by all."""

    def __init__(self, config: LmConfig) -> None:
        super().__init__()
        self.self_attn = DepthAttention(config)
        self.norm1, self.norm2 = RmsNorm(config.depformer_dim), RmsNorm(config.depformer_dim)
        self.weight_sets = config.weight_sets
        self.gating = nn.ModuleList(
            [
                Gating(config.depformer_dim, config.depformer_dim_feedforward)
                for _ in range(config.num_weight_sets)
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """All codebooks at once: float [N, K, C] -> [N, K, C]."""
        x = x + self.self_attn(self.norm1(x))
        units = [self.gating[place] for place in self.weight_sets]
        w_in = torch.stack([unit.linear_in.weight for unit in units])  # type: ignore[union-attr,misc]
        w_out = torch.stack([unit.linear_out.weight for unit in units])  # type: ignore[union-attr,misc]
        gate, value = torch.bmm(self.norm2(x).transpose(0, 1), w_in.transpose(1, 2)).chunk(2, dim=-1)
        return x + torch.bmm(F.silu(gate) * value, w_out.transpose(1, 2)).transpose(0, 1)

    def step(self, x: Tensor, step: int, past: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Codebook `step` alone: float [B, C] -> [B, C]."""
        x = x + self.self_attn.step(self.norm1(x), step, past)
        y: Tensor = x + self.gating[self.weight_sets[step]](self.norm2(x))
        return y


class DepthTransformer(nn.Module):
    """The stack of depth layers."""

    def __init__(self, config: LmConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([DepthLayer(config) for _ in range(config.depformer_num_layers)])

    def forward(self, x: Tensor) -> Tensor:
        """All codebooks at once: float [N, K, C] -> [N, K, C]."""
        for layer in self.layers:
            x = layer(x)
        return x

    def step(self, x: Tensor, step: int, past: list[list[tuple[Tensor, Tensor]]]) -> Tensor:
        """Codebook `step` alone; `past` holds one list per layer, empty at a frame's first codebook."""
        for layer, layer_past in zip(self.layers, past, strict=True):
            assert isinstance(layer, DepthLayer)
            x = layer.step(x, step, layer_past)
        return x
