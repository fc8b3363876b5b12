"""The decoder alone learns the agent's voice; nothing else moves, so tokens keep their meaning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.codec import Codec
from model.config import FRAME_SAMPLES, SAMPLE_RATE_HZ
from model.order_line import AGENT_LINES
from model.training.agent_voice import AgentSentence
from model.training.codec_stage import FFT_SIZES
from model.training.feed import Share
from model.training.muon import MuonAdamW
from model.training.stage import Figures, Stage
from model.training.tokens_stage import SETTLE_FRAMES, encode_padded

CLIP_FRAMES = 30
WARM_FRAMES = 6  # decoded before the part that is scored, as the engine's decoder is never cold in a sentence
NUM_MELS = 80
TELEPHONE_TOP_HZ, IN_BAND_WEIGHT = 4_000, 4.0
FIXED_LINE_SHARE = 12.0  # how much oftener a line that every call holds is taught than one read-back


@dataclass(frozen=True)
class VoiceDials:
    """What one may turn; the rest is in the code."""

    minutes: float = 20.0
    clips: int = 4
    muon_lr: float = 0.006
    adam_lr: float = 1e-3


def mel_filters(size: int, count: int) -> Tensor:
    """Triangular filters, equally wide on the mel scale: float [count, size // 2 + 1]."""
    top = 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    edges_hz = 700 * (10 ** (np.linspace(0, top, count + 2) / 2595) - 1)
    bins_hz = np.linspace(0, SAMPLE_RATE_HZ / 2, size // 2 + 1)
    rise = (bins_hz - edges_hz[:-2, None]) / np.diff(edges_hz)[:-1, None]
    fall = (edges_hz[2:, None] - bins_hz) / np.diff(edges_hz)[1:, None]
    return torch.from_numpy(np.maximum(0, np.minimum(rise, fall)).astype(np.float32))


def band_weights(size: int) -> Tensor:
    """How much each bin of a spectrum counts, 1 in the mean: float [size // 2 + 1, 1].

    Most callers hear a telephone's band and nothing above it.
    """
    bins_hz = torch.linspace(0, SAMPLE_RATE_HZ / 2, size // 2 + 1)
    weights = torch.where(bins_hz < TELEPHONE_TOP_HZ, IN_BAND_WEIGHT, 1.0)
    return (weights / weights.mean())[:, None]


class VoiceLoss:
    """Distance of spectra (log and plain) at several windows, and of log-mel spectra."""

    def __init__(self, device: torch.device) -> None:
        self._mel = mel_filters(1024, NUM_MELS).to(device)
        self._bands = {size: band_weights(size).to(device) for size in FFT_SIZES}

    def __call__(self, said: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of waveforms float [B, T], and the mean log10-mel error to report."""
        loss = said.new_zeros(())
        for size in FFT_SIZES:
            window = torch.hann_window(size, device=said.device)
            a, b = (
                torch.stft(x, size, size // 4, window=window, return_complex=True).abs().clamp(min=3e-4)
                for x in (said, wanted)
            )
            distance = (a.log() - b.log()).abs() + 6 * (a - b).abs() / size**0.5
            loss = loss + (distance * self._bands[size]).mean()
            if size == 1024:
                mel_a, mel_b = ((self._mel @ x).clamp(min=1e-3).log10() for x in (a, b))
                error = (mel_a - mel_b).abs().mean()
        return loss / len(FFT_SIZES) + 4 * error, error.detach()


VoiceBatch = tuple[Tensor, Tensor]  # codes int16 [B, K, CLIP_FRAMES], the sound they stand for float32 [B, T]


class VoiceTraining(Stage[VoiceBatch]):
    """The whole stage."""

    def __init__(
        self, codec: Codec, sentences: Sequence[AgentSentence], dials: VoiceDials, folder: Path
    ) -> None:
        self.codec, self.dials = codec, dials
        for p in codec.parameters():
            p.requires_grad_(False)
        for module in [
            codec.upsample,
            codec.decoder_transformer,
            codec.decoder,
            codec.quantizer.rvq_first.output_proj,
            codec.quantizer.rvq_rest.output_proj,
        ]:
            for p in module.parameters():
                p.requires_grad_(True)
        optimizer = MuonAdamW(codec.named_parameters(), muon_lr=dials.muon_lr, adam_lr=dials.adam_lr)
        super().__init__(codec, optimizer, folder / "voice.pt", dials.minutes, max_norm=5.0)
        self.loss = VoiceLoss(self.device)
        self._sounds, self._codes = self._encode(sentences)
        fixed = {line.text for line in AGENT_LINES}
        self._shares = [FIXED_LINE_SHARE if sentence.text in fixed else 1.0 for sentence in sentences]

    def _encode(
        self, sentences: Sequence[AgentSentence]
    ) -> tuple[list[NDArray[np.float32]], list[NDArray[np.int16]]]:
        lead = np.zeros(SETTLE_FRAMES * FRAME_SAMPLES, np.float32)
        sounds = []
        for sentence in sentences:
            length = max(len(sentence.pcm), CLIP_FRAMES * FRAME_SAMPLES)
            length += -length % FRAME_SAMPLES + 4 * FRAME_SAMPLES
            tail = np.zeros(length - len(sentence.pcm), np.float32)
            sounds.append(np.concatenate([lead, sentence.pcm, tail]))
        codes: list[NDArray[np.int16]] = []
        for start in range(0, len(sounds), 8):
            codes += encode_padded(self.codec, sounds[start : start + 8])
        return sounds, codes

    def batches(self, share: Share) -> Iterator[VoiceBatch]:
        """Endless batches of random clips."""
        rng = share.rng
        while True:
            picks = rng.choices(range(len(self._sounds)), self._shares, k=self.dials.clips)
            codes, sounds = [], []
            for pick in picks:
                at = rng.randrange(self._codes[pick].shape[1] - CLIP_FRAMES + 1)
                codes.append(self._codes[pick][:, at : at + CLIP_FRAMES])
                sounds.append(self._sounds[pick][at * FRAME_SAMPLES : (at + CLIP_FRAMES) * FRAME_SAMPLES])
            yield torch.from_numpy(np.stack(codes)), torch.from_numpy(np.stack(sounds))

    def step(self, batch: VoiceBatch) -> Figures:
        """One update; its share of the time budget sets the learning rate."""
        codes, sound = (part.to(self.device, non_blocking=True) for part in batch)
        with torch.autocast(self.device.type, torch.bfloat16):
            said = self.codec.decode(codes.long())[:, 0].float()
        warm = WARM_FRAMES * FRAME_SAMPLES
        loss, error = self.loss(said[:, warm:], sound[:, warm:])
        return {"grad": self.update(loss), "log10_mel_error": float(error)}
