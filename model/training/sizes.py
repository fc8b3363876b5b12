"""How large the built-in model is: `small` as it ships, `full` what a two-core machine has room for.

Two calls on one core (plain steps, AMD EPYC): small 21 ms of CPU a tick, full 30 ms, of the 80 ms there are.
"""

from __future__ import annotations

import json
from pathlib import Path

from model.config import (
    CodecConfig,
    CodecTransformerConfig,
    LmConfig,
    ModelConfig,
    ProsodyConfig,
    QuantizerConfig,
    SamplingConfig,
    SeanetConfig,
)
from model.errors import CheckpointError
from model.numbers import DIGIT_WORDS
from model.requests import OPEN_ENDS
from model.training.manners import NUM_CODES

SMALL, FULL = "small", "full"
SIZES = (SMALL, FULL)
CONFIG_FILE = "config.json"
# Words are written down some 0.2 s after they are said. People think for a second in the middle of an order,
# few for longer; where it may have ended, silence of 0.8 s says that it has.
ANSWER_WITHIN_FRAMES, ENDED_WITHIN_FRAMES = 16, 8
# Words after which more is to come, as far as each is one piece of the alphabet.
OPEN_WORDS = tuple(sorted((OPEN_ENDS | set(DIGIT_WORDS)) - {"lots", "without"}))
# Of what is ordered, the words that stand for nothing else on the line: read back if they were heard.
ORDERED_WORDS = (
    "small", "medium", "large", "sixteen", "light", "dark", "single", "double", "triple", "drip", "house",
    "iced", "americano", "cappuccino", "espresso", "latte", "mocha", "skim", "whole", "soy", "almond",
    "cream", "brown", "sugar", "sweetener",
)  # fmt: skip


def _transformer(num_layers: int) -> CodecTransformerConfig:
    return CodecTransformerConfig(
        num_heads=4, num_layers=num_layers, dim_feedforward=1024, context=32, layer_scale=0.3
    )


def _codec(num_codebooks: int, num_encoder_layers: int) -> CodecConfig:
    """Hearing gets the layers; the one voice that it speaks gets two."""
    return CodecConfig(
        seanet=SeanetConfig(dimension=256, n_filters=16, ratios=(4, 5, 6, 8)),
        encoder_transformer=_transformer(num_encoder_layers),
        decoder_transformer=_transformer(2),
        quantizer=QuantizerConfig(dimension=64, n_q=num_codebooks, bins=512),
        prosody=ProsodyConfig(codes=NUM_CODES, dim=96),
    )


def _lm(num_codebooks: int, *, dim: int, num_heads: int, num_layers: int, depth_dim: int) -> LmConfig:
    stream_delays = (0, *[1] * (num_codebooks - 1))
    return LmConfig(
        dim=dim,
        num_heads=num_heads,
        num_layers=num_layers,
        context=375,
        n_q=2 * num_codebooks + 1,  # the last is how the caller speaks
        dep_q=num_codebooks,
        card=512,
        text_card=1024,
        delays=(0, *stream_delays, *stream_delays, 0),
        depformer_dim=depth_dim,
        depformer_dim_feedforward=4 * depth_dim,
        depformer_num_heads=2,
        depformer_num_layers=2,
        extra_heads_num_heads=1,
        extra_heads_dim=1024,
        extra_heads_fed_back=1,
    )


def builtin_config(size: str = SMALL) -> ModelConfig:
    """The built-in model in one of `SIZES`.

    `small`: 17 million weights, 35 MB of float16 files. `full`: two codebooks more for either side (900
    bit/s), six layers that hear, a language model of 320 by 8: 29 million, 57 MB.
    """
    sampling = SamplingConfig(
        text_temperature=0.0,
        text_top_k=10,
        audio_temperature=0.3,
        audio_top_k=50,
        text_once_frames=1,
        recite_from_digits=5,
        answer_within_frames=ANSWER_WITHIN_FRAMES,
        answer_ended_within_frames=ENDED_WITHIN_FRAMES,
        open_words=OPEN_WORDS,
        yield_to_words=1,
        heard_bias=2.0,
        heard_over_line_bias=3.0,
        given_gain=2.0,
        recited_gain=1.5,
        grounded_words=ORDERED_WORDS,
    )
    if size == SMALL:
        lm = _lm(6, dim=256, num_heads=4, num_layers=6, depth_dim=128)
        return ModelConfig("offhook-coffee-v3", _codec(6, 4), lm, sampling)
    assert size == FULL, size
    lm = _lm(8, dim=320, num_heads=5, num_layers=8, depth_dim=160)
    return ModelConfig("offhook-coffee-v3-full", _codec(8, 6), lm, sampling)


def write_config(config: ModelConfig, folder: Path) -> None:
    """`config.json` of a model."""
    text = json.dumps(config.to_json(), indent=2)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def keep_to_size(config: ModelConfig, folder: Path) -> None:
    """Mark a working folder as one of this model's sizes. Its name and how tokens are drawn may change.

    Raises CheckpointError if its stages have begun in other sizes.
    """
    path = folder / CONFIG_FILE
    ours = json.loads(json.dumps(config.to_json()))
    if path.exists():
        begun = json.loads(path.read_text(encoding="utf-8"))
        no_sizes = {"name": "", "sampling": None}
        if begun | no_sizes != ours | no_sizes:
            raise CheckpointError(
                f"{folder} was begun for a model of other sizes ({path}): give the --size it was begun with, "
                "or another --folder"
            )
        if begun == ours:
            return
    write_config(config, folder)
