"""The engine: one model, S slots, one batched step per 80 ms frame. One thread only; no sockets here.

A slot is a row of every state tensor. It is started for a call, stepped while the call's frames arrive, and
stopped; rows that are idle in a step keep what they remember and cost no call anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.checkpoint import load_tensors, read_config, read_safetensors
from model.codec import Codec
from model.config import FRAME_SAMPLES, SAMPLE_RATE_HZ, ModelConfig
from model.errors import CheckpointError, PromptError, SlotError
from model.generate import UNGENERATED, Generator
from model.lm import Lm
from model.tokenizer import EPAD, PAD, TextTokenizer, load_text_tokenizer

__all__ = ["BUILTIN", "FRAME_SAMPLES", "SAMPLE_RATE_HZ", "Engine", "StepOutput"]

BUILTIN = Path(__file__).parent / "builtin"
NO_TOKEN = -1
ONCE_FRAMES = 2  # a caller's word is not written twice within so many frames
FAR_BELOW = -1e9  # a logit that is never drawn


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What one step gave, a row per slot."""

    pcm: NDArray[np.float32]  # [S, 1920] agent audio; zeros in idle rows and until a slot's first whole frame
    text: NDArray[np.int32]  # [S] agent text token drawn in this step; NO_TOKEN in idle rows
    caller_text: NDArray[np.int32]  # [S] caller-transcript token; NO_TOKEN in idle rows
    tokens: NDArray[np.int16]  # [S, 1 + n_q] the column that was read: the history that can re-prime a slot


class Engine:
    """Codec and language model on one device, a row of the batch for each call."""

    def __init__(
        self,
        config: ModelConfig,
        codec: Codec,
        lm: Lm,
        tokenizer: TextTokenizer,
        num_slots: int,
        *,
        greedy: bool = False,
    ) -> None:
        if num_slots < 1:
            raise SlotError(f"an engine needs at least one slot, not {num_slots}")
        self.config, self.num_slots, self.tokenizer = config, num_slots, tokenizer
        self._device = next(lm.parameters()).device
        self._codec, self._lm = codec.eval(), lm.eval()
        self._generator = Generator(lm, num_slots, config.sampling, greedy=greedy)
        self._hearing = codec.encoder_state(num_slots)
        self._speaking = codec.decoder_state(num_slots)
        self._forced = torch.full((num_slots,), NO_TOKEN, device=self._device)
        self._started = np.zeros(num_slots, dtype=bool)
        # Text tokens of the last frames, newest first: int64 [text_once_frames, S].
        once = config.sampling.text_once_frames
        self._said = torch.full((once, num_slots), PAD, device=self._device)
        # What the transcript head wrote in the last frames, newest first: int64 [ONCE_FRAMES, S].
        self._written = torch.full((ONCE_FRAMES, num_slots), tokenizer.pad, device=self._device)
        banned = [token for token in (tokenizer.nobody,) if token >= 0]
        self._banned = torch.tensor(banned, dtype=torch.int64, device=self._device)

    @classmethod
    def load(cls, directory: Path, num_slots: int, *, device: str = "cpu", greedy: bool = False) -> Engine:
        """The engine of a model folder (config.json, codec.safetensors, lm.safetensors, tokenizer.model).

        Raises CheckpointError or ConfigError naming the file and what is wrong with it.
        """
        config = read_config(directory)
        codec, lm = Codec(config.codec), Lm(config.lm)
        for module, name in ((codec, "codec.safetensors"), (lm, "lm.safetensors")):
            load_tensors(module, read_safetensors(directory / name), str(directory / name))
        tokenizer = load_text_tokenizer(directory)
        if tokenizer.card != config.lm.text_card:
            raise CheckpointError(
                f"{directory}: the tokenizer has {tokenizer.card} tokens, the model {config.lm.text_card}; "
                "they belong to different models"
            )
        return cls(config, codec.to(device), lm.to(device), tokenizer, num_slots, greedy=greedy)

    @property
    def num_streams(self) -> int:
        """Tokens per column of a slot's history."""
        return self.config.lm.num_streams

    def _row(self, slot: int) -> Tensor:
        if not 0 <= slot < self.num_slots:
            raise SlotError(f"slot {slot} does not exist; this engine has {self.num_slots}")
        row = torch.zeros(self.num_slots, dtype=torch.bool, device=self._device)
        row[slot] = True
        return row

    @torch.inference_mode()
    def start(
        self,
        slot: int,
        *,
        seed: int,
        history: NDArray[np.int16] | None = None,
        caller_pcm: NDArray[np.float32] | None = None,
    ) -> None:
        """Ready a free slot: `history` int16 [T, 1 + n_q] is remembered without being spoken again,
        `caller_pcm` float32 [N] (the caller's last seconds) warms the hearing.

        Raises SlotError if the slot is taken, PromptError if the history is not this model's.
        """
        row = self._row(slot)
        if self._started[slot]:
            raise SlotError(f"slot {slot} is in use; stop it before starting it again")
        if history is not None and len(history):
            self._check_history(history)
        self._hearing.reset(row)
        self._speaking.reset(row)
        self._generator.reset(row)
        self._generator.noise.seed(slot, seed)
        self._forced[slot] = NO_TOKEN
        self._written[:, slot] = self.tokenizer.pad
        self._said[:, slot] = PAD
        if history is not None and len(history):
            self._generator.replay(slot, history)
        if caller_pcm is not None and len(caller_pcm) >= FRAME_SAMPLES:
            self._warm(slot, caller_pcm)
        self._started[slot] = True

    def _check_history(self, history: NDArray[np.int16]) -> None:
        lm = self.config.lm
        if history.ndim != 2 or history.shape[1] != lm.num_streams:
            raise PromptError(
                f"history has shape {list(history.shape)}; this model's columns hold {lm.num_streams} tokens"
            )
        limit = np.array([lm.text_card] + [lm.card] * lm.n_q)
        if (history > limit).any() or (history < NO_TOKEN).any():
            raise PromptError("history holds tokens that this model does not have; it is another model's")

    def _warm(self, slot: int, caller_pcm: NDArray[np.float32]) -> None:
        """Let one row's hearing live through the caller's last whole frames."""
        state = self._codec.encoder_state(1)
        whole = len(caller_pcm) // FRAME_SAMPLES * FRAME_SAMPLES
        sound = torch.from_numpy(np.array(caller_pcm[-whole:], dtype=np.float32)).to(self._device)
        for frame in sound.view(-1, 1, 1, FRAME_SAMPLES):
            self._codec.latent(frame, state)
        for mine, theirs in zip(self._hearing.walk(), state.walk(), strict=True):
            mine[slot] = theirs[0]

    def force_text(self, slot: int, token: int) -> None:
        """Make the slot's next step take this text token instead of drawing one.

        Raises SlotError if the slot is free, PromptError if the model has no such token.
        """
        self._row(slot)
        if not self._started[slot]:
            raise SlotError(f"slot {slot} is free; start it before forcing its text")
        if not 0 <= token < self.config.lm.text_card:
            raise PromptError(f"text token {token} is outside 0..{self.config.lm.text_card - 1}")
        self._forced[slot] = token

    def stop(self, slot: int) -> None:
        """Free a slot; freeing a free one does nothing."""
        self._row(slot)
        self._started[slot] = False

    @torch.inference_mode()
    def step(self, pcm: NDArray[np.float32], active: NDArray[np.bool_]) -> StepOutput:
        """Move the active slots on by one frame: float32 [S, 1920], bool [S].

        Raises SlotError if a free slot is active.
        """
        assert pcm.shape == (self.num_slots, FRAME_SAMPLES), pcm.shape
        if (active & ~self._started).any():
            raise SlotError(
                f"slots {np.flatnonzero(active & ~self._started).tolist()} are stepped while free"
            )
        mask = torch.from_numpy(active).to(self._device)
        self._hearing.set_exec_mask(mask)
        heard = self._codec.encode(torch.from_numpy(pcm).to(self._device)[:, None], self._hearing)[:, :, 0]
        drawn = self._generator.step(
            heard[:, : self.config.lm.n_q - self.config.lm.dep_q],
            mask,
            text_logits_hook=self._shape_text,
            forced_text=self._forced,
        )
        self._forced.masked_fill_(mask, NO_TOKEN)
        if len(self._said):
            newest = torch.cat([drawn.text[None].clamp(min=0), self._said[:-1]])
            self._said = torch.where(mask, newest, self._said)
        speech = self._speak(drawn.frame)
        return StepOutput(
            pcm=speech.cpu().numpy(),
            text=torch.where(mask, drawn.text, NO_TOKEN).int().cpu().numpy(),
            caller_text=self._caller_text(drawn.extra, mask),
            tokens=drawn.column.to(torch.int16).cpu().numpy(),
        )

    def _shape_text(self, logits: Tensor) -> None:
        """Forbid what only the runtime may say, and a piece that was said a moment ago."""
        logits[:, self._banned] = FAR_BELOW
        if len(self._said):
            padding = logits[:, [EPAD, PAD]]
            logits.scatter_(1, self._said.T, FAR_BELOW)
            logits[:, [EPAD, PAD]] = padding

    def _speak(self, frame: Tensor) -> Tensor:
        """Sound of the rows whose frame is whole: int64 [S, dep_q] -> float32 [S, 1920]."""
        whole = frame[:, 0] != UNGENERATED
        self._speaking.set_exec_mask(whole)
        sound = self._codec.decode(frame.clamp(min=0)[:, :, None], self._speaking)[:, 0]
        return torch.where(whole[:, None], sound, torch.zeros_like(sound)).clamp(-1, 1)

    def _caller_text(self, heads: Tensor, mask: Tensor) -> NDArray[np.int32]:
        """The token that the transcript head writes, int32 [S]; PAD throughout for a model without that head.

        The head does not see what it wrote and may write a piece on two frames in a row; the second is PAD.
        """
        if heads.shape[1] == 0:
            token = torch.full_like(mask, self.tokenizer.pad, dtype=torch.int64)
        else:
            token = heads[:, 0].argmax(-1)
        again = (token == self._written).any(0) & (token != self.tokenizer.pad)
        token = torch.where(again, self.tokenizer.pad, token)
        newest = torch.cat([token[None], self._written[:-1]])
        self._written = torch.where(mask, newest, self._written)
        return torch.where(mask, token, NO_TOKEN).int().cpu().numpy()
