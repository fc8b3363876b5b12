"""Small random models, ours and the reference package's (`moshi` 0.2.13), with the same weights.

The reference is an oracle for tests only; it needs NO_TORCH_COMPILE before it is imported.
"""

from __future__ import annotations

import os

os.environ.setdefault("NO_TORCH_COMPILE", "1")

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from moshi.models.lm import LMGen, LMModel
from moshi.models.loaders import get_mimi

from model.checkpoint import load_tensors
from model.codec import Codec
from model.config import LmConfig
from model.lm import Lm
from tests.model.tiny import CODEC_CONFIG, LM_CONFIG, randomize


def lm_pair(config: LmConfig = LM_CONFIG, seed: int = 0) -> tuple[Lm, Any]:
    """Our language model and the reference's, equal in every weight."""
    depth_keys = {
        "depformer_dim": config.depformer_dim,
        "depformer_num_heads": config.depformer_num_heads,
        "depformer_num_layers": config.depformer_num_layers,
        "depformer_dim_feedforward": config.depformer_dim_feedforward,
    }
    reference = LMModel(
        delays=list(config.delays),
        n_q=config.n_q,
        dep_q=config.dep_q,
        card=config.card,
        text_card=config.text_card,
        dim=config.dim,
        num_heads=config.num_heads,
        num_layers=config.num_layers,
        hidden_scale=config.hidden_scale,
        existing_text_padding_id=config.existing_text_padding_id,
        context=config.context,
        causal=True,
        norm="rms_norm_f32",
        gating="silu",
        positional_embedding="rope",
        max_period=config.max_period,
        depformer_multi_linear=True,
        depformer_weights_per_step=True,
        depformer_pos_emb="none",
        depformer_gating="silu",
        extra_heads_num_heads=config.extra_heads_num_heads,
        extra_heads_dim=config.extra_heads_dim or 6,
        device="cpu",
        dtype=torch.float32,
        **depth_keys,
    ).eval()
    randomize(reference, seed)
    ours = Lm(config).eval()
    load_tensors(ours, reference.state_dict(), "oracle")
    return ours, reference


def codec_pair(seed: int = 0) -> tuple[Codec, Any]:
    """Our codec and the reference's, equal in every weight."""
    config = CODEC_CONFIG
    seanet = config.seanet
    transformer = config.encoder_transformer
    reference = get_mimi(
        None,
        device="cpu",
        num_codebooks=config.quantizer.n_q,
        mimi_config={
            "channels": 1,
            "sample_rate": 24_000,
            "frame_rate": 12.5,
            "seanet": {
                "channels": 1,
                "dimension": seanet.dimension,
                "causal": True,
                "n_filters": seanet.n_filters,
                "n_residual_layers": 1,
                "activation": "ELU",
                "compress": seanet.compress,
                "dilation_base": 2,
                "disable_norm_outer_blocks": 0,
                "kernel_size": seanet.kernel_size,
                "residual_kernel_size": seanet.residual_kernel_size,
                "last_kernel_size": seanet.last_kernel_size,
                "norm": "none",
                "pad_mode": "constant",
                "ratios": list(seanet.ratios),
                "true_skip": True,
            },
            "transformer": {
                "d_model": seanet.dimension,
                "num_heads": transformer.num_heads,
                "num_layers": transformer.num_layers,
                "causal": True,
                "layer_scale": transformer.layer_scale,
                "context": transformer.context,
                "conv_layout": True,
                "max_period": transformer.max_period,
                "gating": "none",
                "norm": "layer_norm",
                "positional_embedding": "rope",
                "dim_feedforward": transformer.dim_feedforward,
                "input_dimension": seanet.dimension,
                "output_dimensions": [seanet.dimension],
            },
            "quantizer": {
                "dimension": config.quantizer.dimension,
                "n_q": config.quantizer.n_q,
                "bins": config.quantizer.bins,
                "input_dimension": seanet.dimension,
                "output_dimension": seanet.dimension,
            },
        },
    ).eval()
    randomize(reference, seed)
    ours = Codec(config).eval()
    load_tensors(ours, reference.state_dict(), "oracle")
    return ours, reference


@contextmanager
def reference_generator(reference: Any, batch: int) -> Iterator[Any]:
    """The reference's greedy state machine, entered for `batch` rows; one at a time per model."""
    generator = LMGen(reference, use_sampling=False, support_out_of_sync=True)
    with generator.streaming(batch):
        yield generator
