"""Full sizes of the models that the bench knows by name."""

from __future__ import annotations

from model.checkpoint import read_config
from model.config import CodecConfig, LmConfig, ModelConfig
from model.engine import BUILTIN
from model.errors import ConfigError


def full_size(name: str) -> ModelConfig:
    """The sizes of a model. Raises ConfigError if nobody is called so, naming those that are."""
    known = {
        "builtin": read_config(BUILTIN),
        "moshiko": ModelConfig("moshiko", CodecConfig(), LmConfig()),
        "moshika": ModelConfig("moshika", CodecConfig(), LmConfig()),
        "personaplex": ModelConfig("personaplex", CodecConfig(), LmConfig(dep_q=16, agent_codebooks=8)),
    }
    if name not in known:
        raise ConfigError(f"--preset {name!r} is unknown; we know {', '.join(known)}")
    return known[name]
