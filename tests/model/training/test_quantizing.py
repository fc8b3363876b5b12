"""Codebooks in training stand on what they are shown, and go where it goes."""

import torch
from torch import Tensor

from model.quantizer import ResidualQuantizer
from model.training.quantizing import Quantizing
from tests.model.tiny import CODEC_CONFIG, noise


def test_codebooks_are_seeded_on_the_latents_and_follow_them() -> None:
    torch.manual_seed(0)
    branch = ResidualQuantizer(8, CODEC_CONFIG.quantizer, 2)
    quantizing = Quantizing(branch)
    latents = noise(400, 8)
    quantizing.seed(latents)
    with torch.no_grad():
        x = latents.T[None]
        left = [
            (branch.input_proj(x) - _projected(branch, x, levels)).square().mean() for levels in (0, 1, 2)
        ]
        assert left[2] < left[1] < left[0]
        before = branch.codebooks[0].codewords()[0].clone()
        for _ in range(30):
            quantizing(x + 3)
        after = branch.codebooks[0].codewords()[0]
        moved = branch.input_proj(x + 3).mean((0, 2))
        assert (after.mean(0) - moved).norm() < (before.mean(0) - moved).norm()


def _projected(branch: ResidualQuantizer, x: Tensor, levels: int) -> Tensor:
    """What the first levels give for a latent, in the codebooks' own space: [1, dim, N]."""
    codes = branch.encode(x)
    words = [book.decode(codes[:, level]) for level, book in enumerate(branch.codebooks[:levels])]
    total = torch.zeros_like(branch.input_proj(x)).transpose(1, 2)
    return sum(words, total).transpose(1, 2)
