"""Safetensors by memory map: what is in the header, and what a file is that has none."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model.errors import CheckpointError
from model.tensor_file import InMemory, Stored, TensorFile, read_json

TENSORS = {"a": torch.arange(6.0).view(2, 3).to(torch.bfloat16), "b": torch.arange(4, dtype=torch.int8)}


@pytest.fixture(params=["file", "memory"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Stored:
    if request.param == "memory":
        return InMemory("here", TENSORS)
    save_file(TENSORS, tmp_path / "x.safetensors")
    return TensorFile(tmp_path / "x.safetensors")


def test_tensors_are_told_by_name_shape_and_kind_and_read_as_stored(stored: Stored) -> None:
    assert set(stored.keys()) == {"a", "b"}
    assert [stored.shape(key) for key in "ab"] == [(2, 3), (4,)]
    assert [stored.is_float(key) for key in "ab"] == [True, False]
    for key, tensor in TENSORS.items():
        assert torch.equal(stored.read(key), tensor)
        assert stored.read(key).dtype == tensor.dtype


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"),
        (b"PK\x03\x04" + bytes(99), "a pickled checkpoint"),
        (b"\x80\x02}q" + bytes(99), "a pickled checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        (b"<!doctype html>", "text"),
        (b'{"error": 404}', "text"),
        (b"GGUF" + bytes(99), "a GGUF file"),
        (bytes(3), "no whole safetensors file"),
        (bytes(99), "no whole safetensors file"),
    ],
)
def test_what_a_file_is_instead_is_said(content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"x.safetensors is {kind}"):
        TensorFile(tmp_path / "x.safetensors")


def test_a_file_cut_short_is_found_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(TENSORS, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="cut short"):
        TensorFile(path)


@pytest.mark.parametrize("content", [b"\xff", b"[1]", b"3"])
def test_what_is_no_json_object_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"c\.json"):
        read_json(tmp_path / "c.json")
