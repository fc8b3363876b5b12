"""The published config.json, by the names of the reference package, as our configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from model.config import (
    CodecConfig,
    CodecTransformerConfig,
    LmConfig,
    QuantizerConfig,
    SamplingConfig,
    SeanetConfig,
    from_json,
)
from model.errors import CheckpointError
from model.published_fields import (
    CODEC_FIELDS,
    CODEC_TRANSFORMER_FIELDS,
    LM_FIELDS,
    LOADER_FIELDS,
    QUANTIZER_FIELDS,
    SAMPLING_FIELDS,
    SEANET_FIELDS,
)

DIALOGUE_TYPES = ("moshi", "hibiki", "personaplex")
HUB_PREFIX = "hf://"
MAX_NAME_BYTES = 255  # of a file
FUSER_WAYS = ("sum", "cross", "prepend")


@dataclass(frozen=True)
class Condition:
    """A fixed choice from a table, added to every input of the temporal model (Hibiki's speaker likeness)."""

    name: str
    values: tuple[str, ...]  # the table's first rows, in order


@dataclass(frozen=True)
class FileNames:
    """The files of a published folder; a name may point into another repository (hf://owner/name/file)."""

    weights: str = "model.safetensors"
    codec: str = "tokenizer-e351c8d8-checkpoint125.safetensors"
    tokenizer: str = "tokenizer_spm_32k_3.model"
    codec_config: str = ""
    lora: str = ""


@dataclass(frozen=True)
class PublishedConfig:
    """What a published config.json says."""

    model_type: str
    lm: LmConfig
    sampling: SamplingConfig
    files: FileNames
    lora_rank: int = 0  # 0: no low-rank changes
    lora_scaling: float = 2.0
    is_quantized: bool = False
    condition: Condition | None = None


@dataclass(frozen=True)
class StoredCodec:
    """A codec and how many levels its file holds; the model may use fewer of them."""

    config: CodecConfig = field(default_factory=CodecConfig)
    num_levels: int = 32


def read_published(tree: Mapping[str, Any], where: str, default: PublishedConfig) -> PublishedConfig:
    """Take a published config.json apart; what it does not speak of is as in `default`.

    Raises CheckpointError naming a field that is unknown or asks for what we do not run, ConfigError if the
    sizes contradict each other.
    """
    model_type = tree.get("model_type", "moshi")
    if model_type not in DIALOGUE_TYPES:
        raise CheckpointError(
            f"{where} describes a model of type {model_type!r}; "
            f"dialogue models are {', '.join(DIALOGUE_TYPES)}"
        )
    own = {name: value for name, value in tree.items() if name not in LOADER_FIELDS}
    lm, condition = default.lm, default.condition
    if own:  # a file may speak of names alone
        if own.get("text_card_out") == own.get("text_card"):
            own.pop("text_card_out", None)
        taken = LM_FIELDS.take(own, where)
        if taken["dep_q"] == taken["n_q"]:  # the depth model predicts both sides, the agent's first
            taken["agent_codebooks"] = taken["n_q"] // 2
        lm = from_json(LmConfig, taken)
        condition = _condition(tree, where)
    sampling = tree.get("lm_gen_config") or {}
    settings = {
        "text_temperature": default.sampling.text_temperature,
        "text_top_k": default.sampling.text_top_k,
        "audio_temperature": default.sampling.audio_temperature,
        "audio_top_k": default.sampling.audio_top_k,
    } | SAMPLING_FIELDS.take(sampling, f"{where}: lm_gen_config")
    has_lora = bool(tree.get("lora", False))
    is_quantized = bool(tree.get("quantize", default.is_quantized))
    if has_lora and is_quantized:
        raise CheckpointError(
            f"{where} asks for low-rank changes (lora) to weights of 8 bits (quantize); they need the full "
            "weights: take the bf16 repository as the base"
        )
    return PublishedConfig(
        model_type=model_type,
        lm=lm,
        sampling=from_json(SamplingConfig, settings),
        files=_file_names(tree, where, default.files, has_lora),
        lora_rank=int(_number(tree, "lora_rank", 128, where)) if has_lora else 0,
        lora_scaling=_number(tree, "lora_scaling", 2.0, where),
        is_quantized=is_quantized,
        condition=condition,
    )


def _number(tree: Mapping[str, Any], name: str, default: float, where: str) -> float:
    value = tree.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise CheckpointError(f"{where} says {name} {value!r}, where a number above 0 is needed")
    return float(value)


def _file_names(tree: Mapping[str, Any], where: str, default: FileNames, has_lora: bool) -> FileNames:
    names = FileNames(
        weights=tree.get("moshi_name") or default.weights,
        codec=tree.get("mimi_name") or default.codec,
        tokenizer=tree.get("tokenizer_name") or default.tokenizer,
        codec_config=tree.get("mimi_config_name") or "",
        lora=(tree.get("lora_name") or "lora.safetensors") if has_lora else "",
    )
    for name in (names.weights, names.codec, names.tokenizer, names.codec_config, names.lora):
        is_short = isinstance(name, str) and len(name.encode(errors="replace")) <= MAX_NAME_BYTES
        is_plain = is_short and PurePosixPath(name).name == name
        is_elsewhere = is_short and name.startswith(HUB_PREFIX) and ".." not in name.split("/")
        if name and not (is_plain or is_elsewhere):
            raise CheckpointError(
                f"{where} names the file {name!r}; write a plain file name, or {HUB_PREFIX}owner/name/file"
            )
    return names


def _condition(tree: Mapping[str, Any], where: str) -> Condition | None:
    """The one kind of conditioning that is run: one look-up table, summed."""
    conditioners, fuser = tree.get("conditioners") or {}, tree.get("fuser") or {}
    match (conditioners, fuser if isinstance(fuser, dict) else {"sum": fuser}):
        case {}, ways if not conditioners and not any(ways.get(way) for way in FUSER_WAYS):
            return None
        case {**named}, {"sum": [name], **rest} if [name] == list(named) and not (
            rest.get("cross") or rest.get("prepend")
        ):
            match named[name]:
                case {"type": "lut", "lut": {"tokenizer": "noop", "possible_values": [_, *_] as values}}:
                    return Condition(name, tuple(values))
    raise CheckpointError(
        f"{where} asks for conditioners {conditioners} with fuser {fuser}; of conditioning only a single "
        "look-up table that is summed to the input is run here"
    )


def read_codec_config(tree: Mapping[str, Any], where: str, num_levels: int) -> StoredCodec:
    """A published codec configuration, cut to so many levels of its quantizer.

    Raises CheckpointError or ConfigError as `read_published` does.
    """
    taken = CODEC_FIELDS.take(tree, where)
    transformer = from_json(
        CodecTransformerConfig, CODEC_TRANSFORMER_FIELDS.take(taken["transformer"], f"{where}: transformer")
    )
    quantizer = from_json(QuantizerConfig, QUANTIZER_FIELDS.take(taken["quantizer"], f"{where}: quantizer"))
    if quantizer.n_q < num_levels:
        raise CheckpointError(f"{where}: the model speaks {num_levels} levels, the codec has {quantizer.n_q}")
    seanet = from_json(SeanetConfig, SEANET_FIELDS.take(taken["seanet"], f"{where}: seanet"))
    used = QuantizerConfig(quantizer.dimension, num_levels, quantizer.bins)
    return StoredCodec(CodecConfig(seanet, transformer, transformer, used), quantizer.n_q)
