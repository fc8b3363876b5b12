"""Forms of our modules for the compiler: they compute the same, in shapes that it turns into loops.

The compiler of `model.compiled` packs weights of matrix products and fuses everything around them, but leaves
short convolutions, small attention and scattered writes to libraries that are made for larger work. So
convolutions are matrix products of unfolded windows here, the attention of one or two steps is a sum of
products, what is derived from weights is a constant. Inference only.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.attention import Attention, Place, rotate, write_ring
from model.conv import CausalConv1d, CausalConvTranspose1d
from model.depth import DepthAttention
from model.quantizer import Codebook, ResidualQuantizer
from model.streaming import State


class LeanConv1d(CausalConv1d):
    """A matrix product of the unfolded window."""

    taps: Tensor  # float [kernel * C_in, C_out]

    def settle(self) -> None:
        """Derive constants from the weights."""
        weight = self._layer.weight
        self.register_buffer("taps", weight.permute(2, 1, 0).flatten(0, 1).contiguous())

    @property
    def _layer(self) -> nn.Conv1d:
        layer = self.conv.conv
        assert isinstance(layer, nn.Conv1d)
        return layer

    def _convolve(self, x: Tensor) -> Tensor:
        layer, kernel = self._layer, self._layer.kernel_size[0]
        if self.stride not in (1, kernel, kernel // 2) or kernel % self.stride:
            return super()._convolve(x)
        if layer.out_channels == 1:  # a product with one column would be a library's
            length = x.shape[-1] - kernel + 1
            taps = layer.weight[0, :, :, None]  # [C_in, kernel, 1]
            parts = [(x[..., at : at + length] * taps[:, at]).sum(1, keepdim=True) for at in range(kernel)]
            return _biased(torch.stack(parts).sum(0).transpose(1, 2), layer.bias).transpose(1, 2)
        windows = self._unfolded(x, kernel)
        y = _biased(windows.flatten(0, 1) @ self.taps, layer.bias)
        return y.view(*windows.shape[:2], -1).transpose(1, 2)

    def _unfolded(self, x: Tensor, kernel: int) -> Tensor:
        """Every window: float [B, C_in, L] -> [B, T, kernel * C_in]."""
        steps = x.transpose(1, 2)
        blocks = steps.reshape(len(x), steps.shape[1] // self.stride, -1)  # [B, L / stride, stride * C_in]
        reach = kernel // self.stride
        length = blocks.shape[1] - reach + 1
        return torch.cat([blocks[:, at : at + length] for at in range(reach)], dim=-1)


def _biased(y: Tensor, bias: Tensor | None) -> Tensor:
    """Float [..., C]."""
    return y if bias is None else y + bias


class LeanConvTranspose1d(CausalConvTranspose1d):
    """A matrix product, whose overlapping halves are added."""

    taps: Tensor  # float [C_in, kernel * C_out], or [kernel, C] if each channel is on its own

    def settle(self) -> None:
        """Derive constants from the weights."""
        weight = self._layer.weight  # [C_in, C_out / groups, kernel]
        own = self._layer.groups > 1
        taps = weight[:, 0].T if own else weight.transpose(1, 2).flatten(1)
        self.register_buffer("taps", taps.contiguous())

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        layer, stride = self._layer, self._layer.stride[0]
        is_depthwise = layer.groups == layer.in_channels == layer.out_channels
        if state is None or layer.kernel_size[0] != 2 * stride or (layer.groups > 1 and not is_depthwise):
            return super().forward(x, state)
        steps = x.transpose(1, 2)  # [B, T, C_in]
        if layer.groups > 1:
            spread = steps[:, :, None] * self.taps  # [B, T, kernel, C]
        else:
            product = steps.reshape(-1, steps.shape[-1]) @ self.taps
            spread = product.view(*steps.shape[:2], 2 * stride, -1)
        head, tail = spread[:, :, :stride], spread[:, :, stride:]
        before = torch.cat([state["partial"].transpose(1, 2)[:, None], tail[:, :-1]], dim=1)
        state.put("partial", tail[:, -1].transpose(1, 2))
        return _biased((head + before).flatten(1, 2), layer.bias).transpose(1, 2)


class LeanCodebook(Codebook):
    """Codewords once and for all."""

    words: Tensor
    lengths: Tensor

    def settle(self) -> None:
        """Derive constants from the weights."""
        words, lengths = super().codewords()
        self.register_buffer("words", words.contiguous())
        self.register_buffer("lengths", lengths)

    def codewords(self) -> tuple[Tensor, Tensor]:
        """See `Codebook`."""
        return self.words, self.lengths


class LeanQuantizer(ResidualQuantizer):
    """Projections of single frames as plain matrix products."""

    def settle(self) -> None:
        """Nothing to derive."""

    def _enter(self, latent: Tensor) -> Tensor:
        return F.linear(latent.transpose(1, 2), self.input_proj.weight[:, :, 0])

    def _leave(self, words: Tensor) -> Tensor:
        return F.linear(words, self.output_proj.weight[:, :, 0]).transpose(1, 2)


class LeanAttention(Attention):
    """Sums of products, and a ring that is written by index: a scatter would copy it."""

    def settle(self) -> None:
        """Nothing to derive."""

    def forward(self, x: Tensor, place: Place, state: State | None = None) -> Tensor:
        if state is None or state["ring"].dtype != x.dtype or place.num_keys is not None:
            return super().forward(x, place, state)
        qkv = F.linear(x, self.in_proj_weight).view(*x.shape[:2], 3, self.num_heads, -1)
        turned = rotate(qkv[:, :, :2].permute(2, 0, 3, 1, 4), place.cos, place.sin)
        q, k, v = turned[0], turned[1], qkv[:, :, 2].transpose(1, 2)  # each [B, H, T, D]
        _write_entries(state, torch.stack([k, v], dim=1), place)
        keys, values = state["ring"].unbind(1)
        scores = _products(q, keys)  # [B, H, T, K]
        if place.pins is not None:
            towards_pins = rotate(qkv[:, :, 0].transpose(1, 2), place.pins.cos, place.pins.sin)
            scores = torch.where(place.pins.entries, _products(towards_pins, keys), scores)
        assert place.mask is not None
        weights = scores.masked_fill(~place.mask, -math.inf).softmax(-1)
        mixed = (weights[..., None] * values[:, :, None]).sum(-2)
        y: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return y


def _products(q: Tensor, keys: Tensor) -> Tensor:
    """Float [B, H, T, D], [B, H, K, D] -> [B, H, T, K]."""
    scale: float = q.shape[-1] ** -0.5
    return ((q * scale)[:, :, :, None] * keys[:, :, None]).sum(-1)


def _write_entries(state: State, new: Tensor, place: Place) -> None:
    """Put keys and values float [B, 2, H, T, D] into the executing rows' ring, as `write_ring` does."""
    ring = state["ring"]
    if place.entries is None:
        write_ring(state, new, place)
        return
    batch, both, heads = (torch.arange(size, device=new.device) for size in new.shape[:3])
    where = (batch[:, None, None, None], both[:, None, None], heads[:, None], place.entries[:, None, None])
    ring.index_put_(where, torch.where(state.exec_mask.view(-1, 1, 1, 1, 1), new, ring[where]))


class LeanDepthAttention(DepthAttention):
    """Each codebook's projections as constants of their own, and sums of products."""

    def settle(self) -> None:
        """Derive constants from the weights."""
        for place in sorted(set(self.weight_sets)):
            w_in, w_out = super().projections(place)
            self.register_buffer(f"in_{place}", w_in.clone())
            self.register_buffer(f"out_{place}", w_out.clone())

    def projections(self, place: int) -> tuple[Tensor, Tensor]:
        """See `DepthAttention`."""
        return getattr(self, f"in_{place}"), getattr(self, f"out_{place}")

    def step(self, x: Tensor, step: int, past: list[tuple[Tensor, Tensor]]) -> Tensor:
        """See `DepthAttention`."""
        w_in, w_out = self.projections(self.weight_sets[step])
        q, k, v = F.linear(x, w_in).view(len(x), 3, self.num_heads, 1, -1).unbind(1)
        past.append((k, v))
        scale: float = q.shape[-1] ** -0.5
        scores = [(q * scale * key).sum(-1, keepdim=True) for key, _ in past]  # each [B, H, 1, 1]
        weights = torch.cat(scores, dim=2).softmax(2)
        parts = [weights[:, :, at : at + 1] * value for at, (_, value) in enumerate(past)]
        return F.linear(torch.stack(parts).sum(0).reshape(x.shape), w_out)


Lean = LeanConv1d | LeanConvTranspose1d | LeanCodebook | LeanQuantizer | LeanAttention | LeanDepthAttention
_FORMS: dict[type[nn.Module], type[Lean]] = {
    CausalConv1d: LeanConv1d,
    CausalConvTranspose1d: LeanConvTranspose1d,
    Codebook: LeanCodebook,
    ResidualQuantizer: LeanQuantizer,
    Attention: LeanAttention,
    DepthAttention: LeanDepthAttention,
}


@torch.no_grad()
def make_lean(model: nn.Module) -> None:
    """Turn every module that has a lean form into it, in place, for good."""
    for module in list(model.modules()):
        form = _FORMS.get(type(module))
        if form is not None:
            module.__class__ = form  # the weights and all that is held beside them stay
            assert isinstance(module, Lean)
            module.settle()
