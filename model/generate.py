"""One step of generation for a batch of calls: delays, sampling, forced tokens.

Source: the step rules of Moshi's reference (moshi 0.2.13) re-stated per row: every row has its own step
count, so calls start and end on their own. Step s of a row writes the caller's codes into the column they are
due at, reads column s, and writes text and agent codes into column s + 1. A row's first caller frame is never
read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.config import SamplingConfig
from model.lm import Lm
from model.sampling import RowNoise, sample

UNGENERATED = -2

Temperature = tuple[float, int]  # temperature, top-k


@dataclass(frozen=True)
class GeneratedStep:
    """What one step drew, [B] first; rows that did not execute hold UNGENERATED."""

    text: Tensor  # int64 [B], of the column just written
    frame: Tensor  # int64 [B, dep_q]: the complete frame that may be decoded now, UNGENERATED while none is
    extra: Tensor  # float [B, heads, extra_heads_dim]: logits of the extra heads
    column: Tensor  # int64 [B, n_q + 1]: the column that was read


class Generator:
    """The token state of many calls over one `Lm`; not thread-safe."""

    def __init__(self, lm: Lm, batch: int, sampling: SamplingConfig, *, greedy: bool = False) -> None:
        config = lm.config
        device = lm.text_linear.weight.device
        self.lm, self.sampling, self.greedy = lm, sampling, greedy
        self.state = lm.init_state(batch)
        self.noise = RowNoise(batch, device)
        self._cache_columns = config.max_delay + 2
        self._initial = lm.initial_column
        self._delays = torch.tensor(config.delays, device=device)
        self._cache = torch.zeros(
            batch, config.num_streams, self._cache_columns, dtype=torch.int64, device=device
        )
        self.offsets = torch.zeros(batch, dtype=torch.int64, device=device)

    @torch.inference_mode()
    def reset(self, rows: Tensor) -> None:
        """Start the rows where bool [B] is true afresh."""
        self.state.reset(rows)
        self.offsets[rows] = 0

    @torch.inference_mode()
    def step(
        self,
        caller: Tensor,
        active: Tensor,
        *,
        text_logits_hook: Callable[[Tensor], None] | None = None,
        forced_text: Tensor | None = None,
    ) -> GeneratedStep:
        """Move the active rows on by one frame.

        `caller` int64 [B, n_q - dep_q]; `active` bool [B]; `forced_text` int64 [B] replaces the drawn text
        where it is not negative. The hook may change the text logits float [B, text_card] in place.
        """
        column = self._read(caller, active)
        self.state.set_exec_mask(active)
        hidden = self.lm.temporal(column[:, :, None], self.state)[:, 0]  # [B, dim]
        rows = active.nonzero().flatten().tolist()
        logits = self.lm.text_linear(hidden)
        if text_logits_hook is not None:
            text_logits_hook(logits)
        text = self._draw(logits, (self.sampling.text_temperature, self.sampling.text_top_k), rows)
        if forced_text is not None:
            text = torch.where(forced_text >= 0, forced_text, text)
        audio = self._depth(hidden, text, rows)
        frame = self._write(text, audio, active)
        extra = [head(hidden) for head in self.lm.extra_heads]
        heads = torch.stack(extra, dim=1) if extra else hidden.new_zeros(len(hidden), 0, 0)
        return GeneratedStep(torch.where(active, text, UNGENERATED), frame, heads, column)

    def _read(self, caller: Tensor, active: Tensor) -> Tensor:
        """File the caller's codes and return the column at hand, int64 [B, n_q + 1]."""
        first = 1 + self.lm.config.dep_q
        where = (self.offsets[:, None] + self._delays[first:]) % self._cache_columns  # [B, caller streams]
        target = self._cache[:, first:]
        kept = target.gather(2, where[..., None])[..., 0]
        target.scatter_(2, where[..., None], torch.where(active[:, None], caller, kept)[..., None])
        now = (self.offsets % self._cache_columns)[:, None, None].expand(-1, self._cache.shape[1], 1)
        column = self._cache.gather(2, now)[..., 0]
        unwritten = self.offsets[:, None] <= self._delays
        return torch.where(unwritten | ~active[:, None], self._initial, column)

    def _draw(self, logits: Tensor, how: Temperature, rows: list[int]) -> Tensor:
        noise = None if self.greedy or how[0] <= 0 else self.noise.exponential(logits.shape[-1], rows)
        return sample(logits, *how, noise)

    def _depth(self, hidden: Tensor, text: Tensor, rows: list[int]) -> Tensor:
        """Draw the agent's codes one after another: int64 [B, dep_q]."""
        past: list[list[tuple[Tensor, Tensor]]] = [[] for _ in self.lm.depformer.layers]
        how = (self.sampling.audio_temperature, self.sampling.audio_top_k)
        previous, codes = text, []
        for step in range(self.lm.config.dep_q):
            previous = self._draw(self.lm.depth_step(step, hidden, previous, past), how, rows)
            codes.append(previous)
        return torch.stack(codes, dim=1)

    def _write(self, text: Tensor, audio: Tensor, active: Tensor) -> Tensor:
        """File what was drawn and return the frame that is complete now, int64 [B, dep_q]."""
        dep_q = self.lm.config.dep_q
        self.offsets = torch.where(active, self.offsets + 1, self.offsets)
        drawn = torch.cat([text[:, None], audio], dim=1)
        where = (self.offsets % self._cache_columns)[:, None, None].expand(-1, 1 + dep_q, 1)
        target = self._cache[:, : 1 + dep_q]
        kept = target.gather(2, where)[..., 0]
        target.scatter_(2, where, torch.where(active[:, None], drawn, kept)[..., None])
        delays = self._delays[1 : 1 + dep_q]
        due = (self.offsets[:, None] - self.lm.config.max_delay + delays) % self._cache_columns
        frame = self._cache[:, 1 : 1 + dep_q].gather(2, due[..., None])[..., 0]
        ready = active & (self.offsets > self.lm.config.max_delay)
        return torch.where(ready[:, None], frame, UNGENERATED)

    @torch.inference_mode()
    def replay(self, row: int, columns: NDArray[np.int16]) -> None:
        """Make a fresh row remember the columns int16 [T, n_q + 1] that an earlier slot read, in one pass.

        Only what fits the window is replayed. The next step goes on as if this row had lived through it.
        """
        config = self.lm.config
        kept = columns[-config.context :].astype(np.int64)
        tokens = torch.from_numpy(np.ascontiguousarray(kept.T))[None].to(self.offsets.device)
        single = self.lm.init_state(1)
        self.lm.temporal(tokens, single)
        for mine, theirs in zip(self.state.walk(), single.walk(), strict=True):
            mine[row] = theirs[0]
        # A row younger than the largest delay would be given initial tokens again.
        self.offsets[row] = max(len(kept), config.max_delay + 1)
        last = tokens[0, :, -1].clone()
        last[0] = config.existing_text_padding_id
        self._cache[row] = last[:, None]
