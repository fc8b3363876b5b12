"""SEANet: the convolutional encoder and decoder around the codec's transformers.

Source: arXiv 2009.02095; sizes and the order of layers as in Mimi (arXiv 2410.00037, section 3.3).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from model.config import SeanetConfig
from model.conv import CausalConv1d, CausalConvTranspose1d
from model.streaming import State


class Elu(nn.Module):
    """Stands in the layer list so that layer numbers equal those of published checkpoints."""

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(x)


class ResidualBlock(nn.Module):
    """Two convolutions through half the channels, added to the input: float [B, C, T] -> [B, C, T]."""

    def __init__(self, channels: int, config: SeanetConfig) -> None:
        super().__init__()
        hidden = channels // config.compress
        kernel = config.residual_kernel_size
        self.block = nn.ModuleList(
            [Elu(), CausalConv1d(channels, hidden, kernel), Elu(), CausalConv1d(hidden, channels, 1)]
        )

    def init_state(self, state: State) -> None:
        """Give the state what the block's convolutions remember."""
        init_layers(self.block, state)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        return x + run_layers(self.block, x, state)


def run_layers(layers: nn.ModuleList, x: Tensor, state: State | None) -> Tensor:
    """Apply layers in order, handing each its own part of the state."""
    for index, layer in enumerate(layers):
        x = layer(x) if isinstance(layer, Elu) else layer(x, state and state.child(str(index)))
    return x


def init_layers(layers: nn.ModuleList, state: State) -> None:
    """Give the state what each layer remembers."""
    for index, layer in enumerate(layers):
        if isinstance(layer, CausalConv1d | CausalConvTranspose1d | ResidualBlock):
            layer.init_state(state.child(str(index)))


class SeanetEncoder(nn.Module):
    """Waveform to latents: float [B, 1, T] -> [B, dimension, T / hop]; T a multiple of the hop."""

    def __init__(self, config: SeanetConfig) -> None:
        super().__init__()
        width = config.n_filters
        layers: list[nn.Module] = [CausalConv1d(1, width, config.kernel_size)]
        for ratio in reversed(config.ratios):
            layers += [ResidualBlock(width, config), Elu()]
            layers += [CausalConv1d(width, 2 * width, 2 * ratio, stride=ratio)]
            width *= 2
        layers += [Elu(), CausalConv1d(width, config.dimension, config.last_kernel_size)]
        self.model = nn.ModuleList(layers)

    def init_state(self, state: State) -> None:
        """Give the state what the encoder remembers."""
        init_layers(self.model, state)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        return run_layers(self.model, x, state)


class SeanetDecoder(nn.Module):
    """Latents to waveform: float [B, dimension, T] -> [B, 1, T * hop]."""

    def __init__(self, config: SeanetConfig) -> None:
        super().__init__()
        width = config.n_filters * 2 ** len(config.ratios)
        layers: list[nn.Module] = [CausalConv1d(config.dimension, width, config.kernel_size)]
        for ratio in config.ratios:
            layers += [Elu(), CausalConvTranspose1d(width, width // 2, 2 * ratio, stride=ratio)]
            width //= 2
            layers += [ResidualBlock(width, config)]
        layers += [Elu(), CausalConv1d(width, 1, config.last_kernel_size)]
        self.model = nn.ModuleList(layers)

    def init_state(self, state: State) -> None:
        """Give the state what the decoder remembers."""
        init_layers(self.model, state)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        return run_layers(self.model, x, state)
