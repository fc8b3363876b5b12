"""What one tick computes: a fixed program over fixed tensors, and the ways to run it.

Everything a call remembers lies in tensors that the program writes in place. It asks the host for nothing,
so it can be run operator by operator, or captured whole as one CUDA graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.answering import Agent, Answering
from model.codec import Codec
from model.config import FRAME_SAMPLES, SamplingConfig
from model.controls import FAR_BELOW, NO_TOKEN
from model.generate import UNGENERATED, Generator
from model.recital import Offer, Recital
from model.streaming import State
from model.tokenizer import EPAD, PAD, TextTokenizer

ONCE_FRAMES = 2  # a caller's word is not written twice within so many frames
WARM_UP_STEPS = 3


class StepProgram:
    """Codec and language model of all slots; one call is one tick."""

    def __init__(
        self, codec: Codec, generator: Generator, tokenizer: TextTokenizer, sampling: SamplingConfig
    ) -> None:
        num_slots, device = len(generator.offsets), generator.offsets.device
        self.codec, self.generator = codec, generator
        self.hearing = codec.encoder_state(num_slots)
        self.speaking = codec.decoder_state(num_slots)
        self._pad = tokenizer.pad
        # Tokens of the last frames, newest first: what was said, and what the transcript head wrote.
        self.memory = State.root(num_slots, device)
        self.memory.add("said", (sampling.text_once_frames,), torch.int64)
        self.memory.add("written", (ONCE_FRAMES,), torch.int64)
        banned = [token for token in (tokenizer.nobody, tokenizer.announce) if token >= 0]
        self._banned = torch.tensor(banned, dtype=torch.int64, device=device)
        self._padding = torch.tensor([EPAD, PAD], device=device)
        self.recital: Recital | None = None
        if sampling.recite_from_digits:
            self.recital = Recital(
                tokenizer,
                generator.lm.config,
                sampling.recite_from_digits,
                num_slots,
                device,
                once_frames=sampling.text_once_frames,
            )
        self.answering: Answering | None = None
        if sampling.is_held_to_transcript:
            self.answering = Answering(tokenizer, generator.lm.config, sampling, num_slots, device)
        self.forget(torch.ones(num_slots, dtype=torch.bool, device=device))

    def forget(self, rows: Tensor) -> None:
        """Make the rows where bool [S] is true as fresh as a new call's."""
        for state in (self.hearing, self.speaking):
            state.reset(rows)
        self.generator.reset(rows)
        for tree in self._transcript_trees:
            tree.reset(rows)
        for name in ("said", "written"):
            self.memory[name][rows] = self._pad

    @property
    def trees(self) -> tuple[State, ...]:
        """Everything that a row remembers between ticks."""
        return (self.hearing, self.speaking, self.memory, *self._transcript_trees, *self.generator.trees)

    @property
    def _transcript_trees(self) -> tuple[State, ...]:
        return tuple(kept.tree for kept in (self.recital, self.answering) if kept is not None)

    def relive(self, row: int, columns: NDArray[np.int64]) -> None:
        """Let a fresh row recite what it was told in the columns int64 [T, num_streams] of its history."""
        for kept in (self.recital, self.answering):
            if kept is not None:
                kept.relive(row, columns[:, 0].tolist(), columns[:, -1].tolist())

    def tensors(self) -> list[Tensor]:
        """Every tensor that a tick may write, each once, always in the same order."""
        found = [tensor for tree in self.trees for tensor in (tree.exec_mask, *tree.walk())]
        return list(dict.fromkeys(found))

    def bind(self, tensors: Sequence[Tensor]) -> None:
        """Work on these from now on instead of one's own `tensors()`."""
        replaced = dict(zip(self.tensors(), tensors, strict=True))
        for tree in self.trees:
            tree.swap(replaced)

    def __call__(self, pcm: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        """Move the active rows on: float32 [S, 1920], bool [S].

        Gives the agent's sound float32 [S, 1920] (NaN in a row that has come to grief) and int32
        [S, 2 + num_streams]: the agent's text token, the caller's, and the column that was read.
        """
        config = self.generator.lm.config
        self.hearing.set_exec_mask(active)
        heard = self.codec.encode(pcm[:, None], self.hearing)[:, :, 0]
        controls = self.generator.controls
        is_free, is_muted = ~controls.is_saying, controls["silent_steps"] > 0
        is_hushed = torch.zeros_like(active)
        if self.answering is not None:
            is_hushed = self.answering.hush(is_free) & active
            controls.hush(is_hushed)
        offer = None if self.recital is None else self.recital.offer(is_free)
        shape_text = partial(self._shape_text, offer=offer, is_free=is_free)
        heads_hook = None if self.answering is None else partial(self.answering.shape_heads, is_free=is_free)
        drawn = self.generator.step(
            heard[:, : config.caller_q],
            active,
            text_logits_hook=shape_text,
            heads_hook=heads_hook,
            recited=None if offer is None else offer.due,
        )
        self.memory.set_exec_mask(active)
        self._note("said", drawn.text.clamp(min=0))
        sound = self._speak(drawn.frame)
        sound = torch.where((drawn.is_finite | ~active)[:, None], sound, torch.nan)
        text = torch.where(active, drawn.text, NO_TOKEN)
        caller_text = self._caller_text(drawn.extra, active)
        if self.recital is not None and offer is not None:
            self.recital.note(offer, drawn.text, caller_text, active)
        if self.answering is not None:
            self.answering.note(drawn.text, caller_text, active, Agent(is_muted, is_hushed))
        numbers = [text[:, None], caller_text[:, None], drawn.column]
        return sound, torch.cat(numbers, dim=1).int()

    def _shape_text(self, logits: Tensor, *, offer: Offer | None, is_free: Tensor) -> None:
        """Forbid what only the runtime may say, a piece said a moment ago, words not heard, a silence
        that is too long; point to a digit to recite."""
        logits.index_fill_(1, self._banned, FAR_BELOW)
        said = self.memory["said"]
        if said.shape[1]:
            padding = logits[:, self._padding]
            logits.scatter_(1, said, FAR_BELOW)
            logits[:, self._padding] = padding
        if self.answering is not None:
            self.answering.shape(logits, is_free)
        if self.recital is not None and offer is not None:
            self.recital.shape(logits, offer)

    def _note(self, name: str, newest: Tensor) -> None:
        before = self.memory[name]
        if before.shape[1]:
            self.memory.put(name, torch.cat([newest[:, None], before[:, :-1]], dim=1))

    def _speak(self, frame: Tensor) -> Tensor:
        """Sound of the rows whose frame is whole: int64 [S, agent_q] -> float32 [S, 1920]."""
        whole = frame[:, 0] != UNGENERATED
        self.speaking.set_exec_mask(whole)
        spoken = frame.clamp(0, self.generator.lm.config.card - 1)  # no other code may reach a GPU
        sound = self.codec.decode(spoken[:, :, None], self.speaking)[:, 0]
        return torch.where(whole[:, None], sound, torch.zeros_like(sound)).clamp(-1, 1)

    def _caller_text(self, heads: Tensor, active: Tensor) -> Tensor:
        """The token that the transcript head writes, int64 [S]; PAD throughout for a model without that head.

        A head whose writing is not fed back may write a piece on two frames in a row; the second is PAD.
        """
        if heads.shape[1] == 0:
            return torch.where(active, self._pad, NO_TOKEN)
        token = heads[:, 0].argmax(-1)
        if not self.generator.lm.config.extra_heads_fed_back:
            again = (token[:, None] == self.memory["written"]).any(1) & (token != self._pad)
            token = torch.where(again, self._pad, token)
            self._note("written", token)
        return torch.where(active, token, NO_TOKEN)


class Runner(Protocol):
    """A way to run a program for host arrays."""

    def run(self, pcm: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        """What the program gives for float32 [S, 1920] and bool [S] in host memory, in host memory."""


class EagerRunner:
    """Operator by operator, on any device."""

    def __init__(self, program: StepProgram) -> None:
        self._program = program
        self._device = program.generator.offsets.device

    @torch.inference_mode()
    def run(self, pcm: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        """See `Runner`."""
        sound, numbers = self._program(pcm.to(self._device), active.to(self._device))
        return sound.cpu(), numbers.cpu()


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all captures: libraries keep a workspace (32 MiB and more) for each stream they have met."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class CudaGraphRunner:
    """The whole program as one CUDA graph; the host waits once per tick, for the results' copy."""

    def __init__(self, program: StepProgram) -> None:
        self._device = program.generator.offsets.device
        with torch.cuda.device(self._device):
            self._prepare(program)

    def _prepare(self, program: StepProgram) -> None:
        device, num_slots = self._device, len(program.generator.offsets)
        self._pcm = torch.zeros(num_slots, FRAME_SAMPLES, device=device)
        self._active = torch.zeros(num_slots, dtype=torch.bool, device=device)
        self._pcm_staged = torch.zeros(num_slots, FRAME_SAMPLES).pin_memory()
        self._active_staged = torch.zeros(num_slots, dtype=torch.bool).pin_memory()
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._graph = torch.cuda.CUDAGraph()
        self._capture(program)
        self._sound_staged = torch.empty(self._sound.shape).pin_memory()
        self._numbers_staged = torch.empty(self._numbers.shape, dtype=torch.int32).pin_memory()

    @torch.inference_mode()
    def _capture(self, program: StepProgram) -> None:
        """Nobody is active meanwhile, so no row remembers it."""
        aside = _side_stream(self._device)
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP_STEPS):  # libraries choose their kernels and workspaces
                program(self._pcm, self._active)
        torch.cuda.current_stream().wait_stream(aside)
        with torch.cuda.graph(self._graph, stream=aside):
            self._sound, self._numbers = program(self._pcm, self._active)

    @torch.inference_mode()
    def run(self, pcm: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        """See `Runner`; the results are overwritten by the next run."""
        with torch.cuda.device(self._device):  # a thread's own is GPU 0, whatever the model lies on
            return self._run(pcm, active)

    def _run(self, pcm: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        self._pcm_staged.copy_(pcm)
        self._active_staged.copy_(active)
        self._pcm.copy_(self._pcm_staged, non_blocking=True)
        self._active.copy_(self._active_staged, non_blocking=True)
        self._graph.replay()
        self._sound_staged.copy_(self._sound, non_blocking=True)
        self._numbers_staged.copy_(self._numbers, non_blocking=True)
        self._done.record()
        self._done.synchronize()
        return self._sound_staged, self._numbers_staged
