"""The fields of published configurations, by the names of the reference package.

A field is one of four things: taken over; fixed, because we run one value of it alone; of no consequence
here; or unknown, which is an error, since it may change what the weights mean.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from model.config import FRAME_RATE_HZ, SAMPLE_RATE_HZ
from model.errors import CheckpointError


@dataclass(frozen=True)
class Fields:
    """The fields of one object of a published configuration."""

    taken: Mapping[str, str]  # their name -> ours
    fixed: Mapping[str, Collection[object]]  # their name -> the values that we run
    ignored: Collection[str] = ()
    optional: Collection[str] = ()  # taken or fixed ones that may be absent: their default is what we run

    def take(self, tree: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The fields that are taken over, by our names.

        Raises CheckpointError on an unknown field, a missing one, and a value that we do not run.
        """
        if not isinstance(tree, Mapping):
            raise CheckpointError(f"{where} is no JSON object, but {tree!r}")
        known = {*self.taken, *self.fixed, *self.ignored}
        unknown = sorted(set(tree) - known)
        if unknown:
            raise CheckpointError(
                f"{where} has fields that this version does not know: {', '.join(unknown)}; "
                "they may change what the weights mean, so the model is not run"
            )
        given = {name for name, value in tree.items() if value is not None or name in self.fixed}
        missing = sorted({*self.taken, *self.fixed} - given - set(self.optional))
        if missing:
            raise CheckpointError(f"{where} lacks {', '.join(missing)}")
        for name, values in self.fixed.items():
            if name in tree and tree[name] not in values:
                wanted = " or ".join(repr(value) for value in values)
                raise CheckpointError(f"{where} asks for {name} {tree[name]!r}; only {wanted} is run here")
        # null is how a published file says "without it": our default
        taken = {ours: tree[theirs] for theirs, ours in self.taken.items() if tree.get(theirs) is not None}
        return taken


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


NOTHING: tuple[object, ...] = (None, False, [], {})
LM_FIELDS = Fields(
    taken=_same(
        "dim",
        "num_heads",
        "num_layers",
        "hidden_scale",
        "context",
        "max_period",
        "n_q",
        "dep_q",
        "card",
        "text_card",
        "existing_text_padding_id",
        "delays",
        "depformer_dim",
        "depformer_dim_feedforward",
        "depformer_num_heads",
        "depformer_num_layers",
        "depformer_low_rank_embeddings",
        "depformer_weights_per_step_schedule",
        "extra_heads_num_heads",
        "extra_heads_dim",
    ),
    fixed={
        "causal": (True,),
        "layer_scale": (None,),
        "gating": ("silu",),
        "norm": ("rms_norm_f32",),
        "positional_embedding": ("rope",),
        "kv_repeat": (1,),
        "norm_emb": (False,),
        "bias_proj": (False,),
        "cross_attention": NOTHING,
        "demux_second_stream": (False,),
        "demux_second_text_stream": (False,),
        "text_card_out": (None,),
        "existing_text_end_padding_id": (0,),
        "depformer_causal": (True,),
        "depformer_layer_scale": (None,),
        "depformer_multi_linear": (True,),
        "depformer_gating": ("silu",),
        "depformer_norm": (None,),
        "depformer_pos_emb": ("none",),
        "depformer_weights_per_step": (True,),
    },
    ignored=(
        "depformer_context",  # the depth model always sees its whole frame
        "depformer_max_period",  # and has no positions
        "gradient_checkpointing",
    ),
    optional=(
        "causal",
        "layer_scale",
        "max_period",
        "existing_text_padding_id",
        "depformer_low_rank_embeddings",
        "depformer_weights_per_step_schedule",
        "extra_heads_num_heads",
        "extra_heads_dim",
        "kv_repeat",
        "norm_emb",
        "bias_proj",
        "cross_attention",
        "demux_second_stream",
        "demux_second_text_stream",
        "text_card_out",
        "existing_text_end_padding_id",
        "depformer_causal",
        "depformer_layer_scale",
        "depformer_gating",
        "depformer_norm",
    ),
)
# What the loader takes for itself, beside the language model's own fields.
LOADER_FIELDS = (
    "moshi_name",
    "mimi_name",
    "mimi_config_name",
    "tokenizer_name",
    "lora_name",
    "model_type",
    "lm_gen_config",
    "lora",
    "lora_rank",
    "lora_scaling",
    "quantize",
    "conditioners",
    "fuser",
    "model_id",
    "epoch",
    "version",
    "tts_config",
    "stt_config",
)
SAMPLING_FIELDS = Fields(
    taken={
        "temp_text": "text_temperature",
        "top_k_text": "text_top_k",
        "temp": "audio_temperature",
        "top_k": "audio_top_k",
    },
    fixed={"use_sampling": (True,), "cfg_coef": (1, None)},
    optional=("temp_text", "top_k_text", "temp", "top_k", "use_sampling", "cfg_coef"),
)
CODEC_FIELDS = Fields(
    taken=_same("seanet", "transformer", "quantizer"),
    fixed={"sample_rate": (SAMPLE_RATE_HZ,), "channels": (1,), "frame_rate": (FRAME_RATE_HZ,)},
)
SEANET_FIELDS = Fields(
    taken=_same(
        "dimension",
        "n_filters",
        "ratios",
        "kernel_size",
        "residual_kernel_size",
        "last_kernel_size",
        "compress",
    ),
    fixed={
        "channels": (1,),
        "causal": (True,),
        "n_residual_layers": (1,),
        "activation": ("ELU",),
        "disable_norm_outer_blocks": (0,),
        "norm": ("none",),
        "pad_mode": ("constant",),
        "true_skip": (True,),
    },
    ignored=("dilation_base",),  # a single residual layer has dilation 1 whatever its base
)
CODEC_TRANSFORMER_FIELDS = Fields(
    taken=_same("num_heads", "num_layers", "dim_feedforward", "context", "max_period", "layer_scale"),
    fixed={
        "causal": (True,),
        "conv_layout": (True,),
        "gating": ("none",),
        "norm": ("layer_norm",),
        "positional_embedding": ("rope",),
    },
    ignored=("d_model", "input_dimension", "output_dimensions"),  # the weights' shapes show these
)
QUANTIZER_FIELDS = Fields(
    taken=_same("dimension", "n_q", "bins"), fixed={}, ignored=("input_dimension", "output_dimension")
)
