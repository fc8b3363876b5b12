"""The reference package's state machine for one call, steered as we steer ours: prompt, sentence, silence.

Its rules are written down here a second time, as plain Python over single tokens, so that agreement means
something: `model.controls` has them as tensor programs over many rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from model.config import LmConfig
from model.controls import PATIENCE_INSIDE_STEPS, PATIENCE_STEPS
from model.prompt import PromptFrames, ReadyVoice
from model.tokenizer import EPAD, PAD
from tests.model.oracle import LMGen
from tests.model.published import conditions

NEVER = -1e9
# Logits so close are one and the same but for rounding (float32, sums of some hundred products; a prompt that
# was run in parallel there and step by step here). Of 2,048 random codewords two come so near now and then.
TIE = 2e-4


@dataclass(frozen=True)
class Drawn:
    """What the engine drew in a step: followed where it is as likely as the reference's own choice."""

    text: int
    codes: Sequence[int] = ()


@dataclass
class Orders:
    """What the agent of one call is told."""

    bias: dict[int, float] = field(default_factory=dict)
    once_steps: int = 0  # a piece is barred for so many steps after it was said
    forced_text: int | None = None
    sentence: list[int] = field(default_factory=list)
    silent_steps: int = 0
    at: int = 0  # tokens of the sentence that are said
    waited: int = 0
    was_silent: list[bool] = field(default_factory=lambda: [False] * 4)  # newest first

    @property
    def due(self) -> int | None:
        """The sentence's next token."""
        return self.sentence[self.at] if self.at < len(self.sentence) else None


class Steered:
    """One call on the reference; `orders` may be changed between steps."""

    def __init__(self, reference: Any, config: LmConfig, silence: Sequence[int], word_starts: Tensor) -> None:
        self._config, self._silence, self._word_starts = config, list(silence), word_starts
        self._forced: dict[int, int] = {}  # codes that the depth model is given instead of drawing them
        self._unheard: list[int] | None = None  # what the caller's side holds instead of the next frame
        self.orders = Orders()
        self.texts: list[int] = []
        self.num_ties = 0
        self._drawn: Drawn | None = None
        self._logits = torch.zeros(0)  # of this step's text
        self._reference = reference
        reference.dep_q = config.agent_q  # later steps of the depth model foretell the caller: not needed
        self.generator: Any = LMGen(
            reference,
            use_sampling=False,
            support_out_of_sync=True,
            condition_tensors=conditions(reference, 1),
            on_text_logits_hook=self._shape,
            on_text_hook=self._replace,
        )
        setattr(self.generator, "depformer_step", self._depth)  # noqa: B010 -- a method of theirs

    def step(self, caller: Sequence[int], drawn: Drawn | None = None) -> tuple[int, list[int] | None]:
        """One frame of the caller's codes: the text token and, when a frame is whole, its codes.

        Between two tokens that are tied, the one that `drawn` names is taken, and counted in `num_ties`.
        """
        self._drawn = drawn
        orders, delays = self.orders, self._config.delays[1 : 1 + self._config.agent_q]
        history = [orders.silent_steps > 0, *orders.was_silent]
        self._forced = {k: self._silence[k] for k, delay in enumerate(delays) if history[delay]}
        frame = self._step(self._unheard or caller)
        self._unheard, self._drawn = None, None
        orders.was_silent = history[:-1]
        orders.silent_steps = max(0, orders.silent_steps - 1)
        return self.texts[-1], frame

    def _step(self, caller: Sequence[int]) -> list[int] | None:
        out = self.generator.step(torch.tensor(caller).view(1, -1, 1))
        codes = out[0, 1:, 0].tolist()
        return None if codes[0] < 0 else codes

    def live_through(self, frames: PromptFrames, voice: ReadyVoice | None = None) -> None:
        """Force a prompt, one step per frame but the last, whose column the next step reads."""
        length, delays = len(frames), self._config.delays[1 : 1 + self._config.agent_q]
        start = 0 if voice is None else self._replay(voice)
        for step in range(start, length - 1):
            column = step + 1  # that is written in this step
            self._forced = {k: int(frames.agent[column - delay, k]) for k, delay in enumerate(delays)}
            self.orders.forced_text = int(frames.text[column])
            heard = frames.caller[step].tolist()
            if voice is not None and step == start:
                first = 1 + self._config.agent_q
                heard = torch.cat([voice.last[first : first + 1], voice.pending[first + 1 :]]).tolist()
                self._forced |= {k: int(voice.pending[1 + k]) for k, delay in enumerate(delays) if delay}
            self._step(heard)
        self._unheard = frames.caller[-1].tolist()
        self.orders = Orders(self.orders.bias, self.orders.once_steps, was_silent=[True] * 4)

    def _replay(self, voice: ReadyVoice) -> int:
        """Give the temporal model a voice's inputs and the state machine its last tokens; their number."""
        length, state = len(voice.embedded), self.generator._streaming_state
        for embedded in voice.embedded:
            self._reference.transformer(embedded.float().view(1, 1, -1))
        state.offsets[:] = length
        state.offset_cpu = length
        late = torch.tensor(self._config.delays) > 0
        state.cache[0, :, length % state.cache.shape[2]] = voice.last
        state.cache[0, late, (length + 1) % state.cache.shape[2]] = voice.pending[late]
        # What the prompt's next column is forced to hold comes with the steps.
        return length

    # ---- the reference's hooks ----

    def _shape(self, logits: Tensor) -> None:
        flat = logits.view(-1)
        unshaped = flat.clone()
        for token, amount in self.orders.bias.items():
            flat[token] += amount
        recent = self.texts[-self.orders.once_steps :] if self.orders.once_steps else []
        for token in {*recent} - {EPAD, PAD}:
            flat[token] = NEVER
        if self.orders.due is not None:
            words = [token for token in range(len(flat)) if token not in (EPAD, PAD)]
            flat[words] = NEVER
            flat[self.orders.due] = unshaped[words].exp().sum().log()
            flat[[EPAD, PAD]] = unshaped[[EPAD, PAD]]
        self._logits = flat.clone()

    def _untie(self, chosen: int, drawn: int, logits: Tensor) -> int:
        if chosen == drawn or not 0 <= drawn < len(logits) or logits[drawn] < logits[chosen] - TIE:
            return chosen
        self.num_ties += 1
        return drawn

    def _replace(self, text: Tensor) -> None:
        orders, due = self.orders, self.orders.due
        token = int(text)
        if self._drawn is not None:
            token = self._untie(token, self._drawn.text, self._logits)
        patience = PATIENCE_INSIDE_STEPS if orders.at else PATIENCE_STEPS
        if due is not None and ((orders.at > 0 and not self._word_starts[due]) or orders.waited >= patience):
            token = due
        if orders.silent_steps > 0:
            token = PAD
        if orders.forced_text is not None:
            token = orders.forced_text
        orders.forced_text = None
        if due is not None and token == due:
            orders.at += 1
            orders.waited = 0
        else:
            orders.waited = 0 if orders.silent_steps > 0 else orders.waited + 1
        text.fill_(token)
        self.texts.append(token)

    def _depth(self, text: Tensor, hidden: Tensor) -> Tensor:
        model, previous, codes = self._reference, text, []
        with model.depformer.streaming(1):
            for k in range(self._config.agent_q):
                logits = model.forward_depformer(k, previous[:, None, None], hidden)
                previous = logits.argmax(-1)[:, 0, 0]
                if k in self._forced:
                    previous = torch.full_like(previous, self._forced[k])
                elif self._drawn is not None and self._drawn.codes:
                    code = self._untie(int(previous), self._drawn.codes[k], logits.view(-1))
                    previous = torch.full_like(previous, code)
                codes.append(previous)
        return torch.stack(codes, dim=1)


def read_back(reference: Any, embedding: Tensor) -> None:
    """Let the reference read what its transcript head wrote a step ago: a stream that it has no notion of.

    `embedding` float [extra_heads_dim + 1, dim]; its last row stands for what precedes a call.
    """
    written = torch.full((1, 1), len(embedding) - 1)

    def write(_: Any, hidden: tuple[Tensor], __: Tensor) -> None:
        written.copy_(reference.extra_heads[0](hidden[0]).argmax(-1))

    def read(_: Any, __: Any, embedded: Tensor) -> Tensor:
        return embedded + embedding[written]

    reference.text_linear.register_forward_hook(write)
    reference.text_emb.register_forward_hook(read)


@contextmanager
def steered(
    reference: Any, config: LmConfig, silence: Sequence[int], word_starts: Tensor
) -> Iterator[Steered]:
    """A fresh call on the reference; one at a time per model."""
    dep_q = reference.dep_q
    call = Steered(reference, config, silence, word_starts)
    try:
        with call.generator.streaming(1):
            yield call
    finally:
        reference.dep_q = dep_q
