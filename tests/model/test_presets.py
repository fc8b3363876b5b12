"""Models by name: the published sizes, and where a model is looked for."""

from pathlib import Path

import pytest

from model import presets as presets_module
from model.errors import CheckpointError
from model.model_folder import empty_modules
from model.presets import BUILTIN, SHIPPED, find_model, hub_cache_folder, presets
from model.training.sizes import SMALL, builtin_config, write_config


@pytest.mark.parametrize(
    ("name", "parameters", "tensors"),
    [
        ("moshiko", 7_687_729_152, 355),
        ("moshika", 7_687_729_152, 355),
        ("moshiko-q8", 7_687_729_152, 355),
        ("moshika-q8", 7_687_729_152, 355),
        ("personaplex", 8_371_408_896, 475),
        # Its file: 5,574,762,720 bytes of bfloat16 in 327 tensors, three of which (44,032 numbers) are the
        # condition's, behind a header of 37 kB.
        ("hibiki-2b", 2_787_318_784, 324),
    ],
)
def test_sizes_are_the_published_ones(name: str, parameters: int, tensors: int) -> None:
    config = presets()[name].config
    lm = empty_modules(config)[1].state_dict()
    assert (sum(tensor.numel() for tensor in lm.values()), len(lm)) == (parameters, tensors)
    assert config.codec.quantizer.n_q == max(config.lm.agent_q, config.lm.caller_q)


def test_who_speaks_in_which_stream() -> None:
    streams = {name: (p.config.lm.agent_q, p.config.lm.caller_q) for name, p in presets().items()}
    assert streams.pop("hibiki-2b") == (16, 16)
    assert streams.pop("builtin") == (6, 7)  # how they speak besides
    assert set(streams.values()) == {(8, 8)}


def test_only_personaplex_takes_prompts() -> None:
    prompted = [preset for preset in presets().values() if preset.prompt]
    assert [preset.name for preset in prompted] == ["personaplex"]
    prompt = prompted[0].prompt
    assert prompt is not None
    assert len(prompt.silence_codes) == len(prompt.sine_codes) == 8
    assert len(prompted[0].voices) == 18
    assert prompt.wrap_role(" You work. ") == "<system> You work. <system>"
    assert prompt.wrap_role("<system> You work. <system>") == "<system> You work. <system>"
    assert prompt.wrap_role("<system>") == "<system> <system> <system>"


def _snapshot(cache: Path, repository: str, revision: str = "abc") -> Path:
    root = cache / ("models--" + repository.replace("/", "--"))
    (root / "snapshots" / revision).mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(revision)
    return root / "snapshots" / revision


def test_a_model_is_found_by_name_repository_and_path(tmp_path: Path) -> None:
    assert find_model("builtin") == BUILTIN
    assert find_model(str(tmp_path)) == tmp_path
    snapshot = _snapshot(tmp_path / "hub", "kyutai/moshiko-pytorch-bf16")
    for name in ("moshiko", "kyutai/moshiko-pytorch-bf16"):
        assert find_model(name, hub_cache=tmp_path / "hub") == snapshot
    mine = tmp_path / "models" / "moshiko-pytorch-bf16"
    mine.mkdir(parents=True)
    found = find_model("moshiko", directory=tmp_path / "models", hub_cache=tmp_path / "hub")
    assert found == mine, "the operator's own folder goes before the cache"
    other = _snapshot(tmp_path / "hub", "someone/tuned")
    assert find_model("someone/tuned", hub_cache=tmp_path / "hub") == other


def test_where_a_model_was_looked_for_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"looked in {tmp_path}.*hf download nvidia/personaplex-7b-v1"):
        find_model("personaplex", hub_cache=tmp_path)
    with pytest.raises(CheckpointError, match="looked in no folder"):
        find_model("moshika")
    for strange in ("moshi", "../x", "/no/where", "a/b/c", "a/../b"):
        with pytest.raises(CheckpointError, match=r"no model that is known by name .*personaplex"):
            find_model(strange, hub_cache=tmp_path)


def test_a_half_written_cache_holds_nothing(tmp_path: Path) -> None:
    snapshot = _snapshot(tmp_path, "kyutai/moshika-pytorch-bf16")
    snapshot.rmdir()
    with pytest.raises(CheckpointError, match="not on this machine"):
        find_model("moshika", hub_cache=tmp_path)


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, Path("/a")),
        ({"HF_HOME": "/b", "XDG_CACHE_HOME": "/c"}, Path("/b/hub")),
        ({"XDG_CACHE_HOME": "/c"}, Path("/c/huggingface/hub")),
        ({}, Path.home() / ".cache/huggingface/hub"),
    ],
)
def test_the_hubs_cache_is_where_its_own_tools_keep_it(environ: dict[str, str], folder: Path) -> None:
    assert hub_cache_folder(environ) == folder


@pytest.mark.parametrize("name", ["x" * 300, "a/" + "y" * 300, "z/" * 5000])
def test_a_name_that_no_file_system_takes_is_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match="longer than a folder's or a model's name"):
        find_model(name)


def test_every_shipped_size_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert next(name for name in presets() if name in SHIPPED) == "builtin"
    write_config(builtin_config(SMALL), tmp_path)
    monkeypatch.setattr(presets_module, "SHIPPED", {"builtin": BUILTIN, "builtin-small": tmp_path})
    presets.cache_clear()
    try:
        assert presets()["builtin-small"].config == builtin_config(SMALL)
        assert find_model("builtin-small") == tmp_path and find_model("builtin") == BUILTIN
    finally:
        presets.cache_clear()
