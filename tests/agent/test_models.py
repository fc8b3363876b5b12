"""`offhook models`: every model with its needs, and folders checked from their headers."""

import argparse
import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from torch import Tensor

from agent import models
from agent.models import Search, show, table
from agent.settings import Settings
from model.presets import presets
from tests.model.published import (
    change_weights,
    lora_folder,
    moshi_folder,
    personaplex_folder,
    stacked,
)


@pytest.fixture
def search(tmp_path: Path) -> Search:
    return Search(tmp_path / "models", tmp_path / "hub")


def _shown(search: Search, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(table(search))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("width", [100, 160])
def test_the_table_holds_every_model_whole(search: Search, width: int) -> None:
    lines = _shown(search, width)
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines), "nothing is cut"
    shown = "\n".join(lines)
    for preset in presets().values():
        assert preset.name in shown
        assert preset.fetch_command in shown, "whole, to be copied"
    personaplex = next(line for line in lines if line.startswith("personaplex"))
    assert {"8.5", "15.7", "1.6"} <= set(personaplex.split()), "what is loaded to speak, not the file"


def test_a_model_that_is_here_is_shown_where_it_is(search: Search) -> None:
    assert search.directory is not None
    moshi_folder(search.directory / "moshiko")
    snapshot = search.hub_cache / "models--kyutai--moshika-pytorch-bf16"
    (snapshot / "snapshots" / "abc").mkdir(parents=True)
    (snapshot / "refs").mkdir()
    (snapshot / "refs" / "main").write_text("abc")
    shown = "\n".join(_shown(search, 300))
    assert f"here: {search.directory / 'moshiko'}" in shown
    assert "here, in the hub's cache" in shown
    assert "here, part of offhook" in shown


def _run(name: str, search: Search, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = show(name, search, Console(width=300, highlight=False))
    return code, capsys.readouterr().out


def test_the_builtin_model_is_ready(search: Search, capsys: pytest.CaptureFixture[str]) -> None:
    code, shown = _run("builtin", search, capsys)
    assert code == 0
    assert "every tensor is there" in shown


def test_an_absent_model_is_described_and_its_fetching_told(
    search: Search, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown = _run("personaplex", search, capsys)
    assert code == 1
    assert "NATF0, NATF1" in shown
    assert "hf download nvidia/personaplex-7b-v1" in shown
    code, shown = _run("nonsense", search, capsys)
    assert (code, "no model that is known by name" in shown) == (1, True)


def test_a_folder_is_checked_without_its_weights(
    tmp_path: Path, search: Search, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = personaplex_folder(tmp_path / "mine")
    code, shown = _run(str(folder), search, capsys)
    assert code == 0
    assert "voices.tgz" in shown

    def lose_much(tensors: dict[str, Tensor]) -> None:
        for key in [key for key in tensors if key.startswith("emb.")]:
            del tensors[key]

    change_weights(folder, lose_much)
    code, shown = _run(str(folder), search, capsys)
    assert code == 1
    assert "model.safetensors: missing" in shown
    assert "16 things do not fit" in shown
    assert "and 4 more" in shown


def test_low_rank_changes_and_voices_are_looked_at(
    tmp_path: Path, search: Search, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned = lora_folder(tmp_path / "tuned", stacked)
    config = tuned / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_rank": 3}))
    code, shown = _run(str(tuned), search, capsys)
    assert (code, "lora.safetensors: " in shown, "not of rank 3" in shown) == (1, True, True)
    folder = personaplex_folder(tmp_path / "mine")
    (folder / "voices.tgz").write_bytes(b"junk")
    code, shown = _run(str(folder), search, capsys)
    assert (code, "voices.tgz is no whole tar.gz archive" in shown) == (1, True)
    code, shown = _run("x" * 5000, search, capsys)
    assert (code, "longer than a folder's" in shown) == (1, True)


def test_the_command_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = argparse.Namespace(name=None, directory=tmp_path)
    assert models.run(arguments, Settings()) == 0
    assert "offhook models NAME" in capsys.readouterr().out
    assert models.run(argparse.Namespace(name="builtin", directory=None), Settings()) == 0
