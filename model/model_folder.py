"""A model folder, published or ours: its files, and what it claims to be. No weight is read here.

A published folder holds the reference package's files by their own names; ours holds config.json,
codec.safetensors, lm.safetensors and tokenizer.model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from model.checkpoint import EXACT, Adapter, Fit, adapter_problems, problems, read_config
from model.codec import Codec
from model.config import ModelConfig
from model.errors import CheckpointError
from model.lm import Lm
from model.presets import (
    CODEC_NAMES,
    DEFAULT_PRESET,
    WEIGHT_NAMES,
    Preset,
    PromptConfig,
    hub_snapshot,
    presets,
)
from model.published_config import (
    HUB_PREFIX,
    Condition,
    PublishedConfig,
    StoredCodec,
    read_codec_config,
    read_published,
)
from model.tensor_file import TensorFile, read_json
from model.tokenizer import TOKENIZER_FILE, read_text_tokenizer
from model.voice_prompt import VoiceShelf

_DEPTH_LIST = re.compile(r"^(?:depformer_in|linears|depformer_emb|depformer\.layers\.\d+\.gating)\.(\d+)\.")
_DEPTH_STACK = re.compile(r"^depformer\.layers\.\d+\.self_attn\.(?:in_proj_weight|out_proj\.weight)$")
_LEVEL = re.compile(r"^quantizer\.rvq_rest\.vq\.layers\.(\d+)\.")


@dataclass(frozen=True)
class LmFit(Fit):
    """A file whose depth model has other steps than ours, and perhaps a table of conditions besides.

    Depth steps that predict the caller are not needed to speak and stay in the file, or are copied from the
    agent's where the file lacks them, as PersonaPlex's own loader does (step k from step k - 8). The table of
    the token before step 8 has no counterpart; it gets the first one's weights, as any would do.
    """

    stored_steps: int
    steps: int
    condition: Condition | None = None

    def is_left_out(self, key: str) -> bool:
        if self.condition is not None and key in condition_keys(self.condition).values():
            return True
        match = _DEPTH_LIST.match(key)
        return match is not None and self.steps < self.stored_steps and int(match[1]) >= self._count(key)

    def lender(self, key: str) -> str:
        match = _DEPTH_LIST.match(key)
        stored = self.stored_steps - key.startswith("depformer_emb.")
        if match is None or int(match[1]) < stored:
            return key
        index = max(0, int(match[1]) - self.stored_steps)
        return f"{key[: match.start(1)]}{index}{key[match.end(1) :]}"

    def rows(self, key: str, stored: int) -> int:
        return stored * self.steps // self.stored_steps if _DEPTH_STACK.match(key) else stored

    def _count(self, key: str) -> int:
        """How many of a list's entries we have; the last step's token is nobody's input."""
        return self.steps - 1 if key.startswith("depformer_emb.") else self.steps


@dataclass(frozen=True)
class CodecFit(Fit):
    """A file with more quantizer levels than the model speaks: the finest stay in it."""

    stored_levels: int
    levels: int

    def is_left_out(self, key: str) -> bool:
        match = _LEVEL.match(key)
        return match is not None and self.levels - 1 <= int(match[1]) < self.stored_levels - 1


def condition_keys(condition: Condition) -> dict[str, str]:
    """Names of a condition's tensors: the table, its projection, and what stands for none (unused)."""
    stem = f"condition_provider.conditioners.{condition.name}."
    return {
        "table": stem + "embed.weight",
        "projection": stem + "output_proj.weight",
        "none": stem + "learnt_padding",
    }


@dataclass(frozen=True)
class ModelFolder:
    """Where everything of a model lies and what it claims to be; no weight is read yet."""

    directory: Path
    name: str
    config: ModelConfig
    weights: Path
    codec: Path
    tokenizer: Path
    licence: str
    is_ours: bool = False
    stored_levels: int = 0  # of the codec's quantizer
    published: PublishedConfig | None = None
    lora: Path | None = None
    prompt: PromptConfig | None = None
    sink_frames: int = 0
    voices: tuple[Path, ...] = field(default=())  # voices/ and voices.tgz, where they are

    def adapter(self) -> Adapter | None:
        """The low-rank changes to the language model's weights, None if there are none."""
        if self.lora is None or self.published is None:
            return None
        return Adapter(TensorFile(self.lora), self.published.lora_rank, self.published.lora_scaling)

    def lm_fit(self, weights: TensorFile) -> Fit:
        """How the language model's file may differ from `config`."""
        if self.published is None:
            return EXACT
        condition, lm = self.published.condition, self.published.lm
        stored = sum(bool(re.fullmatch(r"linears\.\d+\.weight", key)) for key in weights.keys())
        if not lm.agent_codebooks or stored not in (lm.agent_q, lm.dep_q):
            stored = self.config.lm.dep_q  # any difference is an error, told by the keys
        return LmFit(stored, self.config.lm.dep_q, condition)

    def codec_fit(self) -> Fit:
        """How the codec's file may differ from `config`."""
        return CodecFit(self.stored_levels, self.config.codec.quantizer.n_q) if self.stored_levels else EXACT


def open_folder(
    directory: Path, *, hub_cache: Path | None = None, all_depth_steps: bool = False
) -> ModelFolder:
    """Find a model's files and read its configuration.

    `hub_cache` is where files of other repositories are looked for, if the configuration names them.
    Raises CheckpointError or ConfigError naming the file or field that is missing or unknown.
    """
    if not directory.is_dir():
        raise CheckpointError(f"{directory} is no folder; name a model folder")
    path = directory / "config.json"
    tree = read_json(path) if path.exists() else {}
    if "lm" in tree or (directory / "lm.safetensors").exists():
        return _our_folder(directory)
    preset, name = _preset_of(directory, tree)
    where = str(path)
    published = read_published(tree, where, preset.published())
    files = _Files(directory, hub_cache)
    lm = published.lm
    if lm.agent_codebooks and not all_depth_steps:
        lm = replace(lm, dep_q=lm.agent_q)
    stored = StoredCodec(preset.config.codec)
    levels = max(lm.agent_q, lm.caller_q)
    if published.files.codec_config:
        codec_path = files.one(published.files.codec_config)
        stored = read_codec_config(read_json(codec_path), str(codec_path), levels)
    else:
        quantizer = replace(stored.config.quantizer, n_q=levels)
        stored = replace(stored, config=replace(stored.config, quantizer=quantizer))
    names = published.files
    return ModelFolder(
        directory=directory,
        name=name,
        config=ModelConfig(name, stored.config, lm, published.sampling),
        weights=files.one(names.weights, *(WEIGHT_NAMES if "moshi_name" not in tree else ())),
        codec=files.one(names.codec, *(CODEC_NAMES if "mimi_name" not in tree else ())),
        tokenizer=files.one(names.tokenizer),
        licence=preset.licence if preset.name == name else "see its publisher's",
        stored_levels=stored.num_levels,
        published=published,
        lora=files.one(names.lora) if names.lora else None,
        prompt=preset.prompt,
        sink_frames=preset.sink_frames,
        voices=tuple(place for place in (directory / "voices", directory / "voices.tgz") if place.exists()),
    )


def _our_folder(directory: Path) -> ModelFolder:
    config = read_config(directory)
    known = [preset for preset in presets().values() if preset.config == config]
    return ModelFolder(
        directory=directory,
        name=known[0].name if known else config.name,
        config=config,
        weights=directory / "lm.safetensors",
        codec=directory / "codec.safetensors",
        tokenizer=directory / TOKENIZER_FILE,
        licence=known[0].licence if known else "see its maker's",
        is_ours=True,
    )


def _preset_of(directory: Path, tree: dict[str, Any]) -> tuple[Preset, str]:
    """The preset that a published folder follows, and its name: the preset's, if it is that very model."""
    for preset in presets().values():
        parts = {part.lower() for part in directory.parts[-3:]}
        owner_and_name = preset.repository.lower()
        names = {
            preset.name,
            owner_and_name.partition("/")[2],
            "models--" + owner_and_name.replace("/", "--"),
        }
        if preset.repository and names & parts:
            return preset, preset.name
    # the first of a kind stands for it; the built-in model is never published this way
    kinds = {preset.model_type: preset for preset in reversed(presets().values()) if preset.repository}
    kind = tree.get("model_type", "moshi")
    if kind == "moshi" and ((directory / "voices.tgz").exists() or (directory / "voices").is_dir()):
        kind = "personaplex"
    if not isinstance(kind, str):
        kind = DEFAULT_PRESET  # an error, told by who reads the file
    return kinds.get(kind, presets()[DEFAULT_PRESET]), directory.name


@dataclass(frozen=True)
class _Files:
    directory: Path
    hub_cache: Path | None

    def one(self, *names: str) -> Path:
        """The first of these that exists.

        Raises CheckpointError naming them, with the remedy.
        """
        for name in names:
            path = self._elsewhere(name) if name.startswith(HUB_PREFIX) else self.directory / name
            if path is not None and path.is_file():
                return path
        listed = " or ".join(dict.fromkeys(names))
        owner, _, rest = names[0].removeprefix(HUB_PREFIX).partition("/")
        remedy = "download the repository again, whole"
        if names[0].startswith(HUB_PREFIX):
            remedy = f"fetch it with: hf download {owner}/{rest.replace('/', ' ', 1)}"
        raise CheckpointError(f"{self.directory} lacks {listed}; {remedy}")

    def _elsewhere(self, name: str) -> Path | None:
        owner, _, rest = name.removeprefix(HUB_PREFIX).partition("/")
        repository, _, file = rest.partition("/")
        snapshot = None if self.hub_cache is None else hub_snapshot(f"{owner}/{repository}", self.hub_cache)
        return snapshot / file if snapshot is not None and file else None


class _Undrawn(TorchFunctionMode):
    """Leaves out the drawing of first weights. On the meta device that draws nothing, yet loads torch's
    compiler, a second or more of a worker's start."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def empty_modules(config: ModelConfig) -> tuple[Codec, Lm]:
    """Both halves of a model without any memory for weights."""
    with torch.device("meta"), _Undrawn():
        return Codec(config.codec).eval(), Lm(config.lm).eval()


def check_folder(folder: ModelFolder) -> Iterator[str]:
    """Everything by which a folder's files do not fit its configuration, from their headers alone.

    Raises CheckpointError if a file cannot be opened.
    """
    codec, lm = empty_modules(folder.config)
    weights = TensorFile(folder.weights)
    yield from (f"{folder.weights.name}: {line}" for line in problems(lm, weights, folder.lm_fit(weights)))
    adapter = folder.adapter()
    if adapter is not None:
        name = Path(adapter.file.source).name
        yield from (f"{name}: {line}" for line in adapter_problems(lm, weights, adapter))
    stored = TensorFile(folder.codec)
    yield from (f"{folder.codec.name}: {line}" for line in problems(codec, stored, folder.codec_fit()))
    pieces = read_text_tokenizer(folder.tokenizer).card
    if pieces != folder.config.lm.text_card:
        yield f"{folder.tokenizer.name}: {pieces} tokens, the model has {folder.config.lm.text_card}"
    _ = VoiceShelf(folder.voices, folder.config.lm, codec).names  # opens the archive
