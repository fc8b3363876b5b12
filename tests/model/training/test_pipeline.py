"""`offhook train`: its options, what it says when a stage comes too early, and one whole run in miniature."""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoint import read_config, read_safetensors
from model.config import FRAME_SAMPLES, ModelConfig
from model.engine import BUILTIN, Engine
from model.errors import CheckpointError
from model.tokenizer import TOKENIZER_FILE, TextTokenizer, load_text_tokenizer
from model.training import bank, pipeline
from model.training.codec_stage import INPUT_GAIN, CodecDials, CodecTraining
from model.training.pipeline import (
    CUDA_BATCH_SCALE,
    STAGES,
    Machine,
    Pipeline,
    add_arguments,
    agent_sentences,
    builtin_config,
    freeze,
    machine,
    train,
)
from model.training.tokens_stage import load_stems
from tests.model import tiny

ROOT = Path(__file__).parents[3]


def _options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], Machine("cpu", 0, 1)),
        (["--workers", "3", "--batch-scale", "2"], Machine("cpu", 3, 2)),
        (["--device", "cuda"], Machine("cuda", 7, CUDA_BATCH_SCALE)),
        (["--device", "cuda:1", "--workers", "0", "--batch-scale", "1"], Machine("cuda:1", 0, 1)),
    ],
)
def test_a_machine_is_used_as_suits_its_device(
    monkeypatch: pytest.MonkeyPatch, words: list[str], wanted: Machine
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert machine(_options(*words)) == wanted


def test_beside_cuda_one_core_still_prepares_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert machine(_options("--device", "cuda")).num_workers == 1


def test_options_have_defaults_and_stages_have_names(capsys: pytest.CaptureFixture[str]) -> None:
    options = _options()
    assert (options.out, options.only, options.shards) == (BUILTIN, None, 60)
    assert _options("--only", "lm").only == "lm"
    with pytest.raises(SystemExit):
        _options("--only", "sleep")
    told = capsys.readouterr().err
    assert all(stage in told for stage in STAGES)


def test_the_sizes_are_those_of_the_shipped_model() -> None:
    assert read_config(BUILTIN) == builtin_config()
    assert load_text_tokenizer(BUILTIN).card == builtin_config().lm.text_card


def test_a_frozen_codec_has_its_gain_built_in_and_is_stored_without_loss() -> None:
    trained, frozen = tiny.codec(), freeze(tiny.codec())
    sound = 0.1 * tiny.noise(1, 1, 10 * FRAME_SAMPLES)
    with torch.no_grad():
        wanted, got = trained.latent(INPUT_GAIN * sound), frozen.latent(sound)
    assert (got - wanted).norm() < 0.02 * wanted.norm()
    for tensor in frozen.state_dict().values():
        assert torch.equal(tensor, tensor.half().to(tensor.dtype))


def test_a_stage_that_comes_too_early_names_the_one_before(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "model.training", "--only", "lm", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 1
    told = f"python -m model.training: {tmp_path / 'codec.pt'} does not exist; run the stage `codec` first"
    assert done.stderr.strip() == told
    assert "stage lm" in done.stdout


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, alphabet: TextTokenizer) -> Iterator[ModelConfig]:
    """A model, an order line and shards that a stage gets through in a second."""
    config = tiny.model_config(alphabet.card)
    monkeypatch.setattr(pipeline, "builtin_config", lambda: config)
    monkeypatch.setattr(pipeline, "OTHER_SENTENCES", 1)
    monkeypatch.setattr(bank, "STEMS_PER_SHARD", 2)
    agent_sentences.cache_clear()
    yield config
    agent_sentences.cache_clear()


def _small_options(folder: Path, *words: str) -> argparse.Namespace:
    minutes = [f"--{stage}-minutes={1 / 60}" for stage in TIMED]
    size = "--shards=1", "--pool-orders=8", "--pool-numbers=4", "--hardness=0"
    return _options(f"--folder={folder}", f"--out={folder / 'out'}", *size, *minutes, *words)


TIMED = ("codec", "lm", "voice")


def _moments(folder: Path) -> dict[Path, int]:
    """When each file of a run was written, but for those of the export."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.[np][pt]*")}


def test_a_whole_run_makes_a_model_that_the_engine_runs(
    tmp_path: Path, small: ModelConfig, alphabet_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    shutil.copy(alphabet_folder / TOKENIZER_FILE, tmp_path / "model")
    told: list[str] = []
    train(_small_options(tmp_path), told.append)
    assert [line for line in told if line.startswith("stage ")] == [f"stage {name}" for name in STAGES]
    _assert_speaks(tmp_path / "out", small)
    _assert_hears_as_trained(tmp_path)

    def never(*_: object) -> None:
        raise AssertionError("what is done was made ready again")

    for name in ("encode_library", "agent_sentences", "CodecTraining", "LmTraining", "VoiceTraining"):
        monkeypatch.setattr(pipeline, name, never)
    before, exported = _moments(tmp_path), _contents(tmp_path / "out")
    told.clear()
    train(_small_options(tmp_path), told.append)
    spent = [f"{stage}: its {1 / 60:g} minutes are spent; --{stage}-minutes gives it more" for stage in TIMED]
    done = [*(f"stage {name}" for name in STAGES), *spent, f"model folder: {tmp_path / 'out'}"]
    assert sorted(told) == sorted(done)
    assert _moments(tmp_path) == before and len(before) == 7
    assert _contents(tmp_path / "out") == exported


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _assert_speaks(folder: Path, config: ModelConfig) -> None:
    assert sorted(_contents(folder)) == ["codec.safetensors", "config.json", "lm.safetensors", TOKENIZER_FILE]
    engine = Engine.load(folder, 1)
    assert engine.config == config
    engine.start(0, seed=1)
    for _ in range(4):
        out = engine.step(np.zeros((1, FRAME_SAMPLES), np.float32), np.ones(1, bool))
    assert np.isfinite(out.pcm).all() and out.pcm.any() and out.text[0] >= 0


def _assert_hears_as_trained(folder: Path) -> None:
    """What the language model's tokens came from and what ships differ in the voice alone; all codes work."""
    taught = read_safetensors(folder / "tokens" / "codec.safetensors")
    shipped = read_safetensors(folder / "out" / "codec.safetensors")
    moved = {name for name, tensor in shipped.items() if not torch.equal(tensor, taught[name])}
    assert moved and all(
        name.startswith(("decoder", "upsample")) or ".output_proj." in name for name in moved
    )
    codes = load_stems(folder / "tokens" / "tokens-1-1000000-0000.npz")[0].codes
    assert all(len(np.unique(book)) > 1 for book in codes)


def test_stages_without_their_material_say_which_stage_makes_it(tmp_path: Path, small: ModelConfig) -> None:
    run = Pipeline(tmp_path, Machine(), print)
    with pytest.raises(CheckpointError, match=r"bank holds no shard; run the stage `bank` first"):
        run.codec(1.0)
    training = CodecTraining(small.codec, CodecDials(), tmp_path)
    training.save()
    with pytest.raises(CheckpointError, match=r"has no codebooks: .* give the codec more --codec-minutes"):
        run.tokens()
    for branch in (training.semantic, training.acoustic):
        branch.seed(torch.randn(200, small.codec.seanet.dimension))
    training.save()
    with pytest.raises(CheckpointError, match=r"bank holds no shard; run the stage `bank` first"):
        run.tokens()
    with pytest.raises(CheckpointError, match=r"tokens holds no shard; run the stage `tokens` first"):
        run.lm(1.0)
    with pytest.raises(CheckpointError, match=r"voice.pt does not exist; run the stage `voice` first"):
        run.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_alphabet_that_cannot_delegate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    shutil.copy(BUILTIN / TOKENIZER_FILE, tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"no <delegate>.*remove it"):
        Pipeline(tmp_path, Machine(), print)._tokenizer()


def test_one_stage_alone_is_that_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(Pipeline, "bank", lambda _, num_shards: asked.append(("bank", num_shards)))
    told: list[str] = []
    train(_options("--only", "bank", "--shards", "3", "--folder", str(tmp_path)), told.append)
    assert asked == [("bank", 3)] and told == ["stage bank"]
