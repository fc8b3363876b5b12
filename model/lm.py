"""The two-stream language model: a temporal transformer over all streams, then the depth model per frame.

Source: Moshi (arXiv 2410.00037, sections 3.4.2-3.4.4). A *column* is what the temporal transformer sees at
one step: one token of each of the text, agent and caller streams, each stream late by its own delay. Column 0
holds every stream's initial token; the model reads column s and predicts text and agent codes of column
s + 1 (and the caller's codes, in a model whose `dep_q` covers them).

In a model of ours the last stream is the transcript of the caller, which an extra head writes: a second
monologue, of what was heard beside that of what is said. An answer can be worded by what was written down, in
the same words whoever spoke, and a piece of a word is written knowing the piece before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.attention import Window
from model.config import ZERO_TOKEN, LmConfig
from model.depth import DepthTransformer
from model.streaming import State
from model.transformer import LmLayer, RmsNorm, Transformer


class TokenEmbedding(nn.Embedding):
    """One extra row for the initial token; ZERO_TOKEN adds nothing. `low_rank`: the rows are that narrow, and
    one projection for all widens them (0: rows of full width)."""

    def __init__(self, card: int, dim: int, low_rank: int = 0) -> None:
        super().__init__(card + 1, low_rank or dim)
        self.low_rank = nn.Linear(low_rank, dim, bias=False) if low_rank else None

    def forward(self, tokens: Tensor) -> Tensor:
        found = super().forward(tokens.clamp(min=0))
        found = torch.where((tokens == ZERO_TOKEN)[..., None], torch.zeros_like(found), found)
        return found if self.low_rank is None else self.low_rank(found)


@dataclass(frozen=True)
class LmLogits:
    """Predictions for a sequence of T frames; where a stream has none (its delay), the mask is false."""

    text: Tensor  # float [B, T, text_card]
    audio: Tensor  # float [B, dep_q, T, card]
    text_mask: Tensor  # bool [B, T]
    audio_mask: Tensor  # bool [B, dep_q, T]


class Lm(nn.Module):
    """Columns in, logits out; the state machine around it is `model.generate`."""

    def __init__(self, config: LmConfig) -> None:
        super().__init__()
        self.config = config
        dim, depth_dim = config.dim, config.depformer_dim
        self.emb = nn.ModuleList([TokenEmbedding(config.card, dim) for _ in range(config.n_q)])
        self.text_emb = TokenEmbedding(config.text_card, dim)
        window = Window(config.context, config.max_period, dim // config.num_heads)
        self.transformer = Transformer([LmLayer(config) for _ in range(config.num_layers)], window)
        self.out_norm = RmsNorm(dim)
        self.text_linear = nn.Linear(dim, config.text_card, bias=False)
        self.depformer_in = nn.ModuleList(
            [nn.Linear(dim, depth_dim, bias=False) for _ in range(config.num_weight_sets)]
        )
        rank = config.depformer_low_rank_embeddings
        self.depformer_text_emb = TokenEmbedding(config.text_card, depth_dim, rank)
        self.depformer_emb = nn.ModuleList(
            [TokenEmbedding(config.card, depth_dim, rank) for _ in range(config.dep_q - 1)]
        )
        self.depformer = DepthTransformer(config)
        self.linears = nn.ModuleList(
            [nn.Linear(depth_dim, config.card, bias=False) for _ in range(config.dep_q)]
        )
        heads = [
            nn.Linear(dim, config.extra_heads_dim, bias=False) for _ in range(config.extra_heads_num_heads)
        ]
        self.extra_heads = nn.ModuleList(heads)
        fed_back = range(config.extra_heads_fed_back)
        self.extra_emb = nn.ModuleList([TokenEmbedding(config.extra_heads_dim, dim) for _ in fed_back])

    @property
    def initial_column(self) -> Tensor:
        """Int64 [num_streams]: the token each stream starts from."""
        config, device = self.config, self.text_linear.weight.device
        tokens = (
            (config.text_card, 1),
            (config.card, config.n_q),
            (config.extra_heads_dim, config.extra_heads_fed_back),
        )
        # Filled in place: a copy from the host could be no part of a CUDA graph.
        return torch.cat([torch.full((count,), token, device=device) for token, count in tokens])

    def init_state(self, batch: int, *, can_pin: bool = False, kv_dtype: torch.dtype | None = None) -> State:
        """What the temporal transformer remembers, for `batch` rows at their start.

        With `can_pin` a row's first steps can be kept beyond the window; `kv_dtype` is what keys and values
        are kept in (default: the weights' dtype).
        """
        state = State.root(batch, self.text_linear.weight.device)
        self.transformer.init_state(state.child("transformer"), can_pin=can_pin, kv_dtype=kv_dtype)
        return state

    def embed(self, columns: Tensor) -> Tensor:
        """What the temporal transformer is given: int64 [B, num_streams, T] -> float [B, T, dim]."""
        x: Tensor = self.text_emb(columns[:, 0])
        for stream, embedding in enumerate([*self.emb, *self.extra_emb], start=1):
            x = x + embedding(columns[:, stream])
        return x

    def temporal(self, columns: Tensor, state: State | None = None) -> Tensor:
        """Int64 [B, num_streams, T] -> normed float [B, T, dim]."""
        y: Tensor = self.out_norm(self.transformer(self.embed(columns), state and state.child("transformer")))
        return y

    def amplify(self, gains: Mapping[int, float]) -> None:
        """Teach both text tables a second form of every token, `second_form` above it: so many times what it
        was for those that have a gain, the same for others. Inference only."""
        for table in (self.text_emb, self.depformer_text_emb):
            louder = table.weight.clone()
            for token, gain in gains.items():
                louder[token] *= gain
            table.weight = nn.Parameter(torch.cat([table.weight, louder]), requires_grad=False)
            table.num_embeddings = len(table.weight)

    @property
    def second_form(self) -> int:
        """How far above a text token the form is that was amplified; 0 in a model without."""
        rows = self.config.text_card + 1
        return rows if self.text_emb.num_embeddings > rows else 0

    def remember(self, embedded: Tensor, state: State, num_steps: int) -> None:
        """Let rows live through embedded columns, float [B, T, dim], in one pass; nothing is predicted.

        No row may be beyond step `num_steps` afterwards, and that not beyond the window.
        """
        self.transformer(embedded, state.child("transformer"), num_steps)

    def depth(self, hidden: Tensor, text: Tensor, audio: Tensor) -> Tensor:
        """Teacher-forced logits of one column each: hidden float [N, dim], text int64 [N], audio int64
        [N, dep_q] -> float [N, dep_q, card]."""
        before = [self.depformer_text_emb(text)]
        before += [emb(audio[:, k]) for k, emb in enumerate(self.depformer_emb)]
        entries = [self.depformer_in[place] for place in self.config.weight_sets]
        inputs = [linear(hidden) + token for linear, token in zip(entries, before, strict=True)]
        out = self.depformer(torch.stack(inputs, dim=1))  # [N, dep_q, C]
        return torch.stack([head(out[:, k]) for k, head in enumerate(self.linears)], dim=1)

    def depth_step(
        self, step: int, hidden: Tensor, previous: Tensor, past: list[list[tuple[Tensor, Tensor]]]
    ) -> Tensor:
        """Logits float [B, card] of codebook `step` after `previous` int64 [B] (text before codebook 0)."""
        x = self.depth_input(step, hidden, previous)
        y: Tensor = self.linears[step](self.depformer.step(x, step, past))
        return y

    def depth_input(self, step: int, hidden: Tensor, previous: Tensor) -> Tensor:
        """What the depth model is given at codebook `step`: float [B, depformer_dim]."""
        embed = self.depformer_text_emb if step == 0 else self.depformer_emb[step - 1]
        x: Tensor = self.depformer_in[self.config.weight_sets[step]](hidden) + embed(previous)
        return x

    def columns(self, codes: Tensor) -> Tensor:
        """Delay each stream, the initial column in front: int64 [B, num_streams, T] -> one step longer."""
        initial = self.initial_column.to(codes.device)
        out = initial[None, :, None].expand(len(codes), -1, codes.shape[-1] + 1).clone()
        for stream, delay in enumerate(self.config.all_delays):
            out[:, stream, 1 + delay :] = codes[:, stream, : codes.shape[-1] - delay]
        return out

    def forward(self, codes: Tensor) -> LmLogits:
        """Teacher-forced predictions of every frame: int64 [B, num_streams, T] (ZERO_TOKEN: nothing)."""
        columns = self.columns(codes)
        hidden = self.temporal(columns[:, :, :-1])
        target = columns[:, :, 1:].transpose(1, 2).flatten(0, 1)  # [B T, num_streams]
        dep_q = self.config.dep_q
        audio = self.depth(hidden.flatten(0, 1), target[:, 0], target[:, 1 : 1 + dep_q])
        audio = audio.view(*hidden.shape[:2], dep_q, -1).permute(0, 2, 1, 3)  # [B, dep_q, T, card]
        return self._undelayed(codes, self.text_linear(hidden), audio)

    def _undelayed(self, codes: Tensor, text: Tensor, audio: Tensor) -> LmLogits:
        length = codes.shape[-1]
        mask = codes != ZERO_TOKEN
        delays = self.config.delays
        for k in range(self.config.dep_q):
            audio[:, k] = torch.roll(audio[:, k], -delays[1 + k], dims=1)
            mask[:, 1 + k, length - delays[1 + k] :] = False
        return LmLogits(text, audio, mask[:, 0], mask[:, 1 : 1 + self.config.dep_q])
