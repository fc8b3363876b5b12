"""SEANet: shapes, the layer numbers of published files, streaming."""

import pytest
import torch

from model.seanet import SeanetDecoder, SeanetEncoder
from model.streaming import State
from tests.model.tiny import CODEC_CONFIG, noise, randomize

pytestmark = pytest.mark.usefixtures("no_gradients")


def test_layer_numbers_are_those_of_published_files() -> None:
    encoder = set(SeanetEncoder(CODEC_CONFIG.seanet).state_dict())
    decoder = set(SeanetDecoder(CODEC_CONFIG.seanet).state_dict())
    assert {
        "model.0.conv.conv.weight",
        "model.1.block.3.conv.conv.bias",
        "model.12.conv.conv.weight",
    } <= encoder
    assert {
        "model.2.convtr.convtr.weight",
        "model.12.block.1.conv.conv.weight",
        "model.14.conv.conv.bias",
    } <= decoder
    assert len(encoder) == 2 * (2 + 4 + 2 * 4)
    assert len(decoder) == 2 * (2 + 4 + 2 * 4)


def test_encoder_streams_by_the_hop() -> None:
    encoder = SeanetEncoder(CODEC_CONFIG.seanet)
    randomize(encoder, 1)
    state = State.root(2)
    encoder.init_state(state)
    x = noise(2, 1, 960 * 4)
    parts = [encoder(x[..., at : at + 960], state) for at in range(0, x.shape[-1], 960)]
    whole = encoder(x)
    assert whole.shape == (2, 32, 4)
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, atol=1e-5, rtol=0)


def test_decoder_streams_latent_by_latent() -> None:
    decoder = SeanetDecoder(CODEC_CONFIG.seanet)
    randomize(decoder, 1)
    state = State.root(2)
    decoder.init_state(state)
    x = noise(2, 32, 4)
    parts = [decoder(x[..., at : at + 1], state) for at in range(4)]
    whole = decoder(x)
    assert whole.shape == (2, 1, 960 * 4)
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, atol=1e-4, rtol=0)
