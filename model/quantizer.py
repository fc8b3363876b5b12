"""Split residual vector quantizer: one semantic codebook beside a residual chain of acoustic ones.

Sources: arXiv 2107.03312 (residual quantization), arXiv 2410.00037 section 3.3 (the split). Both branches
take the same latent; the acoustic chain is not the residual of the semantic codebook.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import QuantizerConfig

MIN_USAGE = 1e-5


class Codebook(nn.Module):
    """Codewords kept as running sums, as published: codeword = embedding_sum / cluster_usage."""

    embedding_sum: Tensor
    cluster_usage: Tensor
    _initialized: Tensor

    def __init__(self, bins: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("embedding_sum", torch.zeros(bins, dim))
        self.register_buffer("cluster_usage", torch.ones(bins))
        self.register_buffer("_initialized", torch.zeros(1))
        self._cached: tuple[tuple[int, ...], Tensor, Tensor] | None = None

    def codewords(self) -> tuple[Tensor, Tensor]:
        """Float [bins, dim], and each one's squared length [bins]; recomputed when the sums change."""
        version = (self.embedding_sum._version, self.cluster_usage._version, self.embedding_sum.data_ptr())
        if self._cached is None or self._cached[0] != version:
            words = self.embedding_sum.float() / self.cluster_usage.float().clamp(min=MIN_USAGE)[:, None]
            self._cached = (version, words, words.square().sum(-1))
        return self._cached[1], self._cached[2]

    def encode(self, x: Tensor) -> Tensor:
        """Index of the nearest codeword, Euclidean, in float32: [N, dim] -> int64 [N]."""
        words, lengths = self.codewords()
        return (lengths - 2 * x.float() @ words.T).argmin(-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Int64 [...] -> float [..., dim]."""
        return F.embedding(codes, self.codewords()[0])


class _Level(nn.Module):
    """Holds a codebook under the name that published checkpoints use."""

    def __init__(self, bins: int, dim: int) -> None:
        super().__init__()
        self._codebook = Codebook(bins, dim)


class _Levels(nn.Module):
    def __init__(self, count: int, bins: int, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_Level(bins, dim) for _ in range(count)])


class ResidualQuantizer(nn.Module):
    """A projection, a chain of codebooks each coding what the ones before left over, a projection back."""

    def __init__(self, latent_dim: int, config: QuantizerConfig, count: int) -> None:
        super().__init__()
        self.input_proj = nn.Conv1d(latent_dim, config.dimension, 1, bias=False)
        self.output_proj = nn.Conv1d(config.dimension, latent_dim, 1, bias=False)
        self.vq = _Levels(count, config.bins, config.dimension)

    @property
    def codebooks(self) -> list[Codebook]:
        """The chain, coarse to fine."""
        return [level._codebook for level in self.vq.layers]  # type: ignore[misc]

    def encode(self, latent: Tensor) -> Tensor:
        """Float [B, C, T] -> int64 [B, K, T]."""
        residual = self._enter(latent)
        codes = []
        for book in self.codebooks:
            index = book.encode(residual.flatten(0, 1)).view(residual.shape[:2])
            residual = residual - book.decode(index)
            codes.append(index)
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Int64 [B, K, T] -> float [B, C, T]; K may be fewer than the codebooks: the finest are left out."""
        books = self.codebooks[: codes.shape[1]]
        words = [book.decode(codes[:, level]) for level, book in enumerate(books)]
        return self._leave(torch.stack(words).sum(0))

    def _enter(self, latent: Tensor) -> Tensor:
        """Float [B, C, T] -> [B, T, dim]."""
        return self.input_proj(latent).transpose(1, 2)  # type: ignore[no-any-return]

    def _leave(self, words: Tensor) -> Tensor:
        """Float [B, T, dim] -> [B, C, T]."""
        return self.output_proj(words.transpose(1, 2))  # type: ignore[no-any-return]


class SplitQuantizer(nn.Module):
    """Code 0 is semantic, codes 1.. are acoustic; both branches see the whole latent."""

    def __init__(self, latent_dim: int, config: QuantizerConfig) -> None:
        super().__init__()
        self.config = config
        self.rvq_first = ResidualQuantizer(latent_dim, config, 1)
        self.rvq_rest = ResidualQuantizer(latent_dim, config, config.n_q - 1)

    def encode(self, latent: Tensor) -> Tensor:
        """Float [B, C, T] -> int64 [B, n_q, T]."""
        return torch.cat([self.rvq_first.encode(latent), self.rvq_rest.encode(latent)], dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Int64 [B, n_q, T] -> float [B, C, T]."""
        return self.rvq_first.decode(codes[:, :1]) + self.rvq_rest.decode(codes[:, 1:])
