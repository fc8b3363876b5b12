"""Weights as safetensors, in the layout of published checkpoints.

Published files stack the projections of all attention steps in one tensor (`in_proj_weight`,
`out_proj.weight`); files saved by the reference package hold them split (`in_projs.{k}.weight`). Both load;
we save stacked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.config import ModelConfig, from_json
from model.errors import CheckpointError

_SPLIT = re.compile(r"^(.*\.self_attn\.)(in|out)_projs\.(\d+)\.weight$")


def stack_projections(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join split projections: `in_projs.{k}.weight` -> `in_proj_weight`, likewise `out_proj.weight`."""
    out: dict[str, Tensor] = {}
    parts: dict[str, dict[int, Tensor]] = {}
    for key, tensor in tensors.items():
        match = _SPLIT.match(key)
        if match is None:
            out[key] = tensor
            continue
        stem = match[1] + ("in_proj_weight" if match[2] == "in" else "out_proj.weight")
        parts.setdefault(stem, {})[int(match[3])] = tensor
    for stem, by_step in parts.items():
        out[stem] = torch.cat([by_step[step] for step in sorted(by_step)])
    return out


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Fill a module, converting to its dtypes.

    Raises CheckpointError that names missing and unknown keys and wrong shapes.
    """
    found = stack_projections(tensors)
    expected = module.state_dict()
    problems = [f"missing {key}" for key in sorted(expected.keys() - found.keys())]
    problems += [f"unknown {key}" for key in sorted(found.keys() - expected.keys())]
    for key in sorted(expected.keys() & found.keys()):
        want, got = tuple(expected[key].shape), tuple(found[key].shape)
        if want != got:
            problems.append(f"{key} has shape {list(got)}, the configuration wants {list(want)}")
    if problems:
        more = f" (and {len(problems) - 8} more)" if len(problems) > 8 else ""
        raise CheckpointError(f"{source} does not fit its configuration: {'; '.join(problems[:8])}{more}")
    module.load_state_dict(dict(found))


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file.

    Raises CheckpointError if it is missing or no safetensors file (pickled checkpoints are refused unread).
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; name a model folder that holds it")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is no readable safetensors file ({error}); "
            "pickled checkpoints are not loaded: convert them"
        ) from error


def save_module(module: nn.Module, path: Path, dtype: torch.dtype) -> None:
    """Write a module's weights, floating-point ones as `dtype`; the file appears whole or not at all."""
    tensors = {
        key: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous().cpu()
        for key, tensor in module.state_dict().items()
    }
    partial = path.with_suffix(".partial")
    save_file(tensors, partial)
    partial.chmod(0o644)  # safetensors makes files that only their owner can read
    partial.replace(path)


def read_config(directory: Path) -> ModelConfig:
    """`config.json` of a model folder.

    Raises CheckpointError if it is missing or no JSON, ConfigError if it describes no model.
    """
    path = directory / "config.json"
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist; a model folder holds config.json and the weights"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    return from_json(ModelConfig, tree)
