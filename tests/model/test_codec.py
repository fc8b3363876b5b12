"""The codec streamed: equal to the whole inside the window, rows independent, idle rows untouched."""

import pytest
import torch
from torch import Tensor

from model.codec import Codec
from model.streaming import State
from tests.model import tiny
from tests.model.tiny import FRAME, assert_rows_equal, mask, noise, pieces, tokens

pytestmark = pytest.mark.usefixtures("no_gradients")

WINDOW_FRAMES = tiny.CODEC_TRANSFORMER.context // 2


@pytest.fixture(scope="module")
def codec() -> Codec:
    return tiny.codec()


def _latents(codec: Codec, pcm: Tensor, chunk: int, state: State) -> Tensor:
    return torch.cat([codec.latent(part, state) for part in pieces(pcm, chunk * FRAME)], dim=-1)


@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_hearing_streams_in_any_chunk_inside_the_window(codec: Codec, chunk: int) -> None:
    pcm = noise(2, 1, WINDOW_FRAMES * FRAME)
    streamed = _latents(codec, pcm, chunk, codec.encoder_state(2))
    torch.testing.assert_close(streamed, codec.latent(pcm), atol=1e-4, rtol=0)


@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_speaking_streams_in_any_chunk_inside_the_window(codec: Codec, chunk: int) -> None:
    codes = tokens(32, 2, 8, WINDOW_FRAMES)
    state = codec.decoder_state(2)
    parts = [codec.decode(part, state) for part in pieces(codes, chunk)]
    torch.testing.assert_close(torch.cat(parts, dim=-1), codec.decode(codes), atol=1e-4, rtol=0)


def test_a_row_does_not_depend_on_its_neighbour(codec: Codec) -> None:
    """Bit for bit, at one batch size."""
    pcm, codes = noise(2, 1, 2 * FRAME), tokens(32, 2, 8, 2)
    others, other_codes = pcm.clone(), codes.clone()
    others[1], other_codes[1] = 7 * noise(1, 2 * FRAME, seed=9), (codes[1] + 5) % 32
    torch.testing.assert_close(codec.latent(others)[0], codec.latent(pcm)[0], rtol=0, atol=0)
    torch.testing.assert_close(codec.decode(other_codes)[0], codec.decode(codes)[0], rtol=0, atol=0)
    torch.testing.assert_close(codec.latent(pcm[:1])[0], codec.latent(pcm)[0], rtol=0, atol=1e-4)


def test_an_idle_row_is_untouched_and_goes_on(codec: Codec) -> None:
    pcm = noise(2, 1, 6 * FRAME)
    state = codec.encoder_state(2)
    _latents(codec, pcm[..., : 3 * FRAME], 1, state)
    before = state.rows(1)
    state.set_exec_mask(mask(1, 0))
    codec.latent(torch.full((2, 1, FRAME), torch.nan), state)
    assert_rows_equal(state, before, 1)
    state.set_exec_mask(mask(1, 1))
    rest = _latents(codec, pcm[..., 3 * FRAME :], 1, state)
    torch.testing.assert_close(rest[1], codec.latent(pcm)[1, :, 3:], atol=1e-4, rtol=0)


def test_a_reset_row_starts_over_alone_even_from_nan(codec: Codec) -> None:
    codes = tokens(32, 2, 8, 5)
    state = codec.decoder_state(2)
    for part in pieces(codes[..., :3], 1):
        codec.decode(part, state)
    poisoned = state.child("seanet").child("0")["previous"]
    poisoned[1] = torch.nan
    kept = state.rows(0)
    state.reset(mask(0, 1))
    assert_rows_equal(state, kept, 0)
    rest = torch.cat([codec.decode(part, state) for part in pieces(codes[..., 3:], 1)], dim=-1)
    torch.testing.assert_close(rest[0], codec.decode(codes[:1])[0, :, 3 * FRAME :], atol=1e-4, rtol=0)
    torch.testing.assert_close(rest[1], codec.decode(codes[1:, :, 3:])[0], atol=1e-4, rtol=0)


def test_one_frame_in_one_frame_out(codec: Codec) -> None:
    codes = codec.encode(noise(1, 1, FRAME))
    assert codes.shape == (1, 8, 1)
    assert codec.decode(codes).shape == (1, 1, FRAME)


def test_a_broken_frame_is_named(codec: Codec) -> None:
    with pytest.raises(ValueError, match="1919 samples are no whole number of frames of 1920"):
        codec.encode(noise(1, 1, FRAME - 1))
