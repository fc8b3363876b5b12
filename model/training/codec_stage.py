"""The codec. Callers teach the encoder to hear (phones), the agent's voice the decoder to speak.

Semantic teaching is cross-entropy on the synthesiser's own phones, in place of the distillation of
arXiv 2410.00037 section 3.3.3; it is asked of the 25 Hz features, of the semantic code alone and of all codes
together.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from model.codec import Codec
from model.config import FRAME_SAMPLES, SAMPLE_RATE_HZ, CodecConfig
from model.quantizer import Codebook, ResidualQuantizer
from model.training.acoustics import Acoustics
from model.training.agent_voice import AgentSentence
from model.training.bank import NO_LABEL, Stem, phone_labels
from model.training.feed import Share
from model.training.muon import MuonAdamW
from model.training.stage import Figures, Stage
from model.voices import PHONE_IDS, PHONES

CLIP_FRAMES = 32
CLIP_SAMPLES = CLIP_FRAMES * FRAME_SAMPLES
PHONE_DELAY_S = 0.04  # a phone is asked for this long after its middle, when its end has been heard
HALF_FRAME_S = FRAME_SAMPLES / 2 / SAMPLE_RATE_HZ
FFT_SIZES = (256, 512, 1024, 2048)
INPUT_GAIN = 3.0  # telephone speech is quiet; training scales it, the shipped first layer has it built in
SEED_LATENTS = 4  # latents per codeword that k-means starts from, at the least
DEAD_USAGE = 0.3  # codewords used less than this (running mean per step) are re-seeded


@dataclass(frozen=True)
class CodecDials:
    """What one may turn; the rest is in the code."""

    minutes: float = 40.0
    caller_clips: int = 6
    agent_clips: int = 2
    quantize_after: float = 0.12  # share of the time before codebooks are seeded
    muon_lr: float = 0.012
    adam_lr: float = 1.5e-3


def phone_times_s(num_half_frames: int) -> NDArray[np.float64]:
    """Float [T]: the moment that each 25 Hz step is asked about."""
    return (np.arange(num_half_frames, dtype=np.float64) + 0.5) * HALF_FRAME_S - PHONE_DELAY_S


def init_weights(module: nn.Module) -> None:
    """Keep variance through convolutions (ELU halves it); the framework's default gives dead latents."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d):
            nn.init.normal_(layer.weight, std=(1.55 / layer.weight[0].numel()) ** 0.5)
        elif isinstance(layer, nn.ConvTranspose1d):
            fan_in = layer.weight.shape[0] // layer.groups * layer.kernel_size[0] / layer.stride[0]
            nn.init.normal_(layer.weight, std=(1.55 / fan_in) ** 0.5)
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d) and layer.bias is not None:
            nn.init.zeros_(layer.bias)


class Trainee(nn.Module):
    """The codec with the phone heads that only training needs."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        dim = config.seanet.dimension
        self.codec = Codec(config)
        init_weights(self.codec)
        self.phones_fine = nn.Linear(dim, len(PHONES))
        self.phones_semantic = nn.Linear(dim, 2 * len(PHONES))
        self.phones_all = nn.Linear(dim, 2 * len(PHONES))


class Quantizing:
    """Straight-through quantization of a branch; its codebooks follow the latents (k-means, then EMA)."""

    def __init__(self, branch: ResidualQuantizer) -> None:
        self.branch = branch
        self.decay = 0.98

    def __call__(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Float [B, C, T] -> quantized [B, C, T] and the commitment loss."""
        x = self.branch.input_proj(latent).float()
        flat = x.transpose(1, 2).flatten(0, 1)  # [N, dim]
        residual = flat.detach()
        total = torch.zeros_like(residual)
        for book in self.branch.codebooks:
            codes = book.encode(residual)
            chosen = book.decode(codes)
            self._follow(book, residual, codes)
            residual = residual - chosen
            total = total + chosen
        commitment = F.mse_loss(flat, total)
        through = (flat + (total - flat).detach()).view(x.shape[0], x.shape[2], -1).transpose(1, 2)
        return self.branch.output_proj(through), commitment

    @torch.no_grad()
    def _follow(self, book: Codebook, x: Tensor, codes: Tensor) -> None:
        count = torch.zeros_like(book.cluster_usage).index_add_(0, codes, torch.ones_like(x[:, 0]))
        sums = torch.zeros_like(book.embedding_sum).index_add_(0, codes, x)
        book.cluster_usage.mul_(self.decay).add_(count, alpha=1 - self.decay)
        book.embedding_sum.mul_(self.decay).add_(sums, alpha=1 - self.decay)
        dead = (
            (book.cluster_usage < DEAD_USAGE * len(x) / len(book.cluster_usage) * 0.3).nonzero().flatten()[:4]
        )
        if len(dead):
            fresh = x[torch.randint(len(x), (len(dead),))]
            usage = len(x) / len(book.cluster_usage)
            book.cluster_usage[dead] = usage
            book.embedding_sum[dead] = fresh * usage

    @torch.no_grad()
    def seed(self, latent: Tensor) -> None:
        """Place the codewords by k-means on latents float [N, C]."""
        residual = self.branch.input_proj(latent[:, :, None]).float()[:, :, 0]
        for book in self.branch.codebooks:
            bins = len(book.cluster_usage)
            words = residual[torch.randperm(len(residual))[:bins]].clone()
            for _ in range(8):
                codes = torch.cdist(residual, words).argmin(-1)
                count = torch.zeros_like(words[:, 0]).index_add_(0, codes, torch.ones_like(residual[:, 0]))
                sums = torch.zeros_like(words).index_add_(0, codes, residual)
                empty = count == 0
                words = torch.where(
                    empty[:, None],
                    residual[torch.randint(len(residual), (bins,))],
                    sums / count.clamp(min=1)[:, None],
                )
            book.cluster_usage.fill_(1.0)
            book.embedding_sum.copy_(words)
            book._initialized.fill_(1.0)
            residual = residual - book.decode(book.encode(residual))


Clip = tuple[NDArray[np.float32], NDArray[np.int64]]
ClipBatch = tuple[
    Tensor, Tensor
]  # float32 [B, CLIP_SAMPLES], int64 [B, 2 CLIP_FRAMES]; the agent's clips last


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
    dials: CodecDials,
    share: Share,
    acoustics: Acoustics | None = None,
) -> Iterator[ClipBatch]:
    """Endless batches of clips, of stems as `stem` draws them."""
    rng, draws = share.rng, share.draws
    agent = [sentence.pcm for sentence in sentences]
    while True:
        clips = [caller_clip(stem(rng), rng, draws, acoustics, agent) for _ in range(dials.caller_clips)]
        clips += [agent_clip(sentences, rng) for _ in range(dials.agent_clips)]
        pcm, labels = (np.stack(parts) for parts in zip(*clips, strict=True))
        yield torch.from_numpy(pcm), torch.from_numpy(labels)


def spectral_loss(said: Tensor, wanted: Tensor) -> Tensor:
    """Distance of log and plain magnitude spectra at several window sizes: float [B, T] each."""
    loss = said.new_zeros(())
    for size in FFT_SIZES:
        window = torch.hann_window(size, device=said.device)
        a, b = (
            torch.stft(x, size, size // 4, window=window, return_complex=True).abs().clamp(min=1e-4)
            for x in (said, wanted)
        )
        loss = loss + (a.log() - b.log()).abs().mean() + 4 * (a - b).abs().mean() / size**0.5
    return loss / len(FFT_SIZES)


class CodecTraining(Stage[ClipBatch]):
    """The whole stage."""

    def __init__(
        self, config: CodecConfig, dials: CodecDials, folder: Path, device: str = "cpu", seed: int = 0
    ) -> None:
        torch.manual_seed(seed)
        self.dials = dials
        self.trainee = Trainee(config).to(device)
        optimizer = MuonAdamW(
            self.trainee.named_parameters(),
            muon_lr=dials.muon_lr,
            adam_lr=dials.adam_lr,
            adam_only=("phones_",),
        )
        super().__init__(self.trainee, optimizer, folder / "codec.pt", dials.minutes, max_norm=5.0)
        quantizer = self.trainee.codec.quantizer
        self.semantic, self.acoustic = Quantizing(quantizer.rvq_first), Quantizing(quantizer.rvq_rest)
        self.quantizing = False
        self._latents: list[Tensor] = []

    def loss(self, pcm: Tensor, labels: Tensor, num_agent: int) -> tuple[Tensor, Figures]:
        """The loss of clips float [B, T], phones int64 [B, 2F]; the last `num_agent` are the agent's."""
        trainee, codec = self.trainee, self.trainee.codec
        with torch.autocast(self.device.type, torch.bfloat16):
            fine = codec.features(INPUT_GAIN * pcm[:, None])
            latent = codec._down(fine)
        latent = latent.float()
        fine_logits = trainee.phones_fine(fine.float().transpose(1, 2))
        parts = {"fine": F.cross_entropy(fine_logits.flatten(0, 1), labels.flatten())}
        # Digital silence may give a latent of zeros, where the root alone has no gradient.
        parts["rms"] = 0.05 * ((latent.square().mean(1) + 1e-8).sqrt() - 1).square().mean()
        if self.quantizing:
            first, commit_first = self.semantic(latent)
            rest, commit_rest = self.acoustic(latent)
            both = first + rest
            parts["commit"] = 0.1 * (commit_first + commit_rest)
        else:
            first = codec.quantizer.rvq_first.output_proj(codec.quantizer.rvq_first.input_proj(latent))
            both = first + codec.quantizer.rvq_rest.output_proj(codec.quantizer.rvq_rest.input_proj(latent))
            self._latents = [*self._latents[-60:], latent.detach().transpose(1, 2).flatten(0, 1)]
        parts["semantic"] = self._coarse(trainee.phones_semantic, first, labels)
        parts["all"] = self._coarse(trainee.phones_all, both, labels)
        with torch.autocast(self.device.type, torch.bfloat16):
            said = codec.synthesize(both[-num_agent:])[:, 0]
        parts["voice"] = 0.25 * spectral_loss(said.float(), pcm[-num_agent:])
        total = torch.stack(list(parts.values())).sum()
        hit = fine_logits.argmax(-1) == labels
        voiced = (labels != PHONE_IDS["sil"]) & (labels != NO_LABEL)
        figures = {name: float(value.detach()) for name, value in parts.items()}
        figures["acc_caller"] = float(hit[:-num_agent][voiced[:-num_agent]].float().mean())
        figures["acc_agent"] = float(hit[-num_agent:][voiced[-num_agent:]].float().mean())
        return total, figures

    def _coarse(self, head: nn.Module, latent: Tensor, labels: Tensor) -> Tensor:
        logits = head(latent.transpose(1, 2)).unflatten(-1, (2, -1)).flatten(1, 2)  # [B, 2F, phones]
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())

    def step(self, batch: ClipBatch) -> Figures:
        """One update; its share of the time budget sets the learning rate."""
        if not self.quantizing and self.share > self.dials.quantize_after and self._has_latents_to_seed():
            latents = torch.cat(self._latents)
            self.semantic.seed(latents)
            self.acoustic.seed(latents)
            self.quantizing = True
            self._latents = []
        pcm, labels = (part.to(self.device, non_blocking=True) for part in batch)
        total, figures = self.loss(pcm, labels, self.dials.agent_clips)
        figures["grad"] = self.update(total)
        return figures

    def _has_latents_to_seed(self) -> bool:
        """They are not stored: a run resumed at this very moment gathers them first."""
        bins = self.trainee.codec.config.quantizer.bins
        return sum(len(latents) for latents in self._latents) >= SEED_LATENTS * bins

    def _more(self) -> dict[str, object]:
        return {"quantizing": self.quantizing}

    def _take(self, state: dict[str, object]) -> None:
        self.quantizing = bool(state["quantizing"])
