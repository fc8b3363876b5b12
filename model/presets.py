"""The models of the family that we know by name: sizes, files, licences, prompts; and where they may lie.

Sizes of Moshi: arXiv 2410.00037, tables 1 and 2. PersonaPlex: its loader's settings (NVIDIA/personaplex,
2026-03). Hibiki 2B: the config.json of its repository (arXiv 2502.03382). No weights here, no environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from model.checkpoint import read_config
from model.config import CodecConfig, LmConfig, ModelConfig, QuantizerConfig, SamplingConfig
from model.errors import CheckpointError
from model.published_config import Condition, FileNames, PublishedConfig

BUILTIN = Path(__file__).parent / "builtin"
# Models in this package, the default one first; a size whose folder was not shipped is left out.
SHIPPED = {"builtin": BUILTIN, "builtin-small": BUILTIN.with_name("builtin_small")}
DEFAULT_PRESET = "moshiko"
CC_BY = "CC-BY-4.0"
MAX_NAME_BYTES = 4095  # of a path; each part has 255 at the most
MAX_PART_BYTES = 255  # of one folder's name on the file systems in use

# Newer repositories hold the same codec under another name.
CODEC_NAMES = ("tokenizer-e351c8d8-checkpoint125.safetensors", "mimi-pytorch-e351c8d8@125.safetensors")
# The last is what moshi-finetune calls a model that it trained whole.
WEIGHT_NAMES = ("model.safetensors", "model.q8.safetensors", "consolidated.safetensors")


@dataclass(frozen=True)
class PromptConfig:
    """How a model is told before a call whose voice it has and who it is.

    Voice, pause, role, pause; one frame for each code column and for each text token.
    """

    silence_codes: tuple[int, ...]  # of the agent, during pauses and role
    sine_codes: tuple[int, ...]  # of the caller, all the time: a 440 Hz tone stands for nobody
    pause_frames: int = 6
    role_tag: str = "<system>"

    def wrap_role(self, role: str) -> str:
        """The role as the model was trained to read it: the same tag before and after."""
        text = role.strip()
        if text.startswith(self.role_tag) and text.endswith(self.role_tag) and len(text) > len(self.role_tag):
            return text
        return f"{self.role_tag} {text} {self.role_tag}"


@dataclass(frozen=True)
class Preset:
    """A model by name, as it is published."""

    name: str
    summary: str
    config: ModelConfig
    licence: str
    repository: str = ""  # owner/name on the hub; empty: in this package
    files: FileNames = field(default_factory=FileNames)
    model_type: str = "moshi"
    prompt: PromptConfig | None = None
    voices: tuple[str, ...] = ()
    sink_frames: int = 0  # a call's first frames that stay in the window when it rolls, beside a prompt's
    is_quantized: bool = False  # weights of 8 bits in the file
    is_gated: bool = False  # its publisher wants the licence accepted before a download
    condition: Condition | None = None

    @property
    def fetch_command(self) -> str:
        """What downloads it into the hub's cache, where it is found afterwards."""
        return f"hf download {self.repository}" if self.repository else ""

    def published(self) -> PublishedConfig:
        """What a config.json would say, for folders that have none or a short one."""
        return PublishedConfig(
            model_type=self.model_type,
            lm=self.config.lm,
            sampling=self.config.sampling,
            files=self.files,
            is_quantized=self.is_quantized,
            condition=self.condition,
        )


def _mimi(levels: int) -> CodecConfig:
    """The published codec, of whose 32 levels a model uses the coarsest."""
    return CodecConfig(quantizer=QuantizerConfig(n_q=levels))


def _moshi(name: str, voice: str, *, is_quantized: bool = False) -> Preset:
    bits = "q8" if is_quantized else "bf16"
    return Preset(
        name=f"{name}-q8" if is_quantized else name,
        summary=f"free conversation, English, one {voice} voice"
        + (", stored in 8 bits" if is_quantized else ""),
        config=ModelConfig(f"{name}-{bits}", _mimi(8), LmConfig()),
        licence=CC_BY,
        repository=f"kyutai/{name}-pytorch-{bits}",
        files=FileNames(weights=WEIGHT_NAMES[is_quantized]),
        sink_frames=4,
        is_quantized=is_quantized,
    )


def _personaplex() -> Preset:
    voices = [f"NAT{sex}{number}" for sex in "FM" for number in range(4)]
    voices += [f"VAR{sex}{number}" for sex in "FM" for number in range(5)]
    return Preset(
        name="personaplex",
        summary="takes a role in words, and one of 18 voices or any recorded one; English",
        config=ModelConfig("personaplex-7b-v1", _mimi(8), LmConfig(dep_q=16, agent_codebooks=8)),
        licence="NVIDIA Open Model License",
        repository="nvidia/personaplex-7b-v1",
        model_type="personaplex",
        prompt=PromptConfig(
            silence_codes=(948, 243, 1178, 546, 1736, 1030, 1978, 2008),
            sine_codes=(430, 1268, 381, 1611, 1095, 1495, 56, 472),
        ),
        voices=tuple(voices),
        is_gated=True,
    )


def _hibiki() -> Preset:
    delays = (0, *[2] * 15)
    lm = LmConfig(
        dim=2560,
        num_heads=20,
        num_layers=24,
        context=1500,
        max_period=100_000.0,
        n_q=32,
        dep_q=16,
        text_card=48_000,
        delays=(0, *delays, *delays),
        depformer_dim_feedforward=3072,
        depformer_num_layers=4,
        depformer_low_rank_embeddings=128,
        depformer_weights_per_step_schedule=(*range(8), *[8] * 8),
    )
    sampling = SamplingConfig(text_temperature=0.8, text_top_k=50)
    return Preset(
        name="hibiki-2b",
        summary="interprets a French caller into English as they speak, in a like voice",
        config=ModelConfig("hibiki-2b-bf16", _mimi(16), lm, sampling),
        licence=CC_BY,
        repository="kyutai/hibiki-2b-pytorch-bf16",
        files=FileNames(
            weights="hibiki-pytorch-ccef4858@200.safetensors",
            codec=CODEC_NAMES[1],
            tokenizer="tokenizer_spm_48k_multi6_2.model",
        ),
        model_type="hibiki",
        sink_frames=4,
        condition=Condition("description", ("very_bad", "bad", "neutral", "good", "very_good")),
    )


@cache
def presets() -> dict[str, Preset]:
    """Every model that we know, by name; the built-in one first."""
    shipped = [
        Preset(
            name=name,
            summary="Offhook Coffee's order line, English; runs on any CPU",
            config=read_config(folder),
            licence="GPL-3.0-or-later",
        )
        for name, folder in SHIPPED.items()
        if folder.is_dir()
    ]
    listed = [
        *shipped,
        _moshi("moshiko", "male"),
        _moshi("moshika", "female"),
        _personaplex(),
        _hibiki(),
        _moshi("moshiko", "male", is_quantized=True),
        _moshi("moshika", "female", is_quantized=True),
    ]
    return {preset.name: preset for preset in listed}


def hub_cache_folder(environ: Mapping[str, str]) -> Path:
    """Where the hub's own tools keep what they download, under these environment variables."""
    if environ.get("HF_HUB_CACHE"):
        return Path(environ["HF_HUB_CACHE"]).expanduser()
    if environ.get("HF_HOME"):
        return Path(environ["HF_HOME"]).expanduser() / "hub"
    base = Path(environ["XDG_CACHE_HOME"]) if environ.get("XDG_CACHE_HOME") else Path("~/.cache")
    return base.expanduser() / "huggingface" / "hub"


def hub_snapshot(repository: str, hub_cache: Path) -> Path | None:
    """The folder of a repository's downloaded main revision in a hub cache, None if there is none.

    Source: the cache layout that huggingface_hub documents (models--owner--name/{refs,snapshots}).
    """
    root = hub_cache / ("models--" + repository.replace("/", "--"))
    try:
        revision = (root / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    snapshot = root / "snapshots" / Path(revision).name
    return snapshot if revision and snapshot.is_dir() else None


def find_model(name_or_path: str, *, directory: Path | None = None, hub_cache: Path | None = None) -> Path:
    """The folder of a model: a preset's name, a hub repository (owner/name), or a path.

    Looked for in this order: the path itself, a folder of that name in `directory`, the hub's cache.
    Raises CheckpointError that says where it was looked for and how to fetch it.
    """
    preset = presets().get(name_or_path)
    if preset is not None and not preset.repository:
        return SHIPPED[preset.name]
    parts = [len(part) for part in name_or_path.encode(errors="replace").split(b"/")]
    if sum(parts) > MAX_NAME_BYTES or max(parts) > MAX_PART_BYTES:
        raise CheckpointError(f"{name_or_path[:40]}... is longer than a folder's or a model's name can be")
    if preset is None and Path(name_or_path).is_dir():
        return Path(name_or_path)
    repository = preset.repository if preset else name_or_path
    is_repository = (
        repository.count("/") == 1 and ".." not in repository and not repository.startswith((".", "/"))
    )
    if not is_repository:
        known = ", ".join(presets())
        raise CheckpointError(f"{name_or_path} is no folder and no model that is known by name ({known})")
    if directory is not None:
        for name in {name_or_path, repository.partition("/")[2]}:
            if (directory / name).is_dir():
                return directory / name
    snapshot = None if hub_cache is None else hub_snapshot(repository, hub_cache)
    if snapshot is not None:
        return snapshot
    places = [str(place) for place in (directory, hub_cache) if place is not None]
    raise CheckpointError(
        f"{name_or_path} is not on this machine (looked in {' and '.join(places) or 'no folder'}); "
        f"fetch it with: hf download {repository}"
    )
