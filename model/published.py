"""Load a model of the family from its own files: published ones as they are, or ours.

The codec is always float32: in fewer bits its codes differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from model.checkpoint import fill
from model.codec import Codec
from model.config import ModelConfig, SamplingConfig
from model.errors import CheckpointError
from model.lm import Lm
from model.model_folder import ModelFolder, condition_keys, empty_modules, open_folder
from model.numbers import DIGIT_WORDS
from model.presets import PromptConfig
from model.published_config import Condition
from model.tensor_file import TensorFile
from model.tokenizer import TextTokenizer, read_text_tokenizer
from model.voice_prompt import VoiceShelf

EARLY_END = 2  # Hibiki may draw the sentence's end while the caller still speaks: it is read as padding
CONDITION_VALUE = "very_good"  # the likeness that its publisher's programs ask for


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to run."""

    name: str
    config: ModelConfig
    codec: Codec
    lm: Lm
    tokenizer: TextTokenizer
    prompt: PromptConfig | None  # None: the model takes none
    voices: VoiceShelf
    licence: str
    sink_frames: int


def load_model(
    directory: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    hub_cache: Path | None = None,
    all_depth_steps: bool = False,
) -> LoadedModel:
    """Load a model folder, published or ours, onto a device.

    `dtype` of the language model; None: float32 on a CPU and for our own small models, bfloat16 for
    published ones elsewhere. Host memory stays below that of the largest tensor where the device has its own.
    `all_depth_steps` keeps the depth steps that predict the caller (PersonaPlex: 0.7 B parameters), which
    training may want; without it `config.lm.dep_q` is the number of the agent's codebooks.
    Raises CheckpointError or ConfigError naming the file, what is wrong with it, and the remedy.
    """
    folder = open_folder(directory, hub_cache=hub_cache, all_depth_steps=all_depth_steps)
    if dtype is None:
        is_small = folder.is_ours or torch.device(device).type == "cpu"
        dtype = torch.float32 if is_small else torch.bfloat16
    tokenizer = read_text_tokenizer(folder.tokenizer)
    if tokenizer.card != folder.config.lm.text_card:
        raise CheckpointError(
            f"{directory}: the tokenizer has {tokenizer.card} tokens, "
            f"the model {folder.config.lm.text_card}; they belong to different models"
        )
    codec, lm = empty_modules(folder.config)
    fill(codec, TensorFile(folder.codec), device=device, dtype=torch.float32, fit=folder.codec_fit())
    _fill_lm(lm, folder, device, dtype)
    gains = _gains(tokenizer, folder.config.sampling)
    if any(gain != 1 for gain in gains.values()):
        lm.amplify(gains)
    return LoadedModel(
        name=folder.name,
        config=folder.config,
        codec=codec,
        lm=lm,
        tokenizer=tokenizer,
        prompt=folder.prompt,
        voices=VoiceShelf(folder.voices, folder.config.lm, codec),
        licence=folder.licence,
        sink_frames=folder.sink_frames,
    )


def _gains(tokenizer: TextTokenizer, sampling: SamplingConfig) -> dict[int, float]:
    """Of each token that is sounded: neither padding nor controls are amplified."""
    pieces = {token: tokenizer.piece(token) for token in range(tokenizer.card)}
    words = [token for token, piece in pieces.items() if any(sign.isalnum() for sign in piece)]
    spelt = (tokenizer.encode(word) for word in DIGIT_WORDS)
    digits = [tokens[0] for tokens in spelt if len(tokens) == 1]  # a part of one is one of other words, too
    return dict.fromkeys(words, sampling.given_gain) | dict.fromkeys(digits, sampling.recited_gain)


def _fill_lm(lm: Lm, folder: ModelFolder, device: torch.device | str, dtype: torch.dtype) -> None:
    weights = TensorFile(folder.weights)
    fill(lm, weights, device=device, dtype=dtype, fit=folder.lm_fit(weights), adapter=folder.adapter())
    if folder.published is None:
        return
    table: nn.Embedding = lm.text_emb
    if folder.published.model_type == "hibiki":
        table.weight[EARLY_END] = table.weight[folder.config.lm.existing_text_padding_id]
    if folder.published.condition is not None:
        _add_condition(table, weights, folder.published.condition)


def _add_condition(table: nn.Embedding, weights: TensorFile, condition: Condition) -> None:
    """Add the condition to every text token's row: each column has exactly one of them, so this is the same
    as adding it to every column."""
    keys = condition_keys(condition)
    missing = sorted(set(keys.values()) - set(weights.keys()))
    if missing or CONDITION_VALUE not in condition.values:
        raise CheckpointError(
            f"{weights.source} lacks {', '.join(missing) or f'the condition {CONDITION_VALUE}'}"
        )
    row = weights.read(keys["table"])[condition.values.index(CONDITION_VALUE)].float()
    added = weights.read(keys["projection"]).float() @ row  # float32 [dim]
    table.weight.copy_(table.weight.float() + added.to(table.weight.device))
