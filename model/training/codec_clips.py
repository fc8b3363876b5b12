"""Clips that the codec learns from: callers over telephone lines, the agent's clean voice, their phones."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.config import FRAME_SAMPLES, SAMPLE_RATE_HZ
from model.training.acoustics import Acoustics
from model.training.agent_voice import AgentSentence
from model.training.bank import Stem, phone_labels
from model.training.feed import Share
from model.voices import PHONE_IDS

CLIP_FRAMES = 32
CLIP_SAMPLES = CLIP_FRAMES * FRAME_SAMPLES
PHONE_DELAY_S = 0.04  # a phone is asked for this long after its middle, when its end has been heard
HALF_FRAME_S = FRAME_SAMPLES / 2 / SAMPLE_RATE_HZ

Clip = tuple[NDArray[np.float32], NDArray[np.int64]]
# Float32 [B, CLIP_SAMPLES], int64 [B, 2 CLIP_FRAMES]; the agent's clips last.
ClipBatch = tuple[Tensor, Tensor]


def phone_times_s(num_half_frames: int) -> NDArray[np.float64]:
    """Float [T]: the moment that each 25 Hz step is asked about."""
    return (np.arange(num_half_frames, dtype=np.float64) + 0.5) * HALF_FRAME_S - PHONE_DELAY_S


def caller_clip(
    stem: Stem,
    rng: random.Random,
    draws: np.random.Generator,
    acoustics: Acoustics | None = None,
    agent: Sequence[NDArray[np.float32]] = (),
) -> Clip:
    """A clip of one caller over one line, and its phones: float32 [CLIP_SAMPLES], int64 [2 CLIP_FRAMES].

    Some of what the agent says may come back as an echo, whose phones nobody is asked about.
    """
    pcm = np.zeros(CLIP_SAMPLES, np.float32)
    labels = np.full(2 * CLIP_FRAMES, PHONE_IDS["sil"], np.int64)
    times = phone_times_s(2 * CLIP_FRAMES)
    turn = rng.choice(stem.turns)
    at = rng.randrange(-max(SAMPLE_RATE_HZ, len(turn.pcm) - SAMPLE_RATE_HZ), SAMPLE_RATE_HZ // 3)
    while at < CLIP_SAMPLES - SAMPLE_RATE_HZ // 4:
        skip, start = max(0, -at), max(0, at)
        piece = turn.pcm[skip : skip + CLIP_SAMPLES - start]
        pcm[start : start + len(piece)] += piece
        start_s, end_s = at / SAMPLE_RATE_HZ, (at + len(turn.pcm)) / SAMPLE_RATE_HZ
        inside = (times >= start_s) & (times < end_s)
        labels[inside] = phone_labels(turn.phones, times[inside] - start_s)
        at += len(turn.pcm) + rng.randrange(SAMPLE_RATE_HZ // 10, SAMPLE_RATE_HZ)
        turn = rng.choice(stem.turns)
    return (acoustics or Acoustics()).over_line(pcm, draws, agent), labels


def agent_clip(sentences: list[AgentSentence], rng: random.Random) -> Clip:
    """A clip of the agent's clean voice, placed as the language model's library places it."""
    pcm = np.zeros(CLIP_SAMPLES, np.float32)
    labels = np.full(2 * CLIP_FRAMES, PHONE_IDS["sil"], np.int64)
    times = phone_times_s(2 * CLIP_FRAMES)
    sentence = rng.choice(sentences)
    at = rng.randrange(-max(1, len(sentence.pcm) - SAMPLE_RATE_HZ), SAMPLE_RATE_HZ // 2)
    skip, start = max(0, -at), max(0, at)
    piece = sentence.pcm[skip : skip + CLIP_SAMPLES - start]
    pcm[start : start + len(piece)] = piece
    start_s = at / SAMPLE_RATE_HZ
    inside = (times >= start_s) & (times < start_s + len(sentence.pcm) / SAMPLE_RATE_HZ)
    labels[inside] = phone_labels(sentence.phones, times[inside] - start_s)
    return pcm, labels


def clip_batches(
    stem: Callable[[random.Random], Stem],
    sentences: list[AgentSentence],
    counts: tuple[int, int],
    share: Share,
    acoustics: Acoustics | None = None,
) -> Iterator[ClipBatch]:
    """Endless batches of so many callers' and agent's clips, of stems as `stem` draws them."""
    rng, draws = share.rng, share.draws
    agent = [sentence.pcm for sentence in sentences]
    while True:
        clips = [caller_clip(stem(rng), rng, draws, acoustics, agent) for _ in range(counts[0])]
        clips += [agent_clip(sentences, rng) for _ in range(counts[1])]
        pcm, labels = (np.stack(parts) for parts in zip(*clips, strict=True))
        yield torch.from_numpy(pcm), torch.from_numpy(labels)
