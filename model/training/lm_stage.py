"""The language model learns from whole calls when to speak, what to say, and to note what it hears.

Source of the objective: Moshi (arXiv 2410.00037, section 4.2), plus a head that predicts the caller's words,
which gives the hearing a dense target. What it wrote is read back, so that an answer can be worded by it: in
training mostly the true words, with some missing, and in a share of the steps what the model writes itself.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from model.config import ZERO_TOKEN, LmConfig
from model.lm import Lm
from model.tokenizer import EPAD, PAD
from model.training.dialogues import Call, Scriptwriter
from model.training.feed import Share
from model.training.muon import MuonAdamW
from model.training.replay import Replayed
from model.training.rewording import reword
from model.training.stage import Figures, Report, Stage, means, schedule
from model.training.tokens_stage import TokenStem
from model.transformer import LmLayer

PAD_WEIGHT = 0.25  # of padding targets; most columns are padding
TAUGHT_SHARE = 0.15  # of the columns whose codes are taught in one step
QUIET_WEIGHT = 0.08  # of a column in which the agent is silent, when they are drawn
# Of the learning rates, for a model that begins with trained weights: they were chosen for eight times the
# calls that a CPU has time for in a step.
GENTLENESS = 0.4
DROPOUT = 0.1  # of what attention and the gated units add: a bank is heard hundreds of times
DROP_SHARE = 0.04  # of the caller's frames that go missing in training
VALIDATE_EVERY_S = 60.0
REHEARSE_EVERY_S = 400.0  # in closed loop, step by step: dear
OWN, FORCED, TIMED = (
    0,
    1,
    2,
)  # text: the model's; the runtime's; the runtime's at a moment that the model chose
DROP_PIECE_SHARE = 0.05  # of what is read back of the caller's words: a model may miss one, and goes on
OWN_TRANSCRIPT_SHARE = 0.3  # of the steps, in which the model reads back what it wrote
OWN_PASSES = 3  # in which that is written
LOOK_EVERY_CALLS = 1000  # drawn by a process, for callers and sentences that are new
DROP_CODE_SHARE = 0.12  # of the single codes: without it callers of the bank are learnt by heart


@dataclass(frozen=True)
class LmDials:
    """What one may turn; the rest is in the code."""

    minutes: float = 60.0
    calls: int = 5
    num_columns: int = 480
    muon_lr: float = 0.012
    adam_lr: float = 2.5e-3
    text_weight: float = 1.0
    transcript_weight: float = 1.0
    audio_weight: float = 0.5
    reworded_share: float = 0.6  # of the calls

    def gentle(self) -> LmDials:
        """For a language model that begins with trained weights; less so the more calls a step has."""
        factor = min(1.0, GENTLENESS * self.calls / LmDials.calls)
        return replace(self, muon_lr=factor * self.muon_lr, adam_lr=factor * self.adam_lr)


@dataclass(frozen=True)
class Callers:
    """Who calls in training: synthetic callers and, in a share of the calls, recorded people (if any)."""

    synthetic: Sequence[TokenStem]
    recorded: Sequence[TokenStem] = ()
    recorded_share: float = 0.0

    def draw(self, rng: random.Random) -> TokenStem:
        """The caller of one call."""
        is_recorded = bool(self.recorded) and rng.random() < self.recorded_share
        return rng.choice(self.recorded if is_recorded else self.synthetic)


def weighted_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean over what has weight: logits float [N, C], target int64 [N], weight float [N]."""
    each = F.cross_entropy(logits.float(), target, reduction="none")
    return (each * weight).sum() / weight.sum().clamp(min=1e-6)


# What a step tells, in this order.
FIGURES = ("text", "timing", "heard", "audio", "text_acc", "word_start_acc", "heard_acc", "grad")

CallBatch = tuple[Tensor, Tensor, Tensor, Tensor]


def collate(calls: Sequence[Call], rng: np.random.Generator) -> CallBatch:
    """Codes int64 [B, 2 + n_q, T] with frames lost, and pieces of the transcript that is their last stream;
    transcript, weight and whose the text is, each [B, T]."""
    codes = np.stack([np.concatenate([c.text[None], c.agent, c.caller, c.read_back[None]]) for c in calls])
    first = 1 + calls[0].agent.shape[0]
    lost = rng.random((len(calls), 1, codes.shape[-1])) < DROP_SHARE
    caller, read_back = codes[:, first:-1], codes[:, -1]
    lost = lost | (rng.random(caller.shape) < DROP_CODE_SHARE)
    caller[lost] = ZERO_TOKEN
    # In a reworded call nothing but what is read back tells what to say.
    own = np.array([[c.read_back is c.transcript] for c in calls])
    read_back[own & (rng.random(read_back.shape) < DROP_PIECE_SHARE)] = PAD
    weight = np.stack([(np.arange(codes.shape[-1]) < c.end).astype(np.float32) for c in calls])
    transcript = np.stack([c.transcript for c in calls])
    given = np.stack([np.where(c.timed, TIMED, np.where(c.forced, FORCED, OWN)) for c in calls])
    return (
        torch.from_numpy(codes),
        torch.from_numpy(transcript),
        torch.from_numpy(weight),
        torch.from_numpy(given),
    )


def _share(hit: Tensor, among: Tensor) -> Tensor:
    """Of the columns bool `among`, those bool `hit`: float [], not a number if there is none."""
    return (hit & among).sum() / among.sum()


def _is_reworded(codes: Tensor, transcript: Tensor) -> Tensor:
    """Which calls read back other words than were heard, bool [B]: what they say follows from these."""
    read_back = codes[:, -1]
    return ((read_back != transcript) & (read_back != PAD)).any(1)


def call_batches(
    callers: Callers,
    writer: Scriptwriter,
    dials: LmDials,
    share: Share,
    look: Callable[[], None] = lambda: None,
) -> Iterator[CallBatch]:
    """Endless batches of calls, each assembled anew; `look` may add to callers and writer now and then."""
    rng, draws = share.rng, share.draws
    for batch in itertools.count():
        if batch * dials.calls % LOOK_EVERY_CALLS < dials.calls:
            look()
        calls = [writer.draw(callers.draw(rng), rng) for _ in range(dials.calls)]
        for call in calls:
            if rng.random() < dials.reworded_share:
                reword(call, writer.spelling, rng)
        yield collate(calls, draws)


class LmTraining(Stage[CallBatch]):
    """The whole stage; `silence` int64 [K] is the agent's silent frame, `validation` other callers' calls."""

    def __init__(
        self,
        config: LmConfig,
        dials: LmDials,
        folder: Path,
        silence: NDArray[np.int64],
        validation: Sequence[Call] = (),
        device: str = "cpu",
        rehearsal: Callable[[Lm], Figures] | None = None,
    ) -> None:
        torch.manual_seed(0)
        self.config, self.dials, self._validation = config, dials, validation
        self._rehearsal = rehearsal
        self.lm = Lm(config)
        self._init_weights()
        self.lm.to(device)
        optimizer = MuonAdamW(
            self.lm.named_parameters(),
            muon_lr=dials.muon_lr,
            adam_lr=dials.adam_lr,
            adam_only=("emb", "text_linear", "linears", "extra_heads"),
        )
        super().__init__(self.lm, optimizer, folder / "lm.pt", dials.minutes, max_norm=2.0)
        self.silence = torch.from_numpy(silence).to(self.device)
        self._padding = torch.tensor([EPAD, config.existing_text_padding_id], device=self.device)
        self._replayed = Replayed(self._update)
        self._validated_s = self._rehearsed_s = 0.0
        for layer in self.lm.transformer.layers:
            assert isinstance(layer, LmLayer)
            for part in (layer.self_attn, layer.gating):
                part.register_forward_hook(self._drop_out)

    def _drop_out(self, module: nn.Module, args: object, out: Tensor) -> Tensor:
        return F.dropout(out, DROPOUT, self.lm.training)

    def _init_weights(self) -> None:
        for name, p in self.lm.named_parameters():
            if "emb" in name:
                nn.init.normal_(p, std=0.1)
            elif p.dim() == 2 and ("out_proj" in name or "linear_out" in name):
                nn.init.normal_(p, std=0.3 * p.shape[1] ** -0.5)
            elif p.dim() == 2 and ("text_linear" in name or "linears" in name or "extra" in name):
                nn.init.normal_(p, std=0.02)

    def loss(
        self, codes: Tensor, transcript: Tensor, weight: Tensor, given: Tensor, *, reads_own: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The training loss of a batch of calls, and the figures worth watching, each float [].

        `given` int [B, T] tells whose the text is: OWN, FORCED or TIMED. Where the model reads what it wrote,
        writing is not taught: a word that came a frame early would be asked for once more.
        """
        pad, epad = self.config.existing_text_padding_id, EPAD
        columns = self._columns(codes)
        text = codes[:, 0]
        with torch.autocast(self.device.type, torch.bfloat16):
            hidden = self.lm.temporal(columns[:, :, :-1])
            text_logits = self.lm.text_linear(hidden).flatten(0, 1)
            heard_logits = self.lm.extra_heads[0](hidden).flatten(0, 1)
        quiet = (text == pad) | (text == epad)
        text_weight = weight * torch.where(text == pad, PAD_WEIGHT, 1.0) * (given == OWN)
        heard_weight = weight * torch.where(transcript == pad, PAD_WEIGHT, 1.0) * (not reads_own)
        parts = {
            "text": self.dials.text_weight
            * weighted_cross_entropy(text_logits, text.flatten(), text_weight.flatten()),
            "timing": self.dials.text_weight * self._timing_loss(text_logits, weight * (given == TIMED)),
            "heard": self.dials.transcript_weight
            * weighted_cross_entropy(heard_logits, transcript.flatten(), heard_weight.flatten()),
            "audio": self.dials.audio_weight * self._audio_loss(hidden, columns, weight),
        }
        hit = text_logits.argmax(-1).view_as(text) == text
        heard_hit = heard_logits.argmax(-1).view_as(text) == transcript
        spoken = ~quiet & (weight > 0) & (given == OWN)
        start = spoken & torch.cat([quiet[:, :1], quiet[:, :-1]], dim=1)
        words = (transcript != pad) & (weight > 0)
        figures = {name: value.detach() for name, value in parts.items()}
        if reads_own:
            figures["heard"] = torch.full_like(figures["heard"], torch.nan)
        figures |= {
            "text_acc": _share(hit, spoken),
            "word_start_acc": _share(hit, start),
            "heard_acc": _share(heard_hit, words),
        }
        return torch.stack(list(parts.values())).sum(), figures

    def _timing_loss(self, text_logits: Tensor, weight: Tensor) -> Tensor:
        """How unlikely any word at all was where a word began that the model did not choose.

        `text_logits` float [B T, C], `weight` float [B, T].
        """
        logits = text_logits.float()
        each = logits.logsumexp(1) - logits.index_fill(1, self._padding, -torch.inf).logsumexp(1)
        return (each * weight.flatten()).sum() / weight.sum().clamp(min=1e-6)

    def _audio_loss(self, hidden: Tensor, columns: Tensor, weight: Tensor) -> Tensor:
        """Cross-entropy of the agent's codes on a random share of the columns, mostly those with speech.

        As many are drawn each time, without repeats: in the order of u ** (1 / weight), u uniform (Efraimidis
        and Spirakis, 2006).
        """
        dep_q = self.config.dep_q
        target = columns[:, :, 1:].transpose(1, 2).flatten(0, 1)  # [B T, streams]
        audio = target[:, 1 : 1 + dep_q]
        known = ((audio >= 0) & (audio < self.config.card)).all(1) & (weight.flatten() > 0)
        speaking = (audio != self.silence).any(1)
        order = torch.rand(known.shape, device=self.device).log() / torch.where(speaking, 1.0, QUIET_WEIGHT)
        count = math.ceil(TAUGHT_SHARE * len(target))
        chosen = order.masked_fill(~known, -torch.inf).topk(count).indices
        taught = known[chosen].float()[:, None].expand(-1, dep_q)
        audio, state = (
            audio[chosen].clamp(0, self.config.card - 1),
            hidden.flatten(0, 1).index_select(0, chosen),
        )
        with torch.autocast(self.device.type, torch.bfloat16):
            logits = self.lm.depth(state, target[chosen, 0], audio)
        return weighted_cross_entropy(logits.flatten(0, 1), audio.flatten(), taught.flatten())

    def step(self, batch: CallBatch) -> Figures:
        """One update; its share of the time budget sets the learning rate."""
        parts = [part.to(self.device, non_blocking=True) for part in batch]
        reads_own = self.config.extra_heads_fed_back > 0 and float(torch.rand(())) < OWN_TRANSCRIPT_SHARE
        if self.device.type != "cuda":
            total, figures = self._loss_of(parts, reads_own)
            read = {name: float(value) for name, value in figures.items()}
            return read | {"grad": self.update(total)}
        self.optimizer.set_rates(schedule(self.share, self.steps))
        values = self._replayed(parts, reads_own).tolist()
        self._count(values[-1])
        return dict(zip(FIGURES, values, strict=True))

    def _update(self, parts: Sequence[Tensor], reads_own: bool) -> Tensor:
        """A whole step, nothing of it read: float [len(FIGURES)]."""
        total, figures = self._loss_of(parts, reads_own)
        figures["grad"] = self.update_unread(total)
        return torch.stack([figures[name] for name in FIGURES])

    def _loss_of(self, parts: Sequence[Tensor], reads_own: bool) -> tuple[Tensor, dict[str, Tensor]]:
        codes, *rest = parts
        if reads_own:
            is_reworded = _is_reworded(codes, rest[0])[:, None]
            read_back = torch.where(is_reworded, codes[:, -1], self._written(codes))
            codes = torch.cat([codes[:, :-1], read_back[:, None]], dim=1)
        return self.loss(codes, *rest, reads_own=reads_own)

    def _columns(self, codes: Tensor) -> Tensor:
        """Int64 [B, num_streams, T + 1]; a model that reads no transcript back is given none."""
        return self.lm.columns(codes[:, : self.config.num_streams])

    @torch.no_grad()
    def _written(self, codes: Tensor) -> Tensor:
        """The transcript as the model writes it, int64 [B, T], where it reads back the one in the codes.

        In the first pass each piece may be wrong once, and what follows is written after it; in the next ones
        errors bring about others, as in a call, without a pass for each frame.
        """
        self.lm.eval()  # as in a call
        for _ in range(OWN_PASSES):
            with torch.autocast(self.device.type, torch.bfloat16):
                hidden = self.lm.temporal(self._columns(codes)[:, :, :-1])
                written: Tensor = self.lm.extra_heads[0](hidden).argmax(-1)
            codes = torch.cat([codes[:, :-1], written[:, None]], dim=1)
        self.lm.train()
        return written

    def _between_steps(self, report: Report) -> None:
        if self._validation and self.spent_s - self._validated_s >= VALIDATE_EVERY_S:
            self._validated_s = self.spent_s
            self._tell(report, "validation", self.validate(self._validation))
        if self._rehearsal and self.spent_s - self._rehearsed_s >= REHEARSE_EVERY_S:
            self._rehearsed_s = self.spent_s
            self.lm.eval()
            self._tell(report, "closed loop", self._rehearsal(self.lm))
            self.lm.train()

    def _more(self) -> dict[str, object]:
        return {"validated_s": self._validated_s, "rehearsed_s": self._rehearsed_s}

    def _take(self, state: dict[str, object]) -> None:
        for name in ("validated_s", "rehearsed_s"):
            kept = state.get(name, self.spent_s)
            assert isinstance(kept, float)
            setattr(self, f"_{name}", kept)

    def _tell(self, report: Report, what: str, figures: Figures) -> None:
        self.metrics.write(self.steps, self.spent_s, figures)
        told = " ".join(f"{name} {value:.3f}" for name, value in figures.items())
        report(f"{what} at {self.steps}: {told}")

    @torch.no_grad()
    def validate(self, calls: Sequence[Call]) -> Figures:
        """The same figures on calls of stems that are not trained on; their names begin with `val_`."""
        draws = np.random.default_rng(0)
        chunks = [calls[i : i + 8] for i in range(0, len(calls), 8)]
        self.lm.eval()
        rows: list[Figures] = []
        for chunk in chunks:
            codes, *rest = (part.to(self.device) for part in collate(chunk, draws))
            rows.append({name: float(value) for name, value in self.loss(codes, *rest)[1].items()})
        self.lm.train()
        figures = means(rows)
        return {f"val_{name}": value for name, value in figures.items()}
