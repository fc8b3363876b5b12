"""The codec's training: clips tell the truth, steps lower the loss, checkpoints go on exactly."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model.training.codec_clips import agent_clip, caller_clip
from model.training.codec_stage import CodecDials, CodecTraining, spectral_loss
from tests.model.tiny import CODEC_CONFIG, noise
from tests.model.training import clips

ENDLESS = 1e9  # minutes; no share of it is ever spent


def _batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    rng, draws = random.Random(seed), np.random.default_rng(seed)
    some = [
        caller_clip(clips.stem(), rng, draws),
        caller_clip(clips.stem(), rng, draws),
        agent_clip([clips.sentence()], rng),
    ]
    return torch.from_numpy(np.stack([c[0] for c in some])), torch.from_numpy(np.stack([c[1] for c in some]))


def _training(folder: Path, seed: int = 0, **dials: float) -> CodecTraining:
    all_dials = CodecDials(**({"minutes": ENDLESS, "caller_clips": 2, "agent_clips": 1} | dials))  # type: ignore[arg-type]
    return CodecTraining(CODEC_CONFIG, all_dials, folder, seed=seed)


def test_spectral_loss_knows_equal_and_louder() -> None:
    x = 0.1 * noise(2, 4096)
    assert spectral_loss(x, x).item() == 0
    assert spectral_loss(1.2 * x, x) < spectral_loss(2 * x, x)


@pytest.mark.parametrize("minutes", [ENDLESS, 1e-9])
def test_steps_lower_the_loss(tmp_path: Path, minutes: float) -> None:
    """Before the codebooks stand, and (all of the time being spent) with them."""
    training = _training(tmp_path)
    batch = _batch()
    for _ in range(2):
        training.step(batch)
    if minutes < 1:
        training.dials = replace(training.dials, minutes=ENDLESS, quantize_after=-1.0)
    losses = []
    for _ in range(5):
        figures = training.step(batch)
        losses.append(figures["fine"] + figures["voice"] + figures["semantic"] + figures["all"])
    assert training.quantizing == (minutes < 1)
    assert losses[-1] < losses[0]
    assert training.steps == 7


@pytest.mark.parametrize("quantize_after", [0.12, -1.0])
def test_a_checkpoint_goes_on_exactly(tmp_path: Path, quantize_after: float) -> None:
    first = _training(tmp_path, quantize_after=quantize_after)
    for seed in range(3):
        first.step(_batch(seed))
    assert first.quantizing == (quantize_after < 0)
    first.save()
    second = _training(tmp_path, seed=5, quantize_after=quantize_after)
    assert second.resume()
    assert (second.steps, second.spent_s, second.quantizing) == (first.steps, first.spent_s, first.quantizing)
    batch = _batch(7)
    figures = []
    for training in (first, second):
        torch.manual_seed(1)
        figures.append(training.step(batch))
    assert figures[0] == figures[1]
    theirs = second.trainee.state_dict()
    for name, tensor in first.trainee.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name


def test_a_run_resumed_when_codebooks_are_due_gathers_latents_first(tmp_path: Path) -> None:
    _training(tmp_path).save()
    training = _training(tmp_path, quantize_after=-1.0)
    training.resume()
    seen = []
    for seed in range(3):
        training.step(_batch(seed))
        seen.append(training.quantizing)
    assert seen == [False, False, True]  # 3 clips of 32 frames a step, 4 latents for each of 32 codewords


def test_nothing_to_resume(tmp_path: Path) -> None:
    assert not _training(tmp_path).resume()


def test_a_trained_codec_learns_gently_and_from_as_many_clips() -> None:
    plain = CodecDials(minutes=3.0)
    dials = plain.scaled(8).gentle()
    assert (dials.caller_clips, dials.agent_clips, dials.minutes) == (48, 16, 3.0)
    assert dials.muon_lr == pytest.approx(0.5 * plain.muon_lr)
    assert dials.adam_lr == pytest.approx(0.5 * plain.adam_lr)
