"""The listener to how callers speak (`model.prosody`) learns on the frozen codec's convolutions.

Each utterance goes over one line before training begins; what the convolutions and the pitch give of it is
kept, so a step is cheap. The recurrent network is taught in every frame, most in those at an utterance's end,
by which an answer goes; the start is left out, since half a second of speech tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from model.codec import Codec
from model.config import FRAME_SAMPLES
from model.phrasings import Tone
from model.prosody import ProsodyListener
from model.training.acoustics import Acoustics
from model.training.bank import NO_LABEL, Stem, Turn, load_shard
from model.training.feed import Share
from model.training.manners import AFTER_FRAMES, FIRST_FRAMES, MANNERS, NOBODY
from model.training.muon import MuonAdamW
from model.training.stage import Figures, Report, Stage
from model.training.tokens_stage import LEAD_FRAMES

KEPT_LEAD_FRAMES = 6  # of the line before the speech
TAIL_FRAMES = 10
END_FRAMES, END_WEIGHT = 5, 3.0
NOBODY_WEIGHT = 0.3
DROPOUT = 0.3
# Of what the listener is given in training: noise in its own measure; channels that are missing throughout,
# and stretches. Without them it knows the bank's utterances by heart after two minutes.
NOISE, MISSING_CHANNELS = 0.15, 0.12
MISSING_SHARE, MISSING_STEPS = 0.7, (2, 16)  # of utterances; steps of 40 ms
PLAIN_SHARE = 0.25  # of utterances, for each kind of plain ones
VALIDATE_EVERY_S = 30.0
LONGEST_FRAMES = 120


@dataclass(frozen=True)
class ToneDials:
    """What one may turn; the rest is in the code."""

    minutes: float = 6.0
    utterances: int = 32
    muon_lr: float = 0.006
    adam_lr: float = 2e-3


@dataclass(frozen=True)
class ToneClip:
    """An utterance as the listener is given it, float16 [C, 2 T], and the code to tell, int64 [T]."""

    given: NDArray[np.float16]
    labels: NDArray[np.int64]
    last: int  # frame of the last sound


def label(manner: int, first: int, last: int, num_frames: int) -> NDArray[np.int64]:
    """The code of each frame, int64 [num_frames]; NO_LABEL where nobody could tell."""
    labels = np.full(num_frames, NOBODY, np.int64)
    labels[max(0, first - 1) : last + 1 + 2 * AFTER_FRAMES] = NO_LABEL
    labels[first + FIRST_FRAMES : last + 1 + AFTER_FRAMES] = manner
    return labels


@torch.inference_mode()
def tone_clips(
    codec: Codec, stems: Sequence[Stem], acoustics: Acoustics, draws: np.random.Generator
) -> list[ToneClip]:
    """Every turn of the stems over a line of its own, but for those too short to tell."""
    turns = [turn for stem in stems for turn in stem.turns if turn.request is not None and turn.words]
    return [clip for turn in turns if (clip := _clip(codec, turn, acoustics, draws)) is not None]


def _clip(codec: Codec, turn: Turn, acoustics: Acoustics, draws: np.random.Generator) -> ToneClip | None:
    assert turn.request is not None
    lead = LEAD_FRAMES * FRAME_SAMPLES + int(draws.integers(FRAME_SAMPLES))
    length = lead + len(turn.pcm) + TAIL_FRAMES * FRAME_SAMPLES
    sound = np.zeros(length - length % FRAME_SAMPLES, np.float32)
    sound[lead : lead + len(turn.pcm)] = turn.pcm
    start_s = lead / 24_000
    first = int((start_s + turn.words[0].start_s) * 12.5)
    last = int((start_s + turn.words[-1].end_s) * 12.5)
    if last - first < FIRST_FRAMES or last - first > LONGEST_FRAMES:
        return None
    device = next(codec.parameters()).device
    pcm = torch.from_numpy(acoustics.over_line(sound, draws))[None, None].to(device)
    given = given_to_listener(codec, pcm)[0].half().cpu().numpy()
    cut = LEAD_FRAMES - KEPT_LEAD_FRAMES
    labels = label(MANNERS[turn.request.tone], first - cut, last - cut, given.shape[1] // 2 - cut)
    return ToneClip(given[:, 2 * cut :], labels, last - cut)


def given_to_listener(codec: Codec, pcm: Tensor) -> Tensor:
    """What the codec's listener reads of float [B, 1, T]: [B, C + PITCH_DIM, T / 960]."""
    assert codec.prosody is not None
    return torch.cat([codec.local_features(pcm), codec.prosody.pitch(pcm)], dim=1)


ToneBatch = tuple[
    Tensor, Tensor, Tensor
]  # given float [B, C, 2 T], labels int64 [B, T], weights float [B, T]


def collate(clips: Sequence[ToneClip]) -> ToneBatch:
    """A batch; what lies beyond a clip's end has no label."""
    frames = max(len(clip.labels) for clip in clips)
    given = np.zeros((len(clips), clips[0].given.shape[0], 2 * frames), np.float32)
    labels = np.full((len(clips), frames), NO_LABEL, np.int64)
    weights = np.ones((len(clips), frames), np.float32)
    for row, clip in enumerate(clips):
        num = len(clip.labels)
        given[row, :, : 2 * num] = clip.given[:, : 2 * num]
        labels[row, :num] = clip.labels
        weights[row, max(0, clip.last - END_FRAMES) : clip.last + AFTER_FRAMES] = END_WEIGHT
    weights[labels == NOBODY] = NOBODY_WEIGHT
    return torch.from_numpy(given), torch.from_numpy(labels), torch.from_numpy(weights)


class ToneTraining(Stage[ToneBatch]):
    """The whole stage: `clips` teach, in equal parts of each tone; `validation` are others.

    So do `plain` ones, kind by kind: people, and synthesisers as they are, all calm. Without them the
    listener took what it had never heard for a tone: of 192 answers to such callers 38 were for hurried ones.
    """

    def __init__(
        self,
        listener: ProsodyListener,
        clips: Sequence[ToneClip],
        validation: Sequence[ToneClip],
        dials: ToneDials,
        folder: Path,
        *,
        plain: Sequence[Sequence[ToneClip]] = (),
    ) -> None:
        torch.manual_seed(0)
        self.listener, self.dials = listener, dials
        self._clips, self._validation = clips, validation
        self._plain = [kind for kind in plain if kind]
        optimizer = MuonAdamW(listener.named_parameters(), muon_lr=dials.muon_lr, adam_lr=dials.adam_lr)
        super().__init__(listener, optimizer, folder / "tone.pt", dials.minutes, max_norm=1.0)
        self._validated_s = 0.0
        listener.halve.register_forward_hook(self._drop_out)
        listener.gru.register_forward_hook(self._drop_out_hidden)
        listener.train()  # a frozen codec's is not

    def settle(self) -> None:
        """Let a new listener's inputs have mean 0 and variance 1 over the clips; a trained one's stay."""
        if not torch.equal(self.listener.scale, torch.ones_like(self.listener.scale)):
            return
        some = [torch.from_numpy(clip.given.astype(np.float32)) for clip in self._clips[:1000]]
        joined = torch.cat(some, dim=1)
        self.listener.mean.copy_(joined.mean(1))
        self.listener.scale.copy_(1 / (joined.std(1) + 1e-4))

    def _drop_out(self, module: nn.Module, args: object, out: Tensor) -> Tensor:
        return F.dropout(out, DROPOUT, self.listener.training)

    def _drop_out_hidden(
        self, module: nn.Module, args: object, out: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        return F.dropout(out[0], DROPOUT, self.listener.training), out[1]

    def batches(self, share: Share) -> Iterator[ToneBatch]:
        """Endless batches of random utterances."""
        rng = share.rng
        while True:
            each = round(PLAIN_SHARE * self.dials.utterances)
            plain = [clip for kind in self._plain for clip in rng.choices(kind, k=each)]
            yield collate([*plain, *rng.choices(self._clips, k=self.dials.utterances - len(plain))])

    def _loss(self, batch: ToneBatch) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, and of each utterance what is told at its end and what should be, int64 [B]."""
        given, labels, weights = (part.to(self.device) for part in batch)
        logits = self.listener.listen(given)
        each = F.cross_entropy(logits, labels, reduction="none", ignore_index=NO_LABEL, label_smoothing=0.05)
        is_asked = labels != NO_LABEL
        loss = (each * weights * is_asked).sum() / (weights * is_asked).sum()
        spoken = (is_asked & (labels != NOBODY)).float()
        place = spoken * torch.arange(labels.shape[1], device=labels.device)
        end = place.argmax(1) - AFTER_FRAMES + 1  # when an answer is due
        rows = torch.arange(len(labels), device=labels.device)
        return loss, logits[rows, :, end].argmax(1), labels[rows, place.argmax(1)]

    def _blurred(self, given: Tensor) -> Tensor:
        """What of float [B, C, T] is given in training; what is missing is at its mean."""
        mean, scale = self.listener.mean[:, None], self.listener.scale[:, None]
        is_kept = torch.rand(*given.shape[:2], 1, device=given.device) >= MISSING_CHANNELS
        starts = torch.randint(given.shape[2], (len(given), 1, 1), device=given.device)
        lengths = torch.randint(*MISSING_STEPS, starts.shape, device=given.device)
        lengths *= torch.rand(starts.shape, device=given.device) < MISSING_SHARE
        at = torch.arange(given.shape[2], device=given.device)
        is_kept = is_kept & ~((at >= starts) & (at < starts + lengths))
        return torch.where(is_kept, given + NOISE * torch.randn_like(given) / scale, mean)

    def step(self, batch: ToneBatch) -> Figures:
        """One update; its share of the time budget sets the learning rate."""
        given, labels, weights = batch
        loss, told, wanted = self._loss((self._blurred(given.to(self.device)), labels, weights))
        return {
            "grad": self.update(loss),
            "tone": float(loss.detach()),
            "tone_acc": float((told == wanted).float().mean()),
        }

    def _between_steps(self, report: Report) -> None:
        if not self._validation or self.spent_s - self._validated_s < VALIDATE_EVERY_S:
            return
        self._validated_s = self.spent_s
        figures = self.validate(self._validation)
        self.metrics.write(self.steps, self.spent_s, figures)
        told = " ".join(f"{name} {value:.3f}" for name, value in figures.items())
        report(f"validation at {self.steps}: {told}")

    @torch.no_grad()
    def validate(self, clips: Sequence[ToneClip]) -> Figures:
        """How many of each tone's utterances are told right at their end; names begin with `val_`."""
        self.listener.eval()
        hits: dict[int, list[bool]] = {code: [] for code in MANNERS.values()}
        for at in range(0, len(clips), 64):
            _, told, wanted = self._loss(collate(clips[at : at + 64]))
            for one, code in zip(told.tolist(), wanted.tolist(), strict=True):
                hits[code].append(one == code)
        self.listener.train()
        return {
            f"val_{tone.value}_acc": float(np.mean(hits[code]))
            for tone, code in MANNERS.items()
            if hits[code]
        }


def load_tone_clips(
    codec: Codec, paths: Sequence[Path], acoustics: Acoustics, seed: int, *, calm_only: bool = False
) -> list[ToneClip]:
    """The utterances of some shards over lines drawn from the seed; with `calm_only`, the calm ones."""
    draws = np.random.default_rng(seed)
    stems = [stem for path in paths for stem in load_shard(path)]
    if calm_only:
        stems = [replace(stem, turns=[turn for turn in stem.turns if _is_calm(turn)]) for stem in stems]
    return tone_clips(codec, stems, acoustics, draws)


def _is_calm(turn: Turn) -> bool:
    return turn.request is not None and turn.request.tone is Tone.CALM
