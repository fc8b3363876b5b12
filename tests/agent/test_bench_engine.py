"""The engine bench shows, keeps and draws figures; measuring them is tested with `model.bench`."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent.bench_engine import add_arguments, draw, read, run
from agent.errors import ConfigError as SettingsError
from agent.settings import Settings
from model import bench
from model.bench_figures import BenchFigures, BenchRow, Times
from model.config import ModelConfig
from model.errors import ConfigError
from model.presets import presets
from tests.model import tiny

PNG = b"\x89PNG"
ROW = BenchRow(2, 0, 110.5, 200, Times(0.02, 0.03, 0.04), 0.019, 2e9, 0.005, 10**9)
SHEET = BenchFigures("moshiko, full size", "a GPU", "torch", 4e12, "best of 10", 7, [ROW])


def asked(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_it_measures_prints_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ModelConfig("tiny", tiny.CODEC_CONFIG, tiny.LM_CONFIG)
    preset = replace(presets()["moshiko"], config=small)
    monkeypatch.setattr(bench, "full_size", lambda _name: preset)
    monkeypatch.setattr(bench, "COPY_BYTES", {"cpu": 2**20})
    figures, picture = tmp_path / "f.json", tmp_path / "pictures" / "f.png"
    words = ["--preset", "tiny", "--batch", "1,2", "--steps", "2"]
    assert run(asked(*words, "--json", str(figures), "--plot", str(picture)), Settings()) == 0
    told, note = read(figures)
    assert [row.batch for row in told.rows] == [1, 2] and "commit" in note
    assert json.loads(figures.read_text())["options"]["preset"] == "tiny"
    assert picture.read_bytes().startswith(PNG)
    printed = capsys.readouterr().out
    assert "GB/s" in printed and "calls with p99" in printed and "calls per core" not in printed


def test_figures_from_elsewhere_are_shown_with_their_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "far.json"
    path.write_text(json.dumps(SHEET.as_json() | {"note": "commit abc"}))
    assert run(asked("--from", str(path)), Settings()) == 0
    printed = capsys.readouterr().out
    assert "a GPU" in printed and "commit abc" in printed and "20.00" in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--batch", "0"], "--batch '0': write numbers from 1"),
        (["--preset", "nope"], "--preset 'nope' is unknown"),
        (["--json", "/dev/null/f.json"], "--json /dev/null/f.json cannot be written"),
        (["--plot", "/dev/null/f.png"], "--plot /dev/null/f.png cannot be written"),
    ],
)
def test_arguments_that_cannot_be_run_are_wrong_usage(words: list[str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        run(asked(*words), Settings())


@pytest.mark.parametrize("text", ["[]", "{}", "no JSON"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "far.json"
    path.write_text(text)
    with pytest.raises((ConfigError, SettingsError)):
        read(path)
    with pytest.raises(SettingsError):
        read(tmp_path / "none.json")


@pytest.mark.parametrize("batches", [(1,), (1, 8)])
@pytest.mark.parametrize("reference", [None, Times(0.03, 0.04, 0.05)])
def test_any_number_of_rows_can_be_drawn(
    tmp_path: Path, batches: tuple[int, ...], reference: Times | None
) -> None:
    rows = [
        replace(ROW, batch=batch, context=context, reference=reference)
        for context in (0, 3000)
        for batch in batches
    ]
    draw(replace(SHEET, rows=rows), tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes().startswith(PNG)
