"""The codec. Callers teach the encoder to hear (phones), the agent's voice the decoder to speak.

Semantic teaching is cross-entropy on the synthesiser's own phones, in place of the distillation of
arXiv 2410.00037 section 3.3.3; it is asked of the 25 Hz features, of the semantic code alone and of all codes
together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.codec import Codec
from model.config import CodecConfig
from model.training.bank import NO_LABEL
from model.training.codec_clips import ClipBatch
from model.training.muon import MuonAdamW
from model.training.quantizing import Quantizing
from model.training.stage import Figures, Stage
from model.voices import PHONE_IDS, PHONES

FFT_SIZES = (256, 512, 1024, 2048)
INPUT_GAIN = 3.0  # telephone speech is quiet; training scales it, the shipped first layer has it built in
# Of a codec that goes on from trained weights the new phone heads learn alone at first: no folder holds any.
HEADS_ALONE_STEPS, HEADS_ALONE_SHARE = 150, 0.2  # of steps, of the time: whichever is over first
GENTLENESS = 0.5  # of the learning rates, for a codec that begins with trained weights: full ones undo it
SEED_LATENTS = 4  # latents per codeword that k-means starts from, at the least


@dataclass(frozen=True)
class CodecDials:
    """What one may turn; the rest is in the code."""

    minutes: float = 40.0
    caller_clips: int = 6
    agent_clips: int = 2
    quantize_after: float = 0.12  # share of the time before codebooks are seeded
    muon_lr: float = 0.012
    adam_lr: float = 1.5e-3

    def scaled(self, clips: int) -> CodecDials:
        """So many times the clips in a step."""
        return replace(self, caller_clips=clips * self.caller_clips, agent_clips=clips * self.agent_clips)

    def gentle(self) -> CodecDials:
        """For a codec that begins with trained weights."""
        return replace(self, muon_lr=GENTLENESS * self.muon_lr, adam_lr=GENTLENESS * self.adam_lr)


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


def phone_accuracy(trainee: Trainee, pcm: Tensor, labels: Tensor) -> tuple[int, int]:
    """Moments with speech whose phone was heard right, and all of them: float [B, T], int64 [B, 2F].

    Silence and what nobody is asked about do not count.
    """
    with torch.autocast(pcm.device.type, torch.bfloat16):
        fine = trainee.codec.features(INPUT_GAIN * pcm[:, None])
    hit = trainee.phones_fine(fine.float().transpose(1, 2)).argmax(-1) == labels
    is_asked = (labels != PHONE_IDS["sil"]) & (labels != NO_LABEL)
    return int((hit & is_asked).sum()), int(is_asked.sum())


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
        self.heads_alone_steps = 0
        self._latents: list[Tensor] = []

    def take_over(self) -> None:
        """Go on from a trained codec: its codebooks stay, and the new phone heads learn alone at first."""
        self.quantizing, self.heads_alone_steps = True, HEADS_ALONE_STEPS

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
        self._free(self.steps >= self.heads_alone_steps or self.share > HEADS_ALONE_SHARE)
        pcm, labels = (part.to(self.device, non_blocking=True) for part in batch)
        total, figures = self.loss(pcm, labels, self.dials.agent_clips)
        figures["grad"] = self.update(total)
        return figures

    def _free(self, is_free: bool) -> None:
        """Let the codec learn, or only the phone heads."""
        for parameter in self.trainee.codec.parameters():
            parameter.requires_grad_(is_free)

    def _has_latents_to_seed(self) -> bool:
        """They are not stored: a run resumed at this very moment gathers them first."""
        bins = self.trainee.codec.config.quantizer.bins
        return sum(len(latents) for latents in self._latents) >= SEED_LATENTS * bins

    def _more(self) -> dict[str, object]:
        return {"quantizing": self.quantizing, "heads_alone_steps": self.heads_alone_steps}

    def _take(self, state: dict[str, object]) -> None:
        self.quantizing = bool(state["quantizing"])
        self.heads_alone_steps = int(str(state["heads_alone_steps"]))
