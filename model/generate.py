"""One step of generation for a batch of calls: delays, sampling, forced tokens.

Source: the step rules of Moshi's reference (moshi 0.2.13) re-stated per row: every row has its own step
count, so calls start and end on their own. Step s of a row writes the caller's codes into the column they are
due at, reads column s, and writes text and agent codes into column s + 1. A row's first caller frame is never
read. Nothing here asks the host for a value: a step is a fixed program over tensors that are written in
place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.config import SamplingConfig
from model.controls import RowControls
from model.errors import PromptError
from model.lm import Lm
from model.sampling import exponential, exponentials, sample
from model.steps import LmSteps, PlainSteps
from model.streaming import State
from model.tokenizer import PAD

UNGENERATED = -2


@dataclass(frozen=True)
class GeneratedStep:
    """What one step drew, [B] first; rows that did not execute hold UNGENERATED."""

    text: Tensor  # int64 [B], of the column just written
    frame: Tensor  # int64 [B, agent_q]: the complete frame that may be decoded now, UNGENERATED while none is
    extra: Tensor  # float [B, heads, extra_heads_dim]: logits of the extra heads
    column: Tensor  # int64 [B, num_streams]: the column that was read
    is_finite: Tensor  # bool [B]: no NaN or infinity came out of the temporal transformer


class Generator:
    """The token state of many calls over one `Lm`; not thread-safe."""

    def __init__(
        self,
        lm: Lm,
        batch: int,
        sampling: SamplingConfig,
        *,
        greedy: bool = False,
        word_starts: Tensor | None = None,
        silence: Tensor | None = None,
        num_sinks: int = 0,
        can_pin: bool = False,
        kv_dtype: torch.dtype | None = None,
        steps: LmSteps | None = None,
    ) -> None:
        """`word_starts` bool [text_card] marks tokens that open a word, `silence` int64 [agent_q] is the
        agent's silent frame; every call's first `num_sinks` columns are never forgotten. `steps` runs the
        model's steps (by default its modules do)."""
        config, device = lm.config, lm.text_linear.weight.device
        self.lm, self.sampling, self.greedy = lm, sampling, greedy
        self._steps = steps or PlainSteps(lm)
        if word_starts is None:
            word_starts = torch.ones(config.text_card, dtype=torch.bool, device=device)
        if silence is None:
            silence = torch.zeros(config.agent_q, dtype=torch.int64, device=device)
        self._silence, self._num_sinks = silence.to(device), num_sinks
        self.controls = RowControls(config, sampling, word_starts.to(device), batch)
        self.state = lm.init_state(batch, can_pin=can_pin or num_sinks > 0, kv_dtype=kv_dtype)
        self._cache_columns = config.max_delay + 2
        self.initial = lm.initial_column
        self._delays = torch.tensor(config.all_delays, device=device)
        self._streams = torch.arange(
            1, 1 + config.agent_q, device=device
        )  # of random numbers; 0 is the text's
        self._tokens = State.root(batch, device)
        self._tokens.add("offset", (), torch.int64)
        self._tokens.add("columns", (config.num_streams, self._cache_columns), torch.int64)
        self._second_form = lm.second_form
        self._tokens.add("is_given", (), torch.bool)  # the newest text is what it was told to say
        self.reset(torch.ones(batch, dtype=torch.bool, device=device))

    @property
    def trees(self) -> tuple[State, State, State]:
        """Everything that a row remembers between steps."""
        return self.state, self._tokens, self.controls.tree

    @property
    def offsets(self) -> Tensor:
        """Steps that each row has made, int64 [B]."""
        return self._tokens["offset"]

    @torch.inference_mode()
    def reset(self, rows: Tensor) -> None:
        """Start the rows where bool [B] is true afresh."""
        self.state.reset(rows)
        self._tokens.reset(rows)
        if self._num_sinks:
            self.state.child("transformer")["pinned"][rows] = self._num_sinks

    @torch.inference_mode()
    def step(
        self,
        caller: Tensor,
        active: Tensor,
        *,
        text_logits_hook: Callable[[Tensor], None] | None = None,
        heads_hook: Callable[[Tensor], None] | None = None,
        recited: Tensor | None = None,
    ) -> GeneratedStep:
        """Move the active rows on by one frame.

        `caller` int64 [B, caller_q]; `active` bool [B]. The hooks may change, in place, the text logits
        float [B, text_card] and those of the extra heads, float [B, heads, extra_heads_dim]. `recited` int64
        [B] is the text token that the hook would have a row say, if any.
        """
        column = self._read(caller, active)
        self.state.set_exec_mask(active)
        newest = self._formed(column[:, 0], self._tokens["is_given"])
        read = torch.cat([newest[:, None], column[:, 1:]], dim=1)
        hidden = self._steps.temporal(read, self.state)  # [B, dim]
        text = self._text(hidden, text_logits_hook)
        is_given = self._is_given(text, recited)
        audio = self._depth(hidden, self._formed(text, is_given))
        self.controls.advance(text, active)
        extra = [head(hidden) for head in self.lm.extra_heads]
        heads = torch.stack(extra, dim=1) if extra else hidden.new_zeros(len(hidden), 0, 0)
        if heads_hook is not None:
            heads_hook(heads)
        frame = self._write(text, audio, self._fed_back(heads), active)
        self._tokens.put("is_given", is_given)
        return GeneratedStep(
            torch.where(active, text, UNGENERATED), frame, heads, column, torch.isfinite(hidden).all(-1)
        )

    def _read(self, caller: Tensor, active: Tensor) -> Tensor:
        """File the caller's codes and return the column at hand, int64 [B, num_streams]."""
        first, end = 1 + self.lm.config.agent_q, 1 + self.lm.config.n_q
        offsets = self.offsets
        is_heard = active & (offsets >= self.controls["hears_from"])
        where = (offsets[:, None] + self._delays[first:end]) % self._cache_columns  # [B, caller streams]
        target = self._tokens["columns"][:, first:end]
        kept = target.gather(2, where[..., None])[..., 0]
        target.scatter_(2, where[..., None], torch.where(is_heard[:, None], caller, kept)[..., None])
        now = (offsets % self._cache_columns)[:, None, None].expand(-1, self.lm.config.num_streams, 1)
        column = self._tokens["columns"].gather(2, now)[..., 0]
        unwritten = offsets[:, None] <= self._delays
        return torch.where(unwritten | ~active[:, None], self.initial, column)

    def _text_noise(self, card: int) -> Tensor | None:
        """Float32 [B, card], None where every draw is the likeliest."""
        return None if self.greedy else exponential(self.controls["seed"], self.offsets, 0, card)

    def _audio_noise(self) -> list[Tensor] | list[None]:
        """Float32 [B, card] for each codebook, made at once: a kernel or a loop for all instead of each."""
        agent_q = self.lm.config.agent_q
        if self.greedy:
            return [None] * agent_q
        noise = exponentials(self.controls["seed"], self.offsets, self._streams, self.lm.config.card)
        return list(noise.unbind(1))

    def _formed(self, text: Tensor, is_given: Tensor) -> Tensor:
        """Text tokens int64 [B] as the model reads them: in their second form where bool [B] is true."""
        return text + self._second_form * is_given if self._second_form else text

    def _is_given(self, text: Tensor, recited: Tensor | None) -> Tensor:
        """Whether a row says what it was told to say, bool [B]; `text` int64 [B] is what it takes."""
        is_told = self.controls.is_told(text)
        return is_told if recited is None else is_told | (text == recited)

    def _text(self, hidden: Tensor, hook: Callable[[Tensor], None] | None) -> Tensor:
        """The text token of the column to come, int64 [B]."""
        controls = self.controls
        unshaped = self.lm.text_linear(hidden).float()
        logits = unshaped + controls["text_bias"]
        if hook is not None:
            hook(logits)
        logits = controls.shape_text(logits, unshaped)
        noise = self._text_noise(logits.shape[-1])
        return controls.force(sample(logits, controls["text_temperature"], controls["text_top_k"], noise))

    def _depth(self, hidden: Tensor, text: Tensor) -> Tensor:
        """The agent's codes of the column to come, one after another: int64 [B, agent_q]."""
        controls, agent_q = self.controls, self.lm.config.agent_q
        forced = controls.forced_codes(self._silence, self._delays[1 : 1 + agent_q])
        self._steps.begin_frame(hidden)
        previous, codes, noise = text, list[Tensor](), self._audio_noise()
        for step in range(agent_q):
            logits = self._steps.depth(step, previous)
            drawn = sample(logits, controls["audio_temperature"], controls["audio_top_k"], noise[step])
            previous = torch.where(forced[:, step] >= 0, forced[:, step], drawn)
            codes.append(previous)
        return torch.stack(codes, dim=1)

    def _fed_back(self, heads: Tensor) -> Tensor:
        """What an extra head wrote for the next step: float [B, heads, card] -> int64 [B, 0 or 1]."""
        count = self.lm.config.extra_heads_fed_back
        return heads[:, :count].argmax(-1) if count else self.offsets.new_zeros(len(heads), 0)

    def _write(self, text: Tensor, audio: Tensor, fed_back: Tensor, active: Tensor) -> Tensor:
        """File what was drawn and return the frame that is complete now, int64 [B, agent_q]."""
        config, columns = self.lm.config, self._tokens["columns"]
        agent_q = config.agent_q
        self._tokens.set_exec_mask(active)
        self._tokens.put("offset", self.offsets + 1)
        offsets = self.offsets
        now = (offsets % self._cache_columns)[:, None, None]
        written = [(columns[:, : 1 + agent_q], torch.cat([text[:, None], audio], dim=1))]
        if config.extra_heads_fed_back:
            written.append((columns[:, 1 + config.n_q :], fed_back))
        for target, drawn in written:
            where = now.expand(-1, drawn.shape[1], 1)
            kept = target.gather(2, where)[..., 0]
            target.scatter_(2, where, torch.where(active[:, None], drawn, kept)[..., None])
        delays = self._delays[1 : 1 + agent_q]
        due = (offsets[:, None] - self.lm.config.max_delay + delays) % self._cache_columns
        frame = columns[:, 1 : 1 + agent_q].gather(2, due[..., None])[..., 0]
        ready = active & (offsets > self.lm.config.max_delay)
        return torch.where(ready[:, None], frame, UNGENERATED)

    # ---- between steps ----

    @torch.inference_mode()
    def replay(self, row: int, columns: NDArray[np.integer[Any]]) -> None:
        """Make a row remember the columns int [T, num_streams] that an earlier slot read, in one pass.

        They follow the row's prompt, if it has one; only what fits the window is replayed. The next step goes
        on as if this row had lived through it.
        """
        config = self.lm.config
        start = int(self.offsets[row])
        kept = columns[-(config.context - start) :].astype(np.int64)
        tokens = torch.from_numpy(np.ascontiguousarray(kept.T))[None].to(self.offsets.device)
        self._remember(row, self.lm.embed(tokens), start)
        # A row younger than the largest delay would be given initial tokens again.
        self.offsets[row] = max(start + len(kept), config.max_delay + 1)
        last = tokens[0, :, -1].clone()
        last[0] = PAD
        last[1 + config.n_q :] = PAD
        # A call's first column holds initial tokens, which are read but never spoken.
        agent = last[1 : 1 + config.agent_q]
        agent.copy_(torch.where((agent < 0) | (agent >= config.card), self._silence, agent))
        self._tokens["columns"][row] = torch.where(last < 0, self.initial, last)[:, None]
        self._tokens["is_given"][row] = False
        self.controls["hears_from"][row] = 0
        self.controls["was_silent"][row] = False

    def _remember(self, row: int, embedded: Tensor, start: int) -> None:
        self.lm.remember(embedded, self.state.row(row), start + embedded.shape[1])

    @torch.inference_mode()
    def prefill(self, row: int, embedded: Tensor, pending: Tensor) -> None:
        """Let a fresh row live through a prompt, whose steps it never forgets.

        `embedded` float [1, T, dim] are the embedded columns 0 .. T - 1; `pending` int64
        [num_streams, max_delay + 1] are the tokens of columns T .. T + max_delay as far as the prompt
        determines them (later codebooks are late). The row's next step reads column T and hears nothing yet,
        as the prompt has filled it.

        Raises PromptError if the prompt leaves less than half of the window to the call.
        """
        config, length = self.lm.config, embedded.shape[1]
        if length > config.context // 2:
            raise PromptError(
                f"the prompt takes {length} of the {config.context} steps that the model looks back; "
                f"shorten role or voice to {config.context // 2} steps (one per word piece, 12.5 per second)"
            )
        self._remember(row, embedded, 0)
        self.state.child("transformer")["pinned"][row] = max(length, self._num_sinks)
        self.offsets[row] = length
        for ahead in range(config.max_delay + 1):
            self._tokens["columns"][row, :, (length + ahead) % self._cache_columns] = pending[:, ahead]
        self.controls["hears_from"][row] = length + 1
        self.controls["was_silent"][row] = True

    def snapshot(self, row: int) -> list[Tensor]:
        """What a prompted row remembers: its keys as far as they are written, tokens, counts."""
        length = int(self.offsets[row])
        context = self.lm.config.context
        return [
            tensor[:, :, :length].clone()
            if tensor.dim() > 2 and tensor.shape[2] == context
            else tensor.clone()
            for tensor in self._row_tensors(row)
        ]

    def restore(self, row: int, kept: list[Tensor]) -> None:
        """Give a fresh row what a prompted one remembered."""
        length = int(kept[0])
        context = self.lm.config.context
        for tensor, then in zip(self._row_tensors(row), kept, strict=True):
            if tensor.dim() > 2 and tensor.shape[2] == context:
                tensor[:, :, :length] = then
            else:
                tensor.copy_(then)

    @torch.inference_mode()
    def age(self, steps: int) -> None:
        """Let every row look `steps` old, remembering nothing."""
        self.offsets.fill_(steps)
        self.state.child("transformer")["offset"].fill_(steps)

    def _row_tensors(self, row: int) -> list[Tensor]:
        """Views of one row, its number of steps first."""
        controls = [self.controls[name][row] for name in ("hears_from", "was_silent")]
        return [tensor[row] for tensor in (*self._tokens.walk(), *self.state.walk())] + controls
