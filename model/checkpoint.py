"""Weights as safetensors, in every layout of the family: read by memory map, one tensor at a time.

The projections of all depth steps lie in one tensor (`in_proj_weight`, `out_proj.weight`) in most published
files and in ours, and in one per step (`in_projs.{k}.weight`) in files that the reference package saved; both
load. So do tensors of 8 bits (`weight` with the scale of each row in `weight_scb`, as bitsandbytes writes
them) and low-rank changes to a file's weights (`lora_A`, `lora_B`). No pickle is ever opened here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model.config import ModelConfig, from_json
from model.errors import CheckpointError
from model.tensor_file import InMemory, Stored, read_json, read_safetensors

__all__ = [
    "Adapter",
    "Fit",
    "adapter_problems",
    "fill",
    "load_tensors",
    "problems",
    "read_config",
    "read_safetensors",
    "save_module",
]

INT8_MAX = 127  # what the largest weight of a row is stored as
MAX_NAMED = 8  # problems that one error lists

_PROJECTION = re.compile(r"^(.*\.self_attn\.)(in|out)_proj(?:s\.(\d+))?[._]weight$")
_CODEBOOK_ALIASES = {
    "_codebook.inited": "_codebook._initialized",
    "_codebook.cluster_size": "_codebook.cluster_usage",
    "_codebook.embed_avg": "_codebook.embedding_sum",
    "_codebook.embed_sum": "_codebook.embedding_sum",
}


class Part(StrEnum):
    """What a stored tensor is to the tensor of ours that it helps to make."""

    WEIGHT = "weight"
    SCALE = "scale"  # of each row of an int8 weight
    LORA_A = "lora_A"
    LORA_B = "lora_B"


def locate(key: str) -> tuple[str, Part, int]:
    """The name that a stored tensor has with us, its part in it, and which depth step's it is (0: one for
    all, or the first)."""
    part = Part.WEIGHT
    if key.endswith("_scb"):
        part, key = Part.SCALE, key.removesuffix("_scb")
    for suffix, found in ((".lora_A.weight", Part.LORA_A), (".lora_B.weight", Part.LORA_B)):
        if key.endswith(suffix):
            part, key = found, key.removesuffix(suffix) + ".weight"
    key = key.replace(".frozen_W.", ".")
    match = _PROJECTION.match(key)
    if match is not None:
        name = "in_proj_weight" if match[2] == "in" else "out_proj.weight"
        return match[1] + name, part, int(match[3] or 0)
    for old, new in _CODEBOOK_ALIASES.items():
        if key.endswith("." + old):
            return key.removesuffix(old) + new, part, 0
    return key, part, 0


@dataclass(frozen=True)
class Fit:
    """How a file may differ from the module it fills, on purpose; this one: in nothing."""

    def is_left_out(self, key: str) -> bool:
        """True if this tensor (by our name) stays in the file."""
        return False

    def lender(self, key: str) -> str:
        """Whose weights a tensor of ours gets: its own."""
        return key

    def rows(self, key: str, stored: int) -> int:
        """How many rows of ours so many stored rows make: just as many."""
        return stored


EXACT = Fit()


@dataclass(frozen=True)
class Adapter:
    """Low-rank changes to a model's weights (arXiv 2106.09685): W + scaling * B @ A.

    A tensor that stands in the file as it is (a trained embedding) replaces the model's.
    """

    file: Stored
    rank: int
    scaling: float


@dataclass
class _Entry:
    """The stored tensors that make one of ours, by part and depth step."""

    parts: dict[Part, dict[int, str]] = field(default_factory=dict)

    def keys(self, part: Part) -> list[str]:
        """Stored names in the order of steps."""
        steps = self.parts.get(part, {})
        return [steps[step] for step in sorted(steps)]


def _entries(stored: Stored) -> dict[str, _Entry]:
    entries: dict[str, _Entry] = {}
    for key in stored.keys():
        name, part, step = locate(key)
        steps = entries.setdefault(name, _Entry()).parts.setdefault(part, {})
        if step in steps:
            raise CheckpointError(f"{stored.source} holds the same weights as {steps[step]} and as {key}")
        steps[step] = key
    return entries


def fill(
    module: nn.Module,
    stored: Stored,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
    fit: Fit = EXACT,
    adapter: Adapter | None = None,
) -> None:
    """Give the module (best made on the meta device) the stored weights, floating-point ones as `dtype`.

    Tensors are read one at a time: beside the module's own memory this needs that of the largest tensor.
    int8 weights come out as `dtype`, so that they need no less memory than others.
    Raises CheckpointError that names missing and unknown keys, wrong shapes and weights that are not finite.
    """
    expected = module.state_dict()
    entries = _entries(stored)
    changes = {} if adapter is None else _entries(adapter.file)
    _refuse(stored.source, problems(module, stored, fit), "its configuration")
    if adapter is not None:
        _refuse(adapter.file.source, _adapter_problems(expected, entries, adapter), "the model it adapts")
    weights: dict[str, Tensor] = {}
    for key, like in expected.items():
        out = torch.empty(like.shape, dtype=dtype if like.is_floating_point() else like.dtype, device=device)
        replacement = changes.get(key, _Entry())
        if adapter is not None and replacement.keys(Part.WEIGHT):
            _read_into(out, adapter.file, replacement)
        else:
            _read_into(out, stored, entries[fit.lender(key)])
        if adapter is not None and replacement.keys(Part.LORA_A):
            out.copy_(out.float() + adapter.scaling * _change(adapter, replacement, device))
        # Of a sum no copy is needed, and it is finite only if all are.
        if out.is_floating_point() and not out.is_meta and not out.sum(dtype=torch.float32).isfinite():
            raise CheckpointError(
                f"{stored.source}: {key} holds numbers that are not finite; download it again"
            )
        weights[key] = out
    module.load_state_dict(weights, assign=True)
    module.requires_grad_(False)
    # A buffer that is not saved would be left without memory; modules must not have such.
    left = [name for name, buffer in module.named_buffers() if buffer.is_meta]
    assert not left or torch.device(device).type == "meta", left


def _read_into(out: Tensor, stored: Stored, entry: _Entry) -> None:
    """Write an entry's parts one below the other; go round if there is more room, stop when there is none."""
    keys, scales = entry.keys(Part.WEIGHT), entry.keys(Part.SCALE)
    if out.dim() == 0:
        out.copy_(stored.read(keys[0]))
        return
    row, turn = 0, 0
    while row < len(out):
        piece = stored.read(keys[turn % len(keys)])[: len(out) - row].to(out.device)
        if scales:
            piece = dequantized(piece, stored.read(scales[turn % len(scales)])[: len(piece)].to(out.device))
        out[row : row + len(piece)].copy_(piece)
        row, turn = row + len(piece), turn + 1


def dequantized(weight: Tensor, scale: Tensor) -> Tensor:
    """Weights of rows stored in 8 bits: int8 [R, C], float [R] (each row's largest magnitude) -> float32
    [R, C].

    Source: LLM.int8() (arXiv 2208.07339, section 2.2), as bitsandbytes stores it.
    """
    return weight.float() * (scale.float()[:, None] / INT8_MAX)


def _change(adapter: Adapter, entry: _Entry, device: torch.device | str) -> Tensor:
    """B @ A of every depth step, one below the other: float32 [R, C]."""
    down = torch.cat([adapter.file.read(key) for key in entry.keys(Part.LORA_A)]).to(device).float()
    up = torch.cat([adapter.file.read(key) for key in entry.keys(Part.LORA_B)]).to(device).float()
    steps = len(down) // adapter.rank
    pairs = zip(up.chunk(steps), down.chunk(steps), strict=True)
    return torch.cat([b @ a for b, a in pairs])


def problems(module: nn.Module, stored: Stored, fit: Fit = EXACT) -> list[str]:
    """Everything by which stored tensors do not fit a module, from names and shapes alone."""
    expected, entries = module.state_dict(), _entries(stored)
    found = {key: entry for key, entry in entries.items() if not fit.is_left_out(key)}
    out = [f"missing {key}" for key in sorted(expected) if fit.lender(key) not in entries]
    lenders = {fit.lender(key) for key in expected}
    out += [f"unknown {key}" for key in sorted(set(found) - expected.keys() - lenders)]
    for key in sorted(expected):
        entry = entries.get(fit.lender(key))
        if entry is not None:
            out += _entry_problems(key, tuple(expected[key].shape), stored, entry, fit)
    return out


def _entry_problems(
    key: str, want: tuple[int, ...], stored: Stored, entry: _Entry, fit: Fit
) -> Iterator[str]:
    strange = set(entry.parts) - {Part.WEIGHT, Part.SCALE}
    if strange:
        yield f"{key} is a low-rank change ({', '.join(sorted(strange))}), which belongs in lora.safetensors"
        return
    if not entry.keys(Part.WEIGHT):
        yield f"missing {key} (its scale is there)"
        return
    got = _stacked_shape([stored.shape(name) for name in entry.keys(Part.WEIGHT)])
    if want != (got and (fit.rows(key, got[0]), *got[1:])):
        yield f"{key} has shape {list(got)}, the configuration wants {list(want)}"
    scales = entry.keys(Part.SCALE)
    is_float = all(stored.is_float(name) for name in entry.keys(Part.WEIGHT))
    if not is_float and not scales:
        yield f"{key} is stored in whole numbers, and {key}_scb, which says what they stand for, is missing"
    elif is_float and scales:
        yield f"{key} has {key}_scb, but is not stored in whole numbers"
    elif scales and _stacked_shape([stored.shape(name) for name in scales]) != got[:1]:
        yield f"{key}_scb does not have one scale for each of {got[0]} rows"


def _stacked_shape(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of tensors laid one below the other."""
    first = shapes[0]
    return (sum(shape[0] for shape in shapes), *first[1:]) if first else first


def adapter_problems(module: nn.Module, stored: Stored, adapter: Adapter) -> list[str]:
    """Everything by which low-rank changes do not fit a module and the file of its own weights."""
    return list(_adapter_problems(module.state_dict(), _entries(stored), adapter))


def _adapter_problems(
    expected: Mapping[str, Tensor], base: Mapping[str, _Entry], adapter: Adapter
) -> Iterator[str]:
    for key, entry in sorted(_entries(adapter.file).items()):
        if key not in expected:
            yield f"unknown {key}"
            continue
        if base.get(key, _Entry()).keys(Part.SCALE):
            yield f"{key} is stored in 8 bits, and low-rank changes need the weights themselves"
            continue
        if Part.WEIGHT in entry.parts:
            shape = _stacked_shape([adapter.file.shape(name) for name in entry.keys(Part.WEIGHT)])
            if shape != tuple(expected[key].shape):
                yield f"{key} has shape {list(shape)}, the model's has {list(expected[key].shape)}"
        a, b = entry.keys(Part.LORA_A), entry.keys(Part.LORA_B)
        if len(a) != len(b):
            yield f"{key} has {len(a)} lora_A and {len(b)} lora_B"
        elif a:
            yield from _pair_problems(key, tuple(expected[key].shape), adapter, a, b)


def _pair_problems(
    key: str, want: tuple[int, ...], adapter: Adapter, a: list[str], b: list[str]
) -> Iterator[str]:
    down = _stacked_shape([adapter.file.shape(name) for name in a])
    up = _stacked_shape([adapter.file.shape(name) for name in b])
    if up[1] != adapter.rank or down[0] % adapter.rank:
        yield f"{key} has lora_A {list(down)} and lora_B {list(up)}, which are not of rank {adapter.rank}"
    elif want != (up[0], down[1]) or up[0] % (down[0] // adapter.rank):
        yield f"{key} has lora_A {list(down)} and lora_B {list(up)}, the model's weight is {list(want)}"


def _refuse(source: str, found: Iterable[str], what: str) -> None:
    listed = list(found)
    if listed:
        more = f" (and {len(listed) - MAX_NAMED} more)" if len(listed) > MAX_NAMED else ""
        raise CheckpointError(f"{source} does not fit {what}: {'; '.join(listed[:MAX_NAMED])}{more}")


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Fill a module in place, converting to its dtypes.

    Raises CheckpointError that names missing and unknown keys and wrong shapes.
    """
    stored = InMemory(source, tensors)
    _refuse(source, problems(module, stored), "its configuration")
    entries = _entries(stored)
    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            _read_into(tensor, stored, entries[key])


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
    """Our own `config.json` of a model folder.

    Raises CheckpointError if it is missing or no JSON, ConfigError if it describes no model.
    """
    return from_json(ModelConfig, read_json(directory / "config.json"))
