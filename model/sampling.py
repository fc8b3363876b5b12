"""Draw tokens from logits, each row with its own temperature, top-k and random stream."""

from __future__ import annotations

import torch
from torch import Tensor


def sample(logits: Tensor, temperature: float, top_k: int, noise: Tensor | None) -> Tensor:
    """Token int64 [B] of logits float [B, card]; temperature 0 (or no noise) takes the likeliest.

    `noise` float [B, card] is exponential(1): the largest probability / noise is a draw from the
    distribution, without a host synchronisation.
    """
    if temperature <= 0 or noise is None:
        return logits.argmax(-1)
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)
    if 0 < top_k < logits.shape[-1]:
        floor = probabilities.topk(top_k, dim=-1).values[:, -1:]
        probabilities = torch.where(probabilities < floor, torch.zeros_like(probabilities), probabilities)
    return (probabilities / noise).argmax(-1)


class RowNoise:
    """A random stream per row, so that what a call draws does not depend on its neighbours."""

    def __init__(self, batch: int, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        self._generators = [torch.Generator(self._device) for _ in range(batch)]

    def seed(self, row: int, seed: int) -> None:
        """Start a row's stream afresh."""
        self._generators[row].manual_seed(seed)

    def exponential(self, card: int, rows: list[int]) -> Tensor:
        """Float [B, card] of exponential(1) draws; only the listed rows' streams move on, others get ones."""
        noise = torch.ones(len(self._generators), card, device=self._device)
        for row in rows:
            noise[row].exponential_(generator=self._generators[row])
        return noise.clamp_(min=1e-10)
