"""Causal convolutions that can run on a whole sequence or frame by frame with carried history.

Source: the layer layout of Mimi (arXiv 2410.00037, section 3.3), after SEANet (arXiv 2009.02095).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from model.streaming import State


class _Named(nn.Module):
    """Holds a convolution under the inner name that published checkpoints use."""

    def __init__(self, name: str, layer: nn.Module) -> None:
        super().__init__()
        self.add_module(name, layer)


class CausalConv1d(nn.Module):
    """Convolution that sees only the past: float [B, C_in, T] -> [B, C_out, T / stride].

    `T` must be a multiple of the stride. `pad` says what stands before the first sample: zeros, or
    (replicate) the first sample itself.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        bias: bool = True,
        pad: Literal["zeros", "replicate"] = "zeros",
    ) -> None:
        super().__init__()
        self.conv = _Named("conv", nn.Conv1d(in_channels, out_channels, kernel, stride=stride, bias=bias))
        self.in_channels, self.stride, self.pad = in_channels, stride, pad
        self.history_samples = kernel - stride

    def init_state(self, state: State) -> None:
        """Give the state what this layer remembers: the last `kernel - stride` inputs."""
        if self.history_samples:
            state.add("previous", (self.in_channels, self.history_samples))
        if self.pad == "replicate":
            state.add("started", (), torch.bool)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        if x.shape[-1] % self.stride:
            raise ValueError(f"{x.shape[-1]} samples are no multiple of the stride {self.stride}")
        if not self.history_samples:
            return self._convolve(x)
        before = self._before(x, state)
        joined = torch.cat([before.to(x.dtype), x], dim=-1)
        if state is not None:
            state.put("previous", joined[..., joined.shape[-1] - self.history_samples :])
            if self.pad == "replicate":
                state.put("started", torch.ones_like(state["started"]))
        return self._convolve(joined)

    def _before(self, x: Tensor, state: State | None) -> Tensor:
        shape = (x.shape[0], self.in_channels, self.history_samples)
        first = x[..., :1].expand(shape) if self.pad == "replicate" else x.new_zeros(shape)
        if state is None:
            return first
        if self.pad == "replicate":
            return torch.where(state["started"].view(-1, 1, 1), state["previous"].to(x.dtype), first)
        return state["previous"]

    def _convolve(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv.conv(x)  # type: ignore[operator]
        return y


class CausalConvTranspose1d(nn.Module):
    """Transposed convolution without look-ahead: float [B, C_in, T] -> [B, C_out, T * stride].

    Each input sample's response is `kernel` long; what reaches past the emitted samples is carried, without
    the bias, which would otherwise be added twice.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        layer = nn.ConvTranspose1d(in_channels, out_channels, kernel, stride=stride, groups=groups, bias=bias)
        self.convtr = _Named("convtr", layer)
        self.out_channels, self.tail_samples = out_channels, kernel - stride

    @property
    def _layer(self) -> nn.ConvTranspose1d:
        layer = self.convtr.convtr
        assert isinstance(layer, nn.ConvTranspose1d)
        return layer

    def init_state(self, state: State) -> None:
        """Give the state what this layer remembers: the unfinished tail of the last output."""
        if self.tail_samples:
            state.add("partial", (self.out_channels, self.tail_samples))

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        y: Tensor = self._layer(x)
        tail = self.tail_samples
        if not tail:
            return y
        if state is not None:
            y[..., :tail] += state["partial"].to(y.dtype)
            rest = y[..., -tail:]
            if self._layer.bias is not None:
                rest = rest - self._layer.bias[:, None]
            state.put("partial", rest)
        return y[..., :-tail]
