"""Codebooks while they are trained: placed by k-means, then led by the latents that choose them (EMA).

Straight-through quantization with a commitment loss as in VQ-VAE (arXiv 1711.00937).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model.quantizer import Codebook, ResidualQuantizer

DEAD_USAGE = 0.3  # codewords used less than this (running mean per step) are re-seeded


class Quantizing:
    """Straight-through quantization of a branch; its codebooks follow the latents (k-means, then EMA)."""

    def __init__(self, branch: ResidualQuantizer) -> None:
        self.branch = branch
        self.decay = 0.98

    def __call__(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Float [B, C, T] -> quantized [B, C, T] and the commitment loss."""
        x = self.branch.input_proj(latent).float()
        flat = x.transpose(1, 2).flatten(0, 1)  # [N, dim]
        residual = flat.detach()
        total = torch.zeros_like(residual)
        for book in self.branch.codebooks:
            codes = book.encode(residual)
            chosen = book.decode(codes)
            self._follow(book, residual, codes)
            residual = residual - chosen
            total = total + chosen
        commitment = F.mse_loss(flat, total)
        through = (flat + (total - flat).detach()).view(x.shape[0], x.shape[2], -1).transpose(1, 2)
        return self.branch.output_proj(through), commitment

    @torch.no_grad()
    def _follow(self, book: Codebook, x: Tensor, codes: Tensor) -> None:
        count = torch.zeros_like(book.cluster_usage).index_add_(0, codes, torch.ones_like(x[:, 0]))
        sums = torch.zeros_like(book.embedding_sum).index_add_(0, codes, x)
        book.cluster_usage.mul_(self.decay).add_(count, alpha=1 - self.decay)
        book.embedding_sum.mul_(self.decay).add_(sums, alpha=1 - self.decay)
        dead = (
            (book.cluster_usage < DEAD_USAGE * len(x) / len(book.cluster_usage) * 0.3).nonzero().flatten()[:4]
        )
        if len(dead):
            fresh = x[torch.randint(len(x), (len(dead),))]
            usage = len(x) / len(book.cluster_usage)
            book.cluster_usage[dead] = usage
            book.embedding_sum[dead] = fresh * usage

    @torch.no_grad()
    def seed(self, latent: Tensor) -> None:
        """Place the codewords by k-means on latents float [N, C]."""
        residual = self.branch.input_proj(latent[:, :, None]).float()[:, :, 0]
        for book in self.branch.codebooks:
            bins = len(book.cluster_usage)
            words = residual[torch.randperm(len(residual))[:bins]].clone()
            for _ in range(8):
                codes = torch.cdist(residual, words).argmin(-1)
                count = torch.zeros_like(words[:, 0]).index_add_(0, codes, torch.ones_like(residual[:, 0]))
                sums = torch.zeros_like(words).index_add_(0, codes, residual)
                empty = count == 0
                words = torch.where(
                    empty[:, None],
                    residual[torch.randint(len(residual), (bins,))],
                    sums / count.clamp(min=1)[:, None],
                )
            book.cluster_usage.fill_(1.0)
            book.embedding_sum.copy_(words)
            book._initialized.fill_(1.0)
            residual = residual - book.decode(book.encode(residual))
