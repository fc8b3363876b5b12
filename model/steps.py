"""The language model's two steps as generation needs them: one column in, one codebook out.

`PlainSteps` runs the modules as they are. `FusedSteps` reads the same weights through a handful of Triton
kernels: what lies between two matrix products is one kernel, and attention reads only what a row has filled.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from model.depth import DepthLayer
from model.lm import Lm, TokenEmbedding
from model.streaming import State
from model.transformer import Gating, LmLayer


class LmSteps(Protocol):
    """One frame of a batch of rows."""

    def temporal(self, column: Tensor, state: State) -> Tensor:
        """Int64 [B, num_streams] -> normed float [B, dim]; the executing rows of the state remember it."""

    def begin_frame(self, hidden: Tensor) -> None:
        """The depth model's frame for hidden float [B, dim] begins; what it knew is forgotten."""

    def depth(self, step: int, previous: Tensor) -> Tensor:
        """Logits float [B, card] of codebook `step` after `previous` int64 [B] (text before codebook 0)."""


class PlainSteps:
    """On any device."""

    def __init__(self, lm: Lm) -> None:
        self._lm = lm

    def temporal(self, column: Tensor, state: State) -> Tensor:
        """See `LmSteps`."""
        return self._lm.temporal(column[:, :, None], state)[:, 0]

    def begin_frame(self, hidden: Tensor) -> None:
        """See `LmSteps`."""
        self._hidden = hidden
        self._past: list[list[tuple[Tensor, Tensor]]] = [[] for _ in self._lm.depformer.layers]

    def depth(self, step: int, previous: Tensor) -> Tensor:
        """See `LmSteps`."""
        return self._lm.depth_step(step, self._hidden, previous, self._past)


class FusedSteps:
    """With Triton kernels: on CUDA, or in Triton's interpreter for tests.

    The token tables of the audio streams are laid into one, of which the model's own become views.
    """

    def __init__(self, lm: Lm, batch: int) -> None:
        from model import kernels  # a CPU build of torch has no Triton

        config, weight = lm.config, lm.text_linear.weight
        self._lm, self._kernels = lm, kernels
        rows = config.card + 1
        with torch.no_grad():
            self._table = torch.cat([table.weight for table in lm.emb])  # type: ignore[misc]
        for stream, table in enumerate(lm.emb):
            assert isinstance(table, TokenEmbedding)
            table.weight.data = self._table[stream * rows : (stream + 1) * rows]
        self._first_rows = torch.arange(config.n_q, device=weight.device) * rows
        head_dim = config.depformer_dim // config.depformer_num_heads
        shape = (batch, 2, config.depformer_num_heads, config.agent_q, head_dim)
        self._depth_keys = [
            torch.zeros(shape, dtype=weight.dtype, device=weight.device) for _ in lm.depformer.layers
        ]

    def temporal(self, column: Tensor, state: State) -> Tensor:
        """See `LmSteps`."""
        lm, kernels, inner = self._lm, self._kernels, state.child("transformer")
        offset, batch = inner["offset"], len(column)
        pinned = inner.tensors["pinned"] if "pinned" in inner.tensors else torch.zeros_like(offset)
        turn = lm.transformer.window.decoded(offset, pinned)
        end = 1 + lm.config.n_q
        audio = F.embedding(column[:, 1:end] + self._first_rows, self._table).sum(1)
        x = lm.text_emb(column[:, 0]) + audio
        for stream, embedding in enumerate(lm.extra_emb, start=end):
            x = x + embedding(column[:, stream])
        delta: Tensor | None = None
        for index, layer in enumerate(lm.transformer.layers):
            assert isinstance(layer, LmLayer)
            attention, memory = layer.self_attn, inner.child(str(index))
            normed, x = kernels.add_rms_norm(x, delta, layer.norm1.alpha.view(-1))
            qkv = F.linear(normed, attention.in_proj_weight).view(batch, 3, attention.num_heads, -1)
            scale = memory.tensors.get("scale")
            q, towards_pins = kernels.rope_write(
                qkv,
                turn.cos,
                turn.sin,
                turn.pinned_cos,
                turn.pinned_sin,
                turn.entry,
                state.exec_mask,
                memory["ring"],
                scale,
            )
            mixed = kernels.ring_attention(q, towards_pins, memory["ring"], scale, offset, pinned)
            normed, x = kernels.add_rms_norm(
                x, attention.out_proj(mixed.view(batch, -1)), layer.norm2.alpha.view(-1)
            )
            gated = kernels.silu_mul(layer.gating.linear_in(normed))
            delta = layer.gating.linear_out(gated)
        hidden: Tensor = kernels.add_rms_norm(x, delta, lm.out_norm.alpha.view(-1))[0]
        inner.put("offset", offset + 1)
        return hidden

    def begin_frame(self, hidden: Tensor) -> None:
        """See `LmSteps`."""
        self._hidden = hidden

    def depth(self, step: int, previous: Tensor) -> Tensor:
        """See `LmSteps`."""
        lm, kernels, batch = self._lm, self._kernels, len(previous)
        x, place = lm.depth_input(step, self._hidden, previous), lm.config.weight_sets[step]
        delta: Tensor | None = None
        for layer, keys in zip(lm.depformer.layers, self._depth_keys, strict=True):
            assert isinstance(layer, DepthLayer)
            unit = layer.gating[place]
            assert isinstance(unit, Gating)
            normed, x = kernels.add_rms_norm(x, delta, layer.norm1.alpha.view(-1))
            w_in, w_out = layer.self_attn.projections(place)
            qkv = F.linear(normed, w_in).view(batch, 3, keys.shape[2], -1)
            mixed = kernels.depth_attention(qkv, keys, step)
            normed, x = kernels.add_rms_norm(x, F.linear(mixed, w_out), layer.norm2.alpha.view(-1))
            delta = unit.linear_out(kernels.silu_mul(unit.linear_in(normed)))
        logits: Tensor = lm.linears[step](x if delta is None else x + delta)
        return logits
