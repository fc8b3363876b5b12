"""The quantizer finds the nearest codeword, level after level, and forgets nothing it cached wrongly."""

import pytest
import torch

from model.config import QuantizerConfig
from model.quantizer import Codebook, ResidualQuantizer, SplitQuantizer
from tests.model.tiny import noise, randomize, tokens

pytestmark = pytest.mark.usefixtures("no_gradients")

CONFIG = QuantizerConfig(dimension=8, n_q=4, bins=16)


def _quantizer() -> SplitQuantizer:
    quantizer = SplitQuantizer(8, CONFIG)
    randomize(quantizer, 1)
    return quantizer


def test_codewords_are_sums_over_usage_and_follow_changes() -> None:
    book = Codebook(2, 2)
    book.embedding_sum.copy_(torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
    book.cluster_usage.copy_(torch.tensor([2.0, 0.0]))
    assert book.codewords()[0][0].tolist() == [1, 0]
    assert book.codewords()[0][1, 1].item() == pytest.approx(3e5), "an unused codeword lies far away"
    book.cluster_usage.fill_(1.0)
    assert book.codewords()[0].tolist() == [[2, 0], [0, 3]]


def test_encode_takes_the_nearest() -> None:
    book = Codebook(16, 8)
    randomize(book, 2)
    x = noise(50, 8)
    wanted = torch.cdist(x, book.codewords()[0]).argmin(-1)
    assert torch.equal(book.encode(x), wanted)


def test_each_level_codes_what_is_left_over() -> None:
    branch = ResidualQuantizer(8, CONFIG, 3)
    randomize(branch, 3)
    latent = noise(2, 8, 5)
    codes = branch.encode(latent)
    left = branch.input_proj(latent).transpose(1, 2)
    for level, book in enumerate(branch.codebooks):
        words = book.codewords()[0]
        nearest = torch.cdist(left, words.expand(2, -1, -1)).argmin(-1)
        assert torch.equal(codes[:, level], nearest)
        left = left - words[nearest]


def test_both_branches_code_the_same_latent() -> None:
    quantizer = _quantizer()
    latent = noise(1, 8, 6)
    codes = quantizer.encode(latent)
    assert codes.shape == (1, 4, 6)
    assert torch.equal(codes[:, 1:], quantizer.rvq_rest.encode(latent))
    whole = quantizer.decode(codes)
    parts = quantizer.rvq_first.decode(codes[:, :1]) + quantizer.rvq_rest.decode(codes[:, 1:])
    torch.testing.assert_close(whole, parts)


def test_a_codeword_survives_the_round_trip() -> None:
    """Where the projections lose nothing, coding decoded codes gives them back."""
    branch = ResidualQuantizer(8, CONFIG, 1)
    randomize(branch, 4)
    for projection in (branch.input_proj, branch.output_proj):
        projection.weight.copy_(torch.eye(8)[:, :, None])
    codes = tokens(16, 1, 1, 20)
    assert torch.equal(branch.encode(branch.decode(codes)), codes)


def test_the_finest_codes_may_be_left_out() -> None:
    quantizer = _quantizer()
    codes = tokens(16, 1, 4, 3)
    fewer = quantizer.decode(codes[:, :2])
    wanted = quantizer.rvq_first.decode(codes[:, :1]) + quantizer.rvq_rest.decode(codes[:, 1:2])
    torch.testing.assert_close(fewer, wanted)
