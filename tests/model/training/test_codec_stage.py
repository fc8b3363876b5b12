"""The codec's training: clips tell the truth, steps lower the loss, checkpoints go on exactly."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model.order_line import Intent, Request
from model.quantizer import ResidualQuantizer
from model.training.agent_voice import AgentSentence
from model.training.bank import Stem, Turn
from model.training.codec_stage import (
    CLIP_FRAMES,
    CLIP_SAMPLES,
    PHONE_DELAY_S,
    CodecDials,
    CodecTraining,
    Quantizing,
    agent_clip,
    caller_clip,
    phone_times_s,
    spectral_loss,
)
from model.voices import PHONE_IDS, SILENCE, TimedPhone
from tests.model.tiny import CODEC_CONFIG, noise
from tests.signals import tone

RATE = 24_000
ENDLESS = 1e9  # minutes; no share of it is ever spent
VOICED = [TimedPhone("aa", 0.0, 0.5), TimedPhone(SILENCE, 0.5, 0.7), TimedPhone("iy", 0.7, 1.0)]


def _voice() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    pcm = tone(300, 1.0, RATE)
    pcm[12_000:16_800] = 0
    return pcm


def _sentence() -> AgentSentence:
    return AgentSentence("ah ee", _voice(), [], VOICED)


def _stem() -> Stem:
    return Stem("tone", [Turn(Request(Intent.YES, "ah ee"), _voice(), [], VOICED)])


def _batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    rng, draws = random.Random(seed), np.random.default_rng(seed)
    clips = [
        caller_clip(_stem(), rng, draws),
        caller_clip(_stem(), rng, draws),
        agent_clip([_sentence()], rng),
    ]
    return torch.from_numpy(np.stack([c[0] for c in clips])), torch.from_numpy(
        np.stack([c[1] for c in clips])
    )


def _training(folder: Path, seed: int = 0, **dials: float) -> CodecTraining:
    all_dials = CodecDials(**({"minutes": ENDLESS, "caller_clips": 2, "agent_clips": 1} | dials))  # type: ignore[arg-type]
    return CodecTraining(CODEC_CONFIG, all_dials, folder, seed=seed)


def test_a_phone_is_asked_for_after_its_sound() -> None:
    times = phone_times_s(2)
    assert times.tolist() == pytest.approx([0.02 - PHONE_DELAY_S, 0.06 - PHONE_DELAY_S])


@pytest.mark.parametrize("seed", range(8))
def test_labels_of_an_agent_clip_lie_on_its_sound(seed: int) -> None:
    pcm, labels = agent_clip([_sentence()], random.Random(seed))
    assert pcm.shape == (CLIP_SAMPLES,)
    assert labels.shape == (2 * CLIP_FRAMES,)
    times = phone_times_s(len(labels))
    for at_s, label in zip(times[2:], labels[2:], strict=True):
        around = pcm[max(0, round((at_s - 0.002) * RATE)) : round((at_s + 0.002) * RATE)]
        sounding = bool(np.abs(around).max() > 0.2)
        near_edge = np.abs(around).min() == 0 and sounding
        assert near_edge or sounding == (label != PHONE_IDS[SILENCE])


def test_the_end_of_a_long_turn_is_heard_too() -> None:
    long = [TimedPhone("aa", 0.0, 7.5), TimedPhone("iy", 7.5, 8.0)]
    stem = Stem("long", [Turn(Request(Intent.OTHER, "ah ee"), tone(300, 8.0, RATE), [], long)])
    rng, draws = random.Random(1), np.random.default_rng(1)
    ends = [PHONE_IDS["iy"] in caller_clip(stem, rng, draws)[1] for _ in range(40)]
    assert 5 < sum(ends) < 35


def test_a_caller_clip_has_turns_over_a_telephone() -> None:
    pcm, labels = caller_clip(_stem(), random.Random(1), np.random.default_rng(1))
    assert pcm.dtype == np.float32
    assert np.abs(pcm).max() <= 1
    assert {PHONE_IDS["aa"], PHONE_IDS["iy"], PHONE_IDS[SILENCE]} == set(labels.tolist())
    steps = pcm.reshape(2 * CLIP_FRAMES, -1)[:-1]
    level = np.sqrt((steps**2).mean(1))
    voiced = labels[1:] != PHONE_IDS[SILENCE]  # asked for one step late
    assert np.median(level[voiced]) > 3 * np.median(level[~voiced])


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
    for _ in range(8):
        figures = training.step(batch)
        losses.append(figures["fine"] + figures["voice"] + figures["semantic"] + figures["all"])
    assert training.quantizing == (minutes < 1)
    assert losses[-1] < losses[0]
    assert training.steps == 10


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


def test_codebooks_are_seeded_on_the_latents_and_follow_them() -> None:
    torch.manual_seed(0)
    branch = ResidualQuantizer(8, CODEC_CONFIG.quantizer, 2)
    quantizing = Quantizing(branch)
    latents = noise(400, 8)
    quantizing.seed(latents)
    with torch.no_grad():
        x = latents.T[None]
        left = [
            (branch.input_proj(x) - _projected(branch, x, levels)).square().mean() for levels in (0, 1, 2)
        ]
        assert left[2] < left[1] < left[0]
        before = branch.codebooks[0].codewords()[0].clone()
        for _ in range(30):
            quantizing(x + 3)
        after = branch.codebooks[0].codewords()[0]
        moved = branch.input_proj(x + 3).mean((0, 2))
        assert (after.mean(0) - moved).norm() < (before.mean(0) - moved).norm()


def _projected(branch: ResidualQuantizer, x: Tensor, levels: int) -> Tensor:
    """What the first levels give for a latent, in the codebooks' own space: [1, dim, N]."""
    codes = branch.encode(x)
    words = [book.decode(codes[:, level]) for level, book in enumerate(branch.codebooks[:levels])]
    total = torch.zeros_like(branch.input_proj(x)).transpose(1, 2)
    return sum(words, total).transpose(1, 2)
