"""Files of a model folder, opened safely: mapped safetensors and JSON. No pickle is ever opened here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open
from torch import Tensor

from model.errors import CheckpointError


class Stored(Protocol):
    """Named tensors, somewhere; shapes are known without reading them."""

    @property
    def source(self) -> str:
        """Where they are, for messages."""
        ...

    def keys(self) -> Iterable[str]:
        """Every tensor's name."""
        ...

    def shape(self, key: str) -> tuple[int, ...]:
        """A tensor's shape, unread."""
        ...

    def is_float(self, key: str) -> bool:
        """True if a tensor's numbers are floating-point ones."""
        ...

    def read(self, key: str) -> Tensor:
        """A tensor, on the CPU as it is stored; not to be written to."""
        ...


@dataclass(frozen=True)
class InMemory:
    """Tensors that are already here."""

    source: str
    tensors: Mapping[str, Tensor]

    def keys(self) -> Iterable[str]:
        return self.tensors.keys()

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self.tensors[key].shape)

    def is_float(self, key: str) -> bool:
        return self.tensors[key].is_floating_point()

    def read(self, key: str) -> Tensor:
        return self.tensors[key]


class TensorFile:
    """An open safetensors file, mapped: what is not read costs no memory.

    Raises CheckpointError that says what the file is instead, and the remedy.
    """

    def __init__(self, path: Path) -> None:
        self.source = str(path)
        if not path.is_file():
            raise CheckpointError(f"{path} does not exist; name a model folder that holds it")
        try:
            file: Any = safe_open(path, framework="pt", device="cpu")
            self._keys = tuple(file.keys())
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path} is {what_it_is(path)} ({error})") from error
        self._file = file

    def keys(self) -> Iterable[str]:
        """Every tensor's name."""
        return self._keys

    def shape(self, key: str) -> tuple[int, ...]:
        """A tensor's shape, from the header."""
        return tuple(self._file.get_slice(key).get_shape())

    def is_float(self, key: str) -> bool:
        """True if the header says BF16, F16, F32 or the like."""
        return str(self._file.get_slice(key).get_dtype()).startswith(("BF", "F"))

    def read(self, key: str) -> Tensor:
        """A tensor, a view of the mapped file where that is possible."""
        tensor: Tensor = self._file.get_tensor(key)
        return tensor


def what_it_is(path: Path) -> str:
    """What a file that is no whole safetensors file seems to be, and what to do about it."""
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        return "empty; download it again"
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return "a pickled checkpoint; pickled checkpoints are not loaded, they can run code: convert it"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the weights; fetch the file itself"
    if head.startswith(b"GGUF"):
        return "a GGUF file; fetch the PyTorch repository's safetensors instead"
    if head.lstrip().startswith((b"{", b"[", b"<")):
        return "text (JSON or HTML), not weights; download it again"
    return "no whole safetensors file, perhaps cut short; download it again"


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file.

    Raises CheckpointError if it is missing or no safetensors file (pickled checkpoints are refused unread).
    """
    file = TensorFile(path)
    return {key: file.read(key) for key in file.keys()}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises CheckpointError if the file is missing or holds something else.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist; a model folder holds config.json and the weights"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path} holds no JSON object, but {type(tree).__name__}")
    return tree
