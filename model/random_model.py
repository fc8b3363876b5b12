"""Models of full or reduced size with random weights, made where they are to run: for benches.

Times and memory do not depend on what the weights are. They are drawn in place, in the dtype they run in, so
that a model needs no more memory than it has.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch
from torch import nn

from model.codec import Codec
from model.config import CodecConfig, CodecTransformerConfig, LmConfig, ModelConfig
from model.errors import ConfigError
from model.lm import Lm
from model.presets import Preset
from model.published import LoadedModel
from model.tokenizer import WORD_START, TextTokenizer
from model.voice_prompt import VoiceShelf

LAYER_SCALE = 0.1


class PlainPieces:
    """Stands in for a SentencePiece model: every token opens a word and spells nothing."""

    def __init__(self, card: int) -> None:
        self._card = card

    def get_piece_size(self) -> int:
        """Number of tokens."""
        return self._card

    def piece_to_id(self, _piece: str) -> int:
        """No piece is known; 0 says so."""
        return 0

    def id_to_piece(self, _token: int) -> str:
        """What each token looks like."""
        return WORD_START


def plain_tokenizer(card: int) -> TextTokenizer:
    """A tokenizer of so many tokens for a model that nobody reads."""
    pieces: Any = PlainPieces(card)
    return TextTokenizer(pieces)


def reduced(config: ModelConfig, width: Fraction, num_layers: int = 0) -> ModelConfig:
    """The same layout with every width divided, and `num_layers` temporal layers (0: as many).

    Heads become fewer rather than narrower; vocabularies, codebooks, windows and delays stay. Raises
    ConfigError if a width cannot be divided so.
    """
    lm = replace(config.lm, num_layers=num_layers or config.lm.num_layers)
    if width == 1:
        return replace(config, lm=lm)
    return replace(config, codec=_narrow_codec(config.codec, width), lm=_narrow_lm(lm, width))


def _narrow_lm(lm: LmConfig, width: Fraction) -> LmConfig:
    names = ("dim", "depformer_dim", "depformer_dim_feedforward")
    sizes: dict[str, Any] = {name: _part(getattr(lm, name), width, name) for name in names}
    if lm.depformer_low_rank_embeddings:
        sizes["depformer_low_rank_embeddings"] = max(1, int(lm.depformer_low_rank_embeddings * width))
    return replace(
        lm,
        **sizes,
        num_heads=max(1, int(lm.num_heads * width)),
        depformer_num_heads=max(1, int(lm.depformer_num_heads * width)),
    )


def _narrow_codec(codec: CodecConfig, width: Fraction) -> CodecConfig:
    def stack(config: CodecTransformerConfig) -> CodecTransformerConfig:
        return replace(
            config,
            num_heads=max(1, int(config.num_heads * width)),
            dim_feedforward=_part(config.dim_feedforward, width, "dim_feedforward"),
        )

    return replace(
        codec,
        seanet=replace(
            codec.seanet,
            dimension=_part(codec.seanet.dimension, width, "dimension"),
            n_filters=_part(codec.seanet.n_filters, width, "n_filters"),
        ),
        encoder_transformer=stack(codec.encoder_transformer),
        decoder_transformer=stack(codec.decoder_transformer),
        quantizer=replace(codec.quantizer, dimension=_part(codec.quantizer.dimension, width, "dimension")),
    )


def _part(size: int, width: Fraction, name: str) -> int:
    part = size * width
    if part.denominator != 1 or part.numerator % 2:
        raise ConfigError(f"--width {width} of {name} {size} is {float(part):g}, which is not an even number")
    return part.numerator


def random_lm(config: LmConfig, device: torch.device, dtype: torch.dtype) -> Lm:
    """A language model that fills no more memory than its weights need."""
    with torch.device("meta"):
        lm = Lm(config)
    lm.to(dtype).to_empty(device=device)
    fill(lm)
    return lm.eval()


def random_model(
    preset: Preset, config: ModelConfig, device: torch.device, dtype: torch.dtype
) -> LoadedModel:
    """A preset's model in the sizes of `config`, with its prompts and its pinned steps.

    It recites nothing and is held to no words: its alphabet has none.
    """
    sampling = replace(
        config.sampling,
        recite_from_digits=0,
        answer_within_frames=0,
        answer_ended_within_frames=0,
        open_words=(),
        yield_to_words=0,
        heard_bias=0.0,
        heard_over_line_bias=0.0,
        given_gain=1.0,
        recited_gain=1.0,
        grounded_words=(),
    )
    config = replace(config, sampling=sampling)
    codec, lm = random_codec(config.codec, device), random_lm(config.lm, device, dtype)
    return LoadedModel(
        name=config.name,
        config=config,
        codec=codec,
        lm=lm,
        tokenizer=plain_tokenizer(config.lm.text_card),
        prompt=preset.prompt,
        voices=VoiceShelf((), config.lm, codec),
        licence=preset.licence,
        sink_frames=preset.sink_frames,
    )


def random_codec(config: CodecConfig, device: torch.device) -> Codec:
    """A codec, float32 as always."""
    with torch.device("meta"):
        codec = Codec(config)
    codec.to_empty(device=device)
    fill(codec)
    return codec.eval()


@torch.no_grad()
def fill(module: nn.Module, seed: int = 0) -> None:
    """Draw every weight in place so that what goes through keeps its size; gains 1, biases 0."""
    generators: dict[torch.device, torch.Generator] = {}
    for name, tensor in module.state_dict().items():
        if name.endswith("bias"):
            tensor.zero_()
        elif name.endswith("scale"):
            tensor.fill_(LAYER_SCALE)
        elif tensor.dim() < 2 or name.endswith("alpha"):
            tensor.fill_(1)
        else:
            device = tensor.device
            if device not in generators:
                generators[device] = torch.Generator(device).manual_seed(seed)
            fan_in = 1 if name.endswith("embedding_sum") else tensor[0].numel()
            tensor.normal_(std=fan_in**-0.5, generator=generators[device])
