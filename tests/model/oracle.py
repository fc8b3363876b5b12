"""Small random models, ours and the reference package's (`moshi` 0.2.13), with the same weights.

The reference is an oracle for tests only; it needs NO_TORCH_COMPILE before it is imported.
"""

from __future__ import annotations

import os

os.environ.setdefault("NO_TORCH_COMPILE", "1")

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from moshi.models.lm import LMGen, LMModel
from moshi.models.loaders import get_mimi

from model.checkpoint import load_tensors
from model.codec import Codec
from model.config import FRAME_RATE_HZ, SAMPLE_RATE_HZ, CodecConfig, LmConfig
from model.lm import Lm
from tests.model.tiny import CODEC_CONFIG, LM_CONFIG, randomize

__all__ = ["LMGen", "codec_pair", "lm_pair", "reference_generator"]

SEANET_KEYS = {
    "channels": 1,
    "causal": True,
    "n_residual_layers": 1,
    "activation": "ELU",
    "dilation_base": 2,
    "disable_norm_outer_blocks": 0,
    "norm": "none",
    "pad_mode": "constant",
    "true_skip": True,
}
TRANSFORMER_KEYS = {
    "causal": True,
    "conv_layout": True,
    "gating": "none",
    "norm": "layer_norm",
    "positional_embedding": "rope",
}
LM_FIELDS = {
    "causal": True,
    "norm": "rms_norm_f32",
    "gating": "silu",
    "positional_embedding": "rope",
    "depformer_multi_linear": True,
    "depformer_weights_per_step": True,
    "depformer_pos_emb": "none",
    "depformer_gating": "silu",
}


def lm_pair(config: LmConfig = LM_CONFIG, seed: int = 0) -> tuple[Lm, Any]:
    """Our language model and the reference's, equal in every weight."""
    reference = reference_lm(config, seed)
    ours = Lm(config).eval()
    load_tensors(ours, reference.state_dict(), "oracle")
    return ours, reference


def published_fields(config: LmConfig) -> dict[str, Any]:
    """The fields of a published config.json for these sizes, all of them that JSON can hold."""
    fields = asdict(config)
    del fields["agent_codebooks"], fields["extra_heads_fed_back"]  # there is nothing of the kind
    fields["delays"] = list(config.delays)
    fields["depformer_low_rank_embeddings"] = config.depformer_low_rank_embeddings or None
    fields["depformer_weights_per_step_schedule"] = list(config.depformer_weights_per_step_schedule) or None
    return fields | LM_FIELDS


def reference_lm(config: LmConfig, seed: int = 0) -> Any:
    """The reference's language model with random weights, on the CPU in float32."""
    build: Any = LMModel
    reference = build(**published_fields(config), device="cpu", dtype=torch.float32).eval()
    randomize(reference, seed)
    return reference


def codec_pair(config: CodecConfig = CODEC_CONFIG, seed: int = 0) -> tuple[Codec, Any]:
    """Our codec and the reference's, equal in every weight."""
    reference = reference_codec(config, seed, config.quantizer.n_q)
    ours = Codec(config).eval()
    load_tensors(ours, reference.state_dict(), "oracle")
    return ours, reference


def reference_codec_fields(config: CodecConfig, levels: int) -> dict[str, Any]:
    """A published codec configuration of these sizes with so many levels."""
    dim = config.seanet.dimension
    sizes = {"d_model": dim, "input_dimension": dim, "output_dimensions": [dim]}
    return {
        "channels": 1,
        "sample_rate": SAMPLE_RATE_HZ,
        "frame_rate": FRAME_RATE_HZ,
        "seanet": asdict(config.seanet) | SEANET_KEYS,
        "transformer": asdict(config.encoder_transformer) | TRANSFORMER_KEYS | sizes,
        "quantizer": asdict(config.quantizer)
        | {"n_q": levels, "input_dimension": dim, "output_dimension": dim},
    }


def reference_codec(config: CodecConfig, seed: int, levels: int) -> Any:
    """The reference's codec with random weights and so many levels."""
    keys = reference_codec_fields(config, levels)
    reference = get_mimi(None, device="cpu", num_codebooks=levels, mimi_config=keys).eval()
    randomize(reference, seed)
    return reference


@contextmanager
def reference_generator(reference: Any, batch: int) -> Iterator[Any]:
    """The reference's greedy state machine, entered for `batch` rows; one at a time per model."""
    generator = LMGen(reference, use_sampling=False, support_out_of_sync=True)
    with generator.streaming(batch):
        yield generator
