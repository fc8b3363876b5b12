"""A call alone in a batch of one that takes another row's tokens, so that what both compute can be compared.

Two batch sizes sum in another order, and where two tokens are nearly as likely that decides which is drawn.
From then on the two calls are different conversations. So the follower draws, counts where its draw differs,
and goes on with the tokens that the other row took: what it was heard to say, what it heard, and its text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.engine import Engine
from model.generate import GeneratedStep, Generator
from model.program import StepProgram


@dataclass(frozen=True, slots=True)
class TakenTokens:
    """What a row took in its last step, read from its token columns."""

    text: Tensor  # int64 [1]
    is_given: Tensor  # bool [1]: it was told to say it
    codes: Tensor  # int64 [1, agent_q]
    caller: Tensor  # int64 [1, caller_q]
    fed_back: Tensor  # int64 [1, 0 or 1]: what the transcript head wrote, in a model that reads it


def taken_by(generator: Generator, row: int) -> TakenTokens:
    """The tokens of the row's last step, which must have been made."""
    config, columns = generator.lm.config, generator._tokens["columns"][row]
    num_steps, size = int(generator.offsets[row]), columns.shape[-1]
    written = columns[:, num_steps % size].clone()
    first, end = 1 + config.agent_q, 1 + config.n_q
    delays = torch.tensor(config.delays[first:], device=columns.device)
    filed = (num_steps - 1 + delays) % size
    caller = columns[first:end].gather(1, filed[:, None])[:, 0]
    is_given = generator._tokens["is_given"][row : row + 1].clone()
    return TakenTokens(
        written[:1], is_given, written[None, 1:first], caller[None].clone(), written[None, end:]
    )


def row_memory(engine: Engine, row: int) -> list[Tensor]:
    """Copies of everything that a row remembers: hearing, keys, tokens, controls, speaking."""
    return [tensor for tree in engine.program.trees for tensor in tree.rows(row)]


class LedGenerator(Generator):
    """Takes the tokens it is told, and counts the steps in which it would have taken others."""

    told: TakenTokens
    num_other_texts = num_other_codes = num_other_hearings = num_other_transcripts = 0

    def step(
        self,
        caller: Tensor,
        active: Tensor,
        *,
        text_logits_hook: Callable[[Tensor], None] | None = None,
        heads_hook: Callable[[Tensor], None] | None = None,
        recited: Tensor | None = None,
    ) -> GeneratedStep:
        """As `Generator.step`, with the told codes of the caller."""
        self.num_other_hearings += int((caller != self.told.caller).any())
        return super().step(
            self.told.caller, active, text_logits_hook=text_logits_hook, heads_hook=heads_hook
        )

    def _text(self, hidden: Tensor, hook: Callable[[Tensor], None] | None) -> Tensor:
        self.num_other_texts += int((super()._text(hidden, hook) != self.told.text).any())
        return self.told.text

    def _is_given(self, text: Tensor, recited: Tensor | None) -> Tensor:
        return self.told.is_given

    def _fed_back(self, heads: Tensor) -> Tensor:
        self.num_other_transcripts += int((super()._fed_back(heads) != self.told.fed_back).any())
        return self.told.fed_back

    def _depth(self, hidden: Tensor, text: Tensor) -> Tensor:
        self.num_other_codes += int((super()._depth(hidden, text) != self.told.codes).any())
        return self.told.codes


@dataclass(frozen=True, slots=True)
class Apart:
    """How far the follower was from the row in one step, largest absolute differences."""

    sound: float  # full scale is 1
    transcript: (
        float  # of the transcript head's logits, as a share of the largest of them (if that is over 1)
    )
    has_other_column: bool  # it read other tokens: then nothing else is comparable


class Follower:
    """Follows one row of an engine: call `follow` after each of the engine's steps."""

    def __init__(self, engine: Engine, row: int, *, seed: int) -> None:
        """Before the row's first step; `seed` is the row's."""
        config, lm, codec = engine.config, engine.model.lm, engine.model.codec
        self._engine, self._row = engine, row
        self.generator = LedGenerator(lm, 1, config.sampling)
        self.generator.controls.reset(0, seed=seed)
        self._program = StepProgram(codec, self.generator, engine.tokenizer, config.sampling)
        self._heads: list[Tensor] = []  # what the transcript head gave: the engine's batch, then ours
        for head in lm.extra_heads:
            head.register_forward_hook(self._note)

    def _note(self, _head: nn.Module, _args: Any, logits: Tensor) -> None:
        self._heads.append(logits.detach().float())

    @torch.inference_mode()
    def follow(self, pcm: NDArray[np.float32], sound: NDArray[np.float32]) -> Apart:
        """Live through the step that the engine just made: what it heard and what it said, float32 [1920]."""
        engine = self._engine
        self.generator.told = taken_by(engine._generator, self._row)
        device = self.generator.offsets.device
        frame = torch.from_numpy(pcm)[None].to(device)
        own, _numbers = self._program(frame, torch.ones(1, dtype=torch.bool, device=device))
        read = engine._generator._tokens["columns"]
        has_other = not torch.equal(self.generator._tokens["columns"][0], read[self._row])
        apart = float(np.abs(own[0].cpu().numpy() - sound).max())
        return Apart(apart, self._transcript_apart(), has_other)

    def _transcript_apart(self) -> float:
        """NaN if the engine's head was not to be seen, as in a compiled program."""
        heads, self._heads = self._heads, []
        if len(heads) < 2:
            return float("nan")
        theirs, ours = heads[0][self._row], heads[-1][0]
        return float((theirs - ours).abs().max() / theirs.abs().max().clamp(min=1))
