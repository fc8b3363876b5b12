"""Small random models of the family, quick enough for every unit test."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import sentencepiece
import torch
from torch import Tensor, nn

from model.codec import Codec
from model.config import (
    CodecConfig,
    CodecTransformerConfig,
    LmConfig,
    ModelConfig,
    QuantizerConfig,
    SamplingConfig,
    SeanetConfig,
)
from model.lm import Lm
from model.numbers import DIGIT_VALUES, DIGIT_WORDS
from model.streaming import State
from model.tokenizer import (
    CONTROL_PIECES,
    EPAD,
    PAD,
    TOKENIZER_FILE,
    WORD_START,
    TextTokenizer,
    load_text_tokenizer,
)

FRAME = 1920

LM_CONFIG = LmConfig(
    dim=64,
    num_heads=4,
    num_layers=2,
    hidden_scale=4.125,
    context=12,
    n_q=16,
    dep_q=8,
    card=32,
    text_card=48,
    depformer_dim=32,
    depformer_dim_feedforward=132,
    depformer_num_heads=2,
    depformer_num_layers=2,
)

# What the family's other members have: narrow token tables and shared depth weights (Hibiki), and a depth
# model that predicts the caller's codes as well (PersonaPlex).
SHARED_LM_CONFIG = replace(
    LM_CONFIG,
    depformer_low_rank_embeddings=6,
    depformer_weights_per_step_schedule=(0, 1, 2, 3, 3, 3, 3, 3),
)
WIDE_LM_CONFIG = replace(LM_CONFIG, dep_q=16, agent_codebooks=8)
# What ours has beside: a transcript head, whose words are read back.
WRITING_LM_CONFIG = replace(
    LM_CONFIG, extra_heads_num_heads=1, extra_heads_dim=LM_CONFIG.text_card, extra_heads_fed_back=1
)

CODEC_TRANSFORMER = CodecTransformerConfig(
    num_heads=4, num_layers=2, dim_feedforward=64, context=14, layer_scale=1.0
)
CODEC_CONFIG = CodecConfig(
    seanet=SeanetConfig(dimension=32, n_filters=4, ratios=(8, 6, 5, 4)),
    encoder_transformer=CODEC_TRANSFORMER,
    decoder_transformer=CODEC_TRANSFORMER,
    quantizer=QuantizerConfig(dimension=16, n_q=8, bins=32),
)


def model_config(text_card: int) -> ModelConfig:
    """Both halves, with a transcript head, for a tokenizer of so many tokens."""
    values = {name: getattr(LM_CONFIG, name) for name in LM_CONFIG.__dataclass_fields__}
    values |= {"text_card": text_card, "extra_heads_num_heads": 1, "extra_heads_dim": text_card}
    return ModelConfig("tiny", CODEC_CONFIG, LmConfig(**values), SamplingConfig())


def write_digits_tokenizer(folder: Path) -> TextTokenizer:
    """A small tokenizer that has one piece for each digit and spells every other lower-case word."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["five fourteen latte again that right", "zero one two three"]),
        model_writer=model,
        vocab_size=80,
        model_type="bpe",
        required_chars="abcdefghijklmnopqrstuvwxyz'",
        normalization_rule_name="identity",
        user_defined_symbols=[*CONTROL_PIECES, *(WORD_START + word for word in DIGIT_VALUES)],
        unk_id=EPAD,
        bos_id=1,
        eos_id=2,
        pad_id=PAD,
        minloglevel=2,
    )
    (folder / TOKENIZER_FILE).write_bytes(model.getvalue())
    return load_text_tokenizer(folder)


def recital_config(tokenizer: TextTokenizer) -> LmConfig:
    """A model that reads back what it wrote, in this alphabet."""
    return replace(
        LM_CONFIG,
        text_card=tokenizer.card,
        extra_heads_num_heads=1,
        extra_heads_dim=tokenizer.card,
        extra_heads_fed_back=1,
    )


def babble_digits(module: Lm, tokenizer: TextTokenizer) -> None:
    """Make a random model's transcript digits and little else, and its text digits in some frames."""
    digits = [tokenizer.encode(word)[0] for word in DIGIT_WORDS]
    others = [token for token in range(tokenizer.card) if token not in digits]
    with torch.no_grad():
        next(module.extra_heads.parameters())[others] = 0
        module.text_linear.weight[others] *= 0.5


def randomize(module: nn.Module, seed: int) -> None:
    """Give every weight, gain, bias and codeword a value that a wrong formula would show."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in sorted(module.state_dict().items()):
        if name.endswith("_initialized"):
            tensor.fill_(1)
        elif name.endswith("cluster_usage"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif name.endswith(("alpha", "scale", "norm1.weight", "norm2.weight")):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif name.endswith("embedding_sum"):
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
        else:
            fan_in = max(1, tensor[0].numel()) if tensor.dim() > 1 else 4
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * fan_in**-0.5)


def codec(seed: int = 0, config: CodecConfig = CODEC_CONFIG) -> Codec:
    """A random codec."""
    module = Codec(config).eval()
    randomize(module, seed)
    return module


def lm(config: LmConfig = LM_CONFIG, seed: int = 0) -> Lm:
    """A random language model."""
    module = Lm(config).eval()
    randomize(module, seed)
    return module


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal floats, the same for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tokens(high: int, *shape: int, seed: int = 0) -> Tensor:
    """Random int64 in 0..high - 1, the same for the same seed."""
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def pieces(x: Tensor, length: int, dim: int = -1) -> list[Tensor]:
    """A sequence cut along a dimension, the last piece perhaps shorter."""
    total = x.shape[dim]
    return [x.narrow(dim, at, min(length, total - at)) for at in range(0, total, length)]


def mask(*flags: int) -> Tensor:
    """Bool [B] from ones and zeros."""
    return torch.tensor(flags, dtype=torch.bool)


def assert_rows_equal(state: State, before: list[Tensor], row: int) -> None:
    """One row's memory is bit for bit what it was."""
    for now, then in zip(state.rows(row), before, strict=True):
        torch.testing.assert_close(now, then, rtol=0, atol=0)
