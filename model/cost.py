"""What a step must read and compute at the least, from a model's sizes alone: bytes and FLOPs.

Weights are counted on modules without memory, so what is counted is what is built. Reads only: what a step
writes (one column of keys, activations) is small beside them. A weight that several sub-steps share is
counted once, and the agent's sub-steps of the depth model only: those that foretell the caller are not run.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from model.codec import Codec
from model.config import FRAME_SAMPLES, CodecConfig, CodecTransformerConfig, LmConfig, ModelConfig
from model.conv import CausalConv1d, CausalConvTranspose1d
from model.lm import Lm
from model.seanet import ResidualBlock

FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class LmWeights:
    """Numbers of weights: of the whole model, and of the parts that one step reads whole."""

    total: int
    temporal: int
    text_head: int  # and extra heads
    depth: int  # of the agent's codebooks: layers, entries, heads
    row: int  # of embeddings, for each slot


@dataclass(frozen=True, slots=True)
class CodecWeights:
    """Numbers of weights that coding and decoding a frame read, searched codebooks included."""

    total: int
    encode: int
    decode: int


@dataclass(frozen=True, slots=True)
class StepCost:
    """One step of a batch: what is read once, what for each slot, and what for each step it remembers."""

    weight_bytes: int  # temporal, text head, depth, codec
    slot_bytes: int  # embedding rows, the codec's rings
    key_bytes: int  # keys and values of one remembered step
    slot_flops: int
    key_flops: int

    def num_bytes(self, batch: int, context: float) -> float:
        """Read in one step by so many slots that remember so many steps each."""
        return self.weight_bytes + batch * (self.slot_bytes + self.key_bytes * context)

    def num_flops(self, batch: int, context: float) -> float:
        """Computed in the same step; a multiplication with an addition counts as two."""
        return batch * (self.slot_flops + self.key_flops * context)


def lm_weights(config: LmConfig) -> LmWeights:
    """Count the language model's weights."""
    with torch.device("meta"):
        lm = Lm(config)
    steps, num_sets = config.agent_q, config.num_weight_sets
    used = sorted(set(config.weight_sets[:steps]))
    depth = sum(_size(lm.depformer_in[place]) for place in used)
    depth += sum(_size(head) for head in lm.linears[:steps])
    for layer in lm.depformer.layers:
        for name, part in layer.named_children():
            if name == "gating":
                depth += sum(_size(unit) for unit in list(part.children())[: len(used)])
            else:
                depth += _size(part) * len(used) // num_sets if name == "self_attn" else _size(part)
    tables = [lm.depformer_text_emb, *list(lm.depformer_emb)[: steps - 1]]
    narrow = [table.low_rank for table in tables]
    depth += sum(_size(one) for one in narrow if isinstance(one, nn.Module))
    width = config.depformer_low_rank_embeddings or config.depformer_dim
    return LmWeights(
        total=_size(lm),
        temporal=_size(lm.transformer) + _size(lm.out_norm),
        text_head=_size(lm.text_linear) + _size(lm.extra_heads),
        depth=depth,
        row=config.num_streams * config.dim + steps * width,
    )


def codec_weights(config: CodecConfig) -> CodecWeights:
    """Count the codec's weights; codebooks by their codewords."""
    with torch.device("meta"):
        codec = Codec(config)
    quantizer = config.quantizer
    codebooks = quantizer.n_q * quantizer.bins * quantizer.dimension
    branches = (codec.quantizer.rvq_first, codec.quantizer.rvq_rest)
    encoding = (codec.encoder, codec.encoder_transformer, codec.downsample, codec.prosody)
    decoding = (codec.decoder, codec.decoder_transformer, codec.upsample)
    return CodecWeights(
        total=_size(codec) + codebooks,
        encode=sum(_size(one) for one in encoding if one is not None)
        + sum(_size(one.input_proj) for one in branches)
        + codebooks,
        decode=sum(map(_size, decoding)) + sum(_size(one.output_proj) for one in branches),
    )


def codec_ring_bytes(config: CodecConfig) -> int:
    """Keys and values of both of the codec's transformers, which one slot's step reads whole."""
    both = (config.encoder_transformer, config.decoder_transformer)
    width = config.seanet.dimension * FLOAT32_BYTES
    return sum(2 * one.num_layers * one.context * width for one in both)


def key_bytes(config: LmConfig, kv_dtype: torch.dtype) -> int:
    """Keys and values of one remembered step, with their scales where they have eight bits."""
    own = 2 * config.num_layers * config.dim * kv_dtype.itemsize
    scales = 2 * config.num_layers * config.num_heads * FLOAT32_BYTES if kv_dtype.itemsize == 1 else 0
    return own + scales


def step_cost(config: ModelConfig, dtype: torch.dtype, kv_dtype: torch.dtype | None = None) -> StepCost:
    """What a step costs a model whose language model has weights of `dtype`; the codec is float32."""
    lm, codec = lm_weights(config.lm), codec_weights(config.codec)
    once = lm.temporal + lm.text_head + lm.depth
    return StepCost(
        weight_bytes=once * dtype.itemsize + (codec.encode + codec.decode) * FLOAT32_BYTES,
        slot_bytes=lm.row * dtype.itemsize + codec_ring_bytes(config.codec),
        key_bytes=key_bytes(config.lm, kv_dtype or dtype),
        slot_flops=2 * once + sum(codec_flops(config.codec)),
        key_flops=4 * config.lm.num_layers * config.lm.dim,
    )


def codec_flops(config: CodecConfig) -> tuple[int, int]:
    """FLOPs of coding one frame of one slot, and of decoding it."""
    with torch.device("meta"):
        codec = Codec(config)
    dim, quantizer = config.seanet.dimension, config.quantizer
    projections = 2 * 2 * dim * quantizer.dimension  # of both branches
    latents = FRAME_SAMPLES // config.hop_samples
    searching = 2 * quantizer.n_q * quantizer.bins * quantizer.dimension + projections
    down = 2 * _size(codec.downsample)
    up = 2 * _size(codec.upsample)
    encode = _conv_flops(codec.encoder, FRAME_SAMPLES) + down + searching
    decode = _conv_flops(codec.decoder, latents) + up + projections
    encode += _transformer_flops(codec.encoder_transformer, dim, config.encoder_transformer, latents)
    encode += 2 * latents * _size(codec.prosody) if codec.prosody is not None else 0  # at most
    decode += _transformer_flops(codec.decoder_transformer, dim, config.decoder_transformer, latents)
    return encode, decode


def _conv_flops(stack: nn.Module, length: int) -> int:
    """Of a SEANet half for `length` inputs."""
    total = 0
    for layer in _convolutions(stack.model.children()):  # type: ignore[union-attr]
        if isinstance(layer, CausalConv1d):
            length //= layer.stride
            total += 2 * _matrix(layer) * length
        else:
            total += 2 * _matrix(layer) * length
            length *= layer._layer.stride[0]
    return total


def _convolutions(layers: object) -> list[CausalConv1d | CausalConvTranspose1d]:
    found: list[CausalConv1d | CausalConvTranspose1d] = []
    for layer in layers:  # type: ignore[attr-defined]
        if isinstance(layer, ResidualBlock):
            found += _convolutions(layer.block)
        elif isinstance(layer, CausalConv1d | CausalConvTranspose1d):
            found.append(layer)
    return found


def _transformer_flops(stack: nn.Module, dim: int, config: CodecTransformerConfig, length: int) -> int:
    """`length` steps that see the whole window."""
    return length * (2 * _matrix(stack) + 4 * config.num_layers * dim * config.context)


def _matrix(module: nn.Module) -> int:
    """Weights that are multiplied with: no gains, no biases."""
    return sum(weight.numel() for weight in module.parameters() if weight.dim() > 1)


def _size(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
