"""The codec: 24 kHz waveform <-> codes at 12.5 Hz, whole or streamed, many calls a batch.

Source: Mimi (arXiv 2410.00037, section 3.3). Encoding and decoding have separate states, so that a call's
two directions can be reset and masked on their own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.config import FRAME_SAMPLES, CodecConfig
from model.conv import CausalConv1d, CausalConvTranspose1d
from model.prosody import ProsodyListener
from model.quantizer import SplitQuantizer
from model.seanet import SeanetDecoder, SeanetEncoder
from model.streaming import State
from model.transformer import ProjectedTransformer


class _Resample(nn.Module):
    """Holds a resampling convolution under the inner name that published checkpoints use."""

    def __init__(self, name: str, layer: nn.Module) -> None:
        super().__init__()
        self.add_module(name, layer)


class Codec(nn.Module):
    """Waveform float [B, 1, T] <-> codes int64 [B, n_q, T / 1920], and of callers how they speak."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        dim = config.seanet.dimension
        self.config = config
        self.encoder = SeanetEncoder(config.seanet)
        self.decoder = SeanetDecoder(config.seanet)
        self.encoder_transformer = ProjectedTransformer(dim, config.encoder_transformer)
        self.decoder_transformer = ProjectedTransformer(dim, config.decoder_transformer)
        self.downsample = _Resample("conv", CausalConv1d(dim, dim, 4, stride=2, bias=False, pad="replicate"))
        # Depthwise, as in the published checkpoints.
        self.upsample = _Resample(
            "convtr", CausalConvTranspose1d(dim, dim, 4, stride=2, groups=dim, bias=False)
        )
        self.quantizer = SplitQuantizer(dim, config.quantizer)
        self.prosody = ProsodyListener(config.prosody, dim) if config.prosody.codes else None

    @property
    def _down(self) -> CausalConv1d:
        layer = self.downsample.conv
        assert isinstance(layer, CausalConv1d)
        return layer

    @property
    def _up(self) -> CausalConvTranspose1d:
        layer = self.upsample.convtr
        assert isinstance(layer, CausalConvTranspose1d)
        return layer

    def encoder_state(self, batch: int) -> State:
        """What encoding remembers, for `batch` rows that have heard nothing."""
        state = State.root(batch, self._device)
        self.encoder.init_state(state.child("seanet"))
        self.encoder_transformer.init_state(state.child("transformer"))
        self._down.init_state(state.child("downsample"))
        if self.prosody is not None:
            self.prosody.init_state(state.child("prosody"))
        return state

    def decoder_state(self, batch: int) -> State:
        """What decoding remembers, for `batch` rows that have said nothing."""
        state = State.root(batch, self._device)
        self._up.init_state(state.child("upsample"))
        self.decoder_transformer.init_state(state.child("transformer"))
        self.decoder.init_state(state.child("seanet"))
        return state

    @property
    def _device(self) -> torch.device:
        return next(self.parameters()).device

    def local_features(self, pcm: Tensor, state: State | None = None) -> Tensor:
        """What the convolutions make of it: float [B, 1, T] -> [B, C, T / 960]."""
        if pcm.shape[-1] % FRAME_SAMPLES:
            raise ValueError(f"{pcm.shape[-1]} samples are no whole number of frames of {FRAME_SAMPLES}")
        y: Tensor = self.encoder(pcm, state and state.child("seanet"))
        return y

    def _features(self, local: Tensor, state: State | None) -> Tensor:
        y: Tensor = self.encoder_transformer(local, state and state.child("transformer"))
        return y

    def features(self, pcm: Tensor, state: State | None = None) -> Tensor:
        """Latents at 25 Hz, before down-sampling: float [B, 1, T] -> [B, C, T / 960]."""
        return self._features(self.local_features(pcm, state), state)

    def latent(self, pcm: Tensor, state: State | None = None) -> Tensor:
        """What the quantizer sees: float [B, 1, T] -> [B, C, T / 1920]."""
        y: Tensor = self._down(self.features(pcm, state), state and state.child("downsample"))
        return y

    def encode(self, pcm: Tensor, state: State | None = None) -> Tensor:
        """Float [B, 1, T] -> int64 [B, encoded_q, T / 1920]; how it was said comes last."""
        local = self.local_features(pcm, state)
        latent = self._down(self._features(local, state), state and state.child("downsample"))
        codes = self.quantizer.encode(latent)
        if self.prosody is None:
            return codes
        manner = self.prosody.codes(local, pcm, state and state.child("prosody"))
        return torch.cat([codes, manner], dim=1)

    def decode(self, codes: Tensor, state: State | None = None) -> Tensor:
        """Int64 [B, n_q or more, T] -> float [B, 1, 1920 T]; what `encode` gives beyond n_q is not used."""
        return self.synthesize(self.quantizer.decode(codes[:, : self.config.quantizer.n_q]), state)

    def synthesize(self, latent: Tensor, state: State | None = None) -> Tensor:
        """Waveform of (quantized) latents: float [B, C, T] -> [B, 1, 1920 T]."""
        x = self._up(latent, state and state.child("upsample"))
        x = self.decoder_transformer(x, state and state.child("transformer"))
        y: Tensor = self.decoder(x, state and state.child("seanet"))
        return y
