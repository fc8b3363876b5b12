"""How much memory a model takes: its weights once, and what each call remembers."""

from __future__ import annotations

from model.config import CodecConfig, LmConfig, ModelConfig
from model.model_folder import empty_modules

FLOAT32_BYTES, BFLOAT16_BYTES = 4, 2


def num_parameters(config: ModelConfig) -> tuple[int, int]:
    """Numbers that the language model's and the codec's files hold."""
    codec, lm = (sum(t.numel() for t in module.state_dict().values()) for module in empty_modules(config))
    return lm, codec


def weight_bytes(config: ModelConfig, number_bytes: int) -> int:
    """Memory of the weights: `number_bytes` for each of the language model's, the codec's are float32."""
    lm, codec = num_parameters(config)
    return lm * number_bytes + codec * FLOAT32_BYTES


def call_bytes(config: ModelConfig, number_bytes: int) -> int:
    """Memory of one call that has filled its window, `number_bytes` for each key and value of the language
    model; the codec's convolutions (0.1 MB) are left out."""
    return _lm_window(config.lm) * number_bytes + _codec_windows(config.codec) * FLOAT32_BYTES


def _lm_window(lm: LmConfig) -> int:
    return 2 * lm.num_layers * lm.dim * lm.context


def _codec_windows(codec: CodecConfig) -> int:
    transformers = (codec.encoder_transformer, codec.decoder_transformer)
    return sum(2 * each.num_layers * codec.seanet.dimension * each.context for each in transformers)
