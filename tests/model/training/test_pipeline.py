"""The stages over one folder: what they say when they come too early, and one whole run in miniature."""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoint import read_safetensors
from model.config import FRAME_SAMPLES, ModelConfig, ProsodyConfig
from model.engine import Engine
from model.errors import CheckpointError
from model.order_line import CONFIRMED, GIVE_UP, GREETING, HOURS, MM_HM, STILL_THERE, Intent, in_tone
from model.phrasings import Tone
from model.tokenizer import TOKENIZER_FILE, load_text_tokenizer
from model.training import bank, pipeline, stage
from model.training.codec_stage import CodecDials, CodecTraining
from model.training.manners import NUM_CODES
from model.training.metrics import stage_metrics
from model.training.options import STAGES, Machine, add_arguments
from model.training.pipeline import Pipeline
from model.training.pool import Pool
from model.training.run import train
from model.training.tokens_stage import load_stems
from tests.model import tiny

ROOT = Path(__file__).parents[3]
MINUTES = {"codec": 0.05, "tone": 0.01, "lm": 0.01, "voice": 0.01}
TICK_S = 0.15  # between two looks at the clock: the machine's speed decides nothing
FEW_LINES = (GREETING, CONFIRMED, HOURS, STILL_THERE, GIVE_UP, MM_HM)


def _options(folder: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    minutes = [f"--{stage}-minutes={minutes}" for stage, minutes in MINUTES.items()]
    small = ["--shards=1", "--announced=3", "--pool-orders=2", "--pool-numbers=2", "--tone-shards=1",
             "--hardness=0"]  # fmt: skip
    return parser.parse_args([f"--folder={folder}", f"--out={folder / 'out'}", *small, *minutes, *words])


class _Clock:
    """Time as training sees it."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def monotonic(self) -> float:
        self._now_s += TICK_S
        return self._now_s


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, alphabet_folder: Path, tmp_path: Path) -> Iterator[ModelConfig]:
    """A model and shards that a stage gets through in a second; the folder has an alphabet."""
    config = tiny.model_config(load_text_tokenizer(alphabet_folder).card)
    lm = replace(config.lm, context=480, n_q=17, delays=(*config.lm.delays, 0))
    config = replace(config, lm=lm, codec=replace(config.codec, prosody=ProsodyConfig(NUM_CODES, dim=16)))
    monkeypatch.setattr(pipeline, "builtin_config", lambda size: config)
    monkeypatch.setattr(stage, "time", _Clock())
    monkeypatch.setattr(pipeline, "NUM_REHEARSALS", 1)
    monkeypatch.setattr(pipeline, "NUM_VALIDATION_CALLS", 2)
    monkeypatch.setattr(bank, "STEMS_PER_SHARD", 1)
    monkeypatch.setattr(bank, "STEM_INTENTS", (Intent.ORDER, Intent.YES, Intent.HOURS))
    monkeypatch.setattr(bank, "NUM_OTHERS", 1)
    few = [in_tone(line, tone) for tone in Tone for line in FEW_LINES]
    monkeypatch.setattr(Pool, "fixed_lines", staticmethod(lambda: iter(few)))
    (tmp_path / "model").mkdir()
    shutil.copy(alphabet_folder / TOKENIZER_FILE, tmp_path / "model")
    yield config


def test_a_stage_that_comes_too_early_names_the_one_before(tmp_path: Path) -> None:
    """On a machine that has neither synthesisers nor what only they and recordings need."""
    code = (
        "import sys, runpy\n"
        "for name in ('soundfile', 'structlog', 'pocketsphinx', 'G722'): sys.modules[name] = None\n"
        "runpy.run_module('model.training', run_name='__main__')"
    )
    command = [sys.executable, "-c", code, "--only", "lm", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 1
    told = f"python -m model.training: {tmp_path / 'tokens'} holds no shard; run the stage `tokens` first"
    assert done.stderr.strip() == told
    assert "stage lm" in done.stdout


def test_a_whole_run_by_legs_makes_a_model_that_the_engine_runs(
    tmp_path: Path, small: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    train(_options(tmp_path, "--leg-minutes=0"), told.append)
    assert told[-1].startswith("leg over; left: bank: 1 of 5 shards; recordings: 0 of ")
    train(_options(tmp_path), told.append)
    assert [line for line in told if line.startswith("stage ")][1:] == [f"stage {name}" for name in STAGES]
    _assert_speaks(tmp_path / "out", small)
    _assert_hears_as_trained(tmp_path)
    assert set(stage_metrics(tmp_path)) <= set(MINUTES)
    lines = sorted(path.name.split("-")[1] for path in (tmp_path / "tokens").glob("tokens-*.npz"))
    assert lines == ["1", "2"] and len(list((tmp_path / "tokens-validation").glob("tokens-*.npz"))) == 1
    told.clear()
    train(_options(tmp_path, "--status"), told.append)
    assert [line.split(": ")[1][:4] for line in told] == ["done"] * 7, told
    _assert_nothing_is_done_twice(tmp_path, monkeypatch)


def _assert_nothing_is_done_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("what is done was made ready again")

    trained = ("CodecTraining", "ToneTraining", "load_tone_clips", "LmTraining", "VoiceTraining")
    for name in ("speak_told", "pool_sentences", *trained):
        monkeypatch.setattr(pipeline, name, never)
    before, exported = _moments(folder), _contents(folder / "out")
    told: list[str] = []
    train(_options(folder), told.append)
    spent = [
        f"{stage}: its {minutes:g} minutes are spent; --{stage}-minutes gives it more"
        for stage, minutes in MINUTES.items()
    ]
    done = [*(f"stage {name}" for name in STAGES), *spent, f"model folder: {folder / 'out'}"]
    assert sorted(told) == sorted(done)
    assert _moments(folder) == before
    assert _contents(folder / "out") == exported


def _moments(folder: Path) -> dict[Path, int]:
    """When each file of a run was written, but for those of the export."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.[np][pt]*")}


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
    engine.say(0, engine.model.tokenizer.encode("hello"))
    out = engine.step(np.zeros((1, FRAME_SAMPLES), np.float32), np.ones(1, bool))
    assert out.text[0] == engine.model.tokenizer.announce


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
    stages = Pipeline(tmp_path, Machine(), print)
    with pytest.raises(CheckpointError, match=r"bank holds no shard; run the stage `bank` first"):
        stages.codec()
    training = CodecTraining(small.codec, CodecDials(), tmp_path)
    training.save()
    with pytest.raises(CheckpointError, match=r"has no codebooks: .* give the codec more --codec-minutes"):
        stages.tokens()
    for branch in (training.semantic, training.acoustic):
        branch.seed(torch.randn(200, small.codec.seanet.dimension))
    training.save()
    with pytest.raises(CheckpointError, match=r"bank holds no shard; run the stage `bank` first"):
        stages.tokens()
    with pytest.raises(CheckpointError, match=r"tokens holds no shard; run the stage `tokens` first"):
        stages.lm()
    with pytest.raises(
        CheckpointError, match=r"agent holds no sentence of the agent; run the stage `recordings`"
    ):
        stages.voice()
    with pytest.raises(CheckpointError, match=r"voice.pt does not exist; run the stage `voice` first"):
        stages.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_stage_alone_is_that_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(Pipeline, "bank", lambda stages: asked.append(stages.plan.num_shards))
    told: list[str] = []
    train(_options(tmp_path, "--only", "bank", "--shards", "3"), told.append)
    assert asked == [3] and told == ["stage bank"]
