"""Draw tokens from logits, each row with its own temperature, top-k and random stream.

Random numbers are a function of (seed, step, stream, token) and of nothing else: a call draws the same
whatever its neighbours do, in any batch size, and there is no generator object that a CUDA graph or a
compiled program would have to carry.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_TOP_K = 256  # the program has fixed shapes; the published models use 250
COLDEST = 1e-4  # below it a softmax of float32 logits is a hard choice anyway
_BITS = 0xFFFF_FFFF


def sample(logits: Tensor, temperature: Tensor, top_k: Tensor, noise: Tensor | None) -> Tensor:
    """Token int64 [B] of logits float [B, card]; rows of temperature 0 (no noise: all) take the likeliest.

    `temperature` float [B], `top_k` int64 [B], 0..256 where 0 means all. `noise` float [B, card] is
    exponential(1): the largest probability / noise is a draw from the distribution, without a host
    synchronisation.
    """
    likeliest = logits.argmax(-1)
    if noise is None:
        return likeliest
    wide = logits.float() / temperature.clamp(min=COLDEST)[:, None]
    probabilities = torch.softmax(wide, dim=-1)
    best = probabilities.topk(min(MAX_TOP_K, logits.shape[-1]), dim=-1).values
    last = (top_k - 1).clamp(min=0, max=best.shape[-1] - 1)
    floor = torch.where(top_k > 0, best.gather(1, last[:, None])[:, 0], 0.0)
    kept = torch.where(probabilities < floor[:, None], 0.0, probabilities)
    return torch.where(temperature > 0, (kept / noise).argmax(-1), likeliest)


def exponential(seed: Tensor, step: Tensor, stream: int, card: int) -> Tensor:
    """Float32 [B, card] of exponential(1) draws for rows with `seed` int64 [B] at `step` int64 [B]."""
    streams = torch.arange(stream, stream + 1, device=seed.device)
    return exponentials(seed, step, streams, card)[:, 0]


def exponentials(seed: Tensor, step: Tensor, streams: Tensor, card: int) -> Tensor:
    """The same for several streams int64 [N] at once: float32 [B, N, card]."""
    key = _scramble(_scramble(seed & _BITS) ^ ((seed >> 32) & _BITS))  # [B]
    key = _scramble(key[:, None] ^ _scramble((step & _BITS)[:, None] ^ (streams << 24)))  # [B, N]
    other = _scramble(key ^ 0x5BD1_E995)
    token = torch.arange(card, device=seed.device)
    word = _scramble(_scramble(token ^ key[..., None]) ^ other[..., None])
    # 23 bits: beside a 24th there is no room for the half, and a draw that rounds to 1 makes noise of 0.
    uniform = ((word >> 9).float() + 0.5) * 2.0**-23
    return -torch.log(uniform)


def _scramble(word: Tensor) -> Tensor:
    """A bijection of 32-bit words (held in int64) that spreads each bit over all.

    Two rounds of xor-shift and multiplication; factors below 2^31 keep every product inside int64.
    """
    word = (word ^ (word >> 16)) * 0x21F0_AAAD & _BITS
    word = (word ^ (word >> 15)) * 0x735A_2D97 & _BITS
    return word ^ (word >> 15)
