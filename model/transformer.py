"""Transformer layers: the codec's (LayerNorm, GELU, layer scale) and the LM's (RMSNorm, gated SiLU).

Sources: arXiv 1607.06450 (LayerNorm), arXiv 1910.07467 (RMSNorm), arXiv 2002.05202 (gated units),
arXiv 2103.17239 (layer scale).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.attention import Attention, Place, Window
from model.config import CodecTransformerConfig, LmConfig
from model.streaming import State

RMS_EPSILON = 1e-8


class RmsNorm(nn.Module):
    """Scale to unit mean square, in float32: [..., C] -> [..., C]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, 1, dim))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + RMS_EPSILON)
        return (wide * scale * self.alpha.float().view(-1)).to(x.dtype)


class LayerScale(nn.Module):
    """A learnt gain per channel."""

    def __init__(self, dim: int, initial: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((dim,), initial))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def gated_hidden(dim: int, feedforward: int) -> int:
    """Width of a gated unit that costs what a plain layer of width `feedforward` costs."""
    return 21 * dim // 8 if feedforward == 4 * dim else 2 * feedforward // 3


class Gating(nn.Module):
    """SiLU(half of a projection) times the other half: [..., C] -> [..., C]; no biases."""

    def __init__(self, dim: int, feedforward: int) -> None:
        super().__init__()
        hidden = gated_hidden(dim, feedforward)
        self.linear_in = nn.Linear(dim, 2 * hidden, bias=False)
        self.linear_out = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.linear_in(x).chunk(2, dim=-1)
        y: Tensor = self.linear_out(F.silu(gate) * value)
        return y


class CodecLayer(nn.Module):
    """x + scale * attention(norm x), then x + scale * feed-forward(norm x): float [B, T, C]."""

    def __init__(self, dim: int, config: CodecTransformerConfig) -> None:
        super().__init__()
        self.self_attn = Attention(dim, config.num_heads)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, config.dim_feedforward, bias=False)
        self.linear2 = nn.Linear(config.dim_feedforward, dim, bias=False)
        self.layer_scale_1 = LayerScale(dim, config.layer_scale)
        self.layer_scale_2 = LayerScale(dim, config.layer_scale)

    def forward(self, x: Tensor, place: Place, state: State | None = None) -> Tensor:
        x = x + self.layer_scale_1(self.self_attn(self.norm1(x), place, state))
        hidden = F.gelu(self.linear1(self.norm2(x)))
        y: Tensor = x + self.layer_scale_2(self.linear2(hidden))
        return y


class LmLayer(nn.Module):
    """x + attention(norm x), then x + gated unit(norm x): float [B, T, C]."""

    def __init__(self, config: LmConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config.dim, config.num_heads)
        self.norm1, self.norm2 = RmsNorm(config.dim), RmsNorm(config.dim)
        self.gating = Gating(config.dim, int(config.hidden_scale * config.dim))

    def forward(self, x: Tensor, place: Place, state: State | None = None) -> Tensor:
        x = x + self.self_attn(self.norm1(x), place, state)
        y: Tensor = x + self.gating(self.norm2(x))
        return y


class Transformer(nn.Module):
    """A stack of layers: float [B, T, C] -> [B, T, C]."""

    def __init__(self, layers: list[CodecLayer] | list[LmLayer], window: Window) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.window = window

    def init_state(self, state: State, *, can_pin: bool = False, kv_dtype: torch.dtype | None = None) -> None:
        """Give the state every layer's ring, each row's number of steps so far, and of pinned ones."""
        state.add("offset", (), torch.int64)
        if can_pin:
            state.add("pinned", (), torch.int64)
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, CodecLayer | LmLayer)
            layer.self_attn.init_state(state.child(str(index)), self.window.context, kv_dtype)

    def forward(self, x: Tensor, state: State | None = None, num_keys: int | None = None) -> Tensor:
        length = x.shape[1]
        if state is None:
            place = self.window.whole(length, x.device)
        else:
            place = self.window.streamed(state["offset"], length, state.tensors.get("pinned"), num_keys)
            state.put("offset", state["offset"] + length)
        for index, layer in enumerate(self.layers):
            x = layer(x, place, state and state.child(str(index)))
        return x


class ProjectedTransformer(nn.Module):
    """The codec's transformer on channels-first latents: float [B, C, T] -> [B, C, T]."""

    def __init__(self, dim: int, config: CodecTransformerConfig) -> None:
        super().__init__()
        window = Window(config.context, config.max_period, dim // config.num_heads)
        self.transformer = Transformer([CodecLayer(dim, config) for _ in range(config.num_layers)], window)

    def init_state(self, state: State) -> None:
        """Give the state every layer's ring."""
        self.transformer.init_state(state)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        y: Tensor = self.transformer(x.transpose(1, 2), state)
        return y.transpose(1, 2)
