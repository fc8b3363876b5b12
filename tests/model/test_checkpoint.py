"""Weights: both layouts, exact round trips, and refusals that name the file and the key."""

import json
from pathlib import Path

import pytest
import torch

from model.checkpoint import (
    Adapter,
    Part,
    dequantized,
    fill,
    load_tensors,
    locate,
    read_config,
    read_safetensors,
    save_module,
)
from model.errors import CheckpointError, ConfigError
from model.lm import Lm
from model.tensor_file import InMemory
from tests.model import tiny


def _split(tensors: dict[str, torch.Tensor], dep_q: int) -> dict[str, torch.Tensor]:
    """The reference package's layout of our stacked projections."""
    out: dict[str, torch.Tensor] = {}
    for key, tensor in tensors.items():
        steps = dep_q if key.startswith("depformer.") else 1
        if key.endswith("self_attn.in_proj_weight"):
            stem = key.removesuffix("in_proj_weight") + "in_projs.{}.weight"
        elif key.endswith("self_attn.out_proj.weight"):
            stem = key.removesuffix("out_proj.weight") + "out_projs.{}.weight"
        else:
            out[key] = tensor
            continue
        out |= {stem.format(step): part for step, part in enumerate(tensor.chunk(steps))}
    return out


def test_split_projections_are_stacked_in_the_order_of_steps() -> None:
    tensors = tiny.lm().state_dict()
    split = _split(tensors, 8)
    assert "depformer.layers.1.self_attn.in_projs.7.weight" in split
    shuffled = dict(sorted(split.items(), reverse=True))
    loaded = tiny.lm(seed=1)
    load_tensors(loaded, shuffled, "split")
    for key, tensor in tensors.items():
        assert torch.equal(loaded.state_dict()[key], tensor), key


def test_file_there_and_back_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "lm.safetensors"
    save_module(tiny.lm(seed=3), path, torch.float32)
    loaded = Lm(tiny.LM_CONFIG)
    load_tensors(loaded, read_safetensors(path), str(path))
    for key, tensor in tiny.lm(seed=3).state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key
    assert list(tmp_path.iterdir()) == [path], "nothing half-written stays behind"


def test_half_precision_files_load_into_float32(tmp_path: Path) -> None:
    path = tmp_path / "lm.safetensors"
    save_module(tiny.lm(), path, torch.float16)
    assert read_safetensors(path)["out_norm.alpha"].dtype == torch.float16
    loaded = Lm(tiny.LM_CONFIG)
    load_tensors(loaded, read_safetensors(path), str(path))
    assert loaded.out_norm.alpha.dtype == torch.float32
    torch.testing.assert_close(loaded.out_norm.alpha, tiny.lm().out_norm.alpha, atol=1e-3, rtol=0)


def test_missing_unknown_and_misshapen_keys_are_named() -> None:
    tensors = dict(tiny.lm().state_dict())
    del tensors["out_norm.alpha"]
    tensors["emb.99.weight"] = torch.zeros(1)
    tensors["text_linear.weight"] = torch.zeros(3, 64)
    with pytest.raises(CheckpointError) as caught:
        load_tensors(Lm(tiny.LM_CONFIG), tensors, "some.safetensors")
    message = str(caught.value)
    assert message.startswith("some.safetensors does not fit")
    assert "missing out_norm.alpha" in message
    assert "unknown emb.99.weight" in message
    assert "text_linear.weight has shape [3, 64], the configuration wants [48, 64]" in message


def test_a_missing_projection_step_shows_as_a_wrong_shape() -> None:
    tensors = _split(dict(tiny.lm().state_dict()), 8)
    del tensors["depformer.layers.0.self_attn.in_projs.3.weight"]
    with pytest.raises(CheckpointError, match=r"depformer.layers.0.self_attn.in_proj_weight has shape"):
        load_tensors(Lm(tiny.LM_CONFIG), tensors, "x")


def test_a_long_list_of_problems_is_cut() -> None:
    with pytest.raises(CheckpointError, match=r"\(and \d+ more\)"):
        load_tensors(Lm(tiny.LM_CONFIG), {}, "empty")


def test_a_pickled_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "lm.safetensors"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="pickled checkpoints are not loaded"):
        read_safetensors(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"lm\.safetensors does not exist"):
        read_safetensors(tmp_path / "lm.safetensors")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, CheckpointError, "config.json does not exist"),
        ("{", CheckpointError, "cannot be read as JSON"),
        ("[1]", CheckpointError, "holds no JSON object, but list"),
        (json.dumps({"name": "x", "size": 3}), ConfigError, "does not know size"),
    ],
)
def test_a_broken_config_is_named(
    tmp_path: Path, text: str | None, error: type[Exception], message: str
) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(error, match=message):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("emb.3.weight", ("emb.3.weight", Part.WEIGHT, 0)),
        ("a.self_attn.in_proj_weight", ("a.self_attn.in_proj_weight", Part.WEIGHT, 0)),
        ("a.self_attn.in_projs.5.weight", ("a.self_attn.in_proj_weight", Part.WEIGHT, 5)),
        ("a.self_attn.out_proj.weight", ("a.self_attn.out_proj.weight", Part.WEIGHT, 0)),
        ("a.self_attn.out_projs.7.weight", ("a.self_attn.out_proj.weight", Part.WEIGHT, 7)),
        ("a.self_attn.in_proj_weight_scb", ("a.self_attn.in_proj_weight", Part.SCALE, 0)),
        ("a.self_attn.in_projs.2.weight_scb", ("a.self_attn.in_proj_weight", Part.SCALE, 2)),
        ("linears.1.weight_scb", ("linears.1.weight", Part.SCALE, 0)),
        ("a.self_attn.in_proj.lora_A.weight", ("a.self_attn.in_proj_weight", Part.LORA_A, 0)),
        ("a.self_attn.in_projs.4.lora_B.weight", ("a.self_attn.in_proj_weight", Part.LORA_B, 4)),
        ("a.self_attn.out_projs.4.lora_A.weight", ("a.self_attn.out_proj.weight", Part.LORA_A, 4)),
        ("linears.1.lora_B.weight", ("linears.1.weight", Part.LORA_B, 0)),
        ("linears.1.frozen_W.weight", ("linears.1.weight", Part.WEIGHT, 0)),
        ("x._codebook.inited", ("x._codebook._initialized", Part.WEIGHT, 0)),
        ("x._codebook.cluster_size", ("x._codebook.cluster_usage", Part.WEIGHT, 0)),
        ("x._codebook.embed_avg", ("x._codebook.embedding_sum", Part.WEIGHT, 0)),
        ("x._codebook.embed_sum", ("x._codebook.embedding_sum", Part.WEIGHT, 0)),
    ],
)
def test_every_published_name_has_its_place(key: str, place: tuple[str, Part, int]) -> None:
    assert locate(key) == place


def test_eight_bits_stand_for_parts_of_each_rows_largest_weight() -> None:
    weight = torch.tensor([[127, -127, 0, 64]], dtype=torch.int8)
    expected = torch.tensor([[0.5, -0.5, 0.0, 0.5 * 64 / 127]])
    torch.testing.assert_close(dequantized(weight, torch.tensor([0.5])), expected)


def test_filling_leaves_what_was_read_alone_and_converts() -> None:
    tensors = {key: tensor.to(torch.bfloat16) for key, tensor in tiny.lm().state_dict().items()}
    before = {key: tensor.clone() for key, tensor in tensors.items()}
    with torch.device("meta"):
        module = Lm(tiny.LM_CONFIG)
    a, b = tiny.noise(4, 64), tiny.noise(48, 4, seed=1)
    changes = {"text_linear.lora_A.weight": a, "text_linear.lora_B.weight": b}
    adapter = Adapter(InMemory("lora", changes), rank=4, scaling=0.5)
    fill(module, InMemory("base", tensors), device="cpu", dtype=torch.float32, adapter=adapter)
    assert module.out_norm.alpha.dtype == torch.float32
    expected = before["text_linear.weight"].float() + 0.5 * b @ a
    torch.testing.assert_close(module.text_linear.weight, expected)
    for key, tensor in tensors.items():
        assert torch.equal(tensor, before[key]), key
