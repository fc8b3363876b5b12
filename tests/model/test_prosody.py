"""The listener to how callers speak: streamed as whole, rows apart, and a pitch that can be read off."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.codec import Codec
from model.config import ModelConfig, ProsodyConfig
from model.engine import Engine
from model.errors import ConfigError
from model.prosody import LAGS, WINDOWS_PER_FEATURE, PitchFeatures
from tests.model import tiny
from tests.model.tiny import FRAME, assert_rows_equal, mask, noise, pieces

pytestmark = pytest.mark.usefixtures("no_gradients")

CODES = 5
CONFIG = replace(tiny.CODEC_CONFIG, prosody=ProsodyConfig(codes=CODES, dim=16))
NUM_FRAMES = 7


@pytest.fixture(scope="module")
def codec() -> Codec:
    return tiny.codec(config=CONFIG)


def _tone(f0_hz: float) -> Tensor:
    """A buzz with a dozen harmonics, float [1, 1, T]."""
    at = torch.arange(NUM_FRAMES * FRAME) / 24_000
    harmonics = [torch.sin(2 * torch.pi * n * f0_hz * at) / n for n in range(1, 13)]
    return 0.1 * torch.stack(harmonics).sum(0)[None, None]


@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_manner_streams_in_any_chunk(codec: Codec, chunk: int) -> None:
    assert codec.prosody is not None
    pcm, state = noise(2, 1, NUM_FRAMES * FRAME), codec.encoder_state(2)
    local = codec.local_features(pcm)
    whole = codec.prosody(local, pcm)
    assert whole.shape == (2, CODES, NUM_FRAMES)
    of_prosody = state.child("prosody")
    parts = [
        codec.prosody(some, sound, of_prosody)
        for some, sound in zip(pieces(local, 2 * chunk), pieces(pcm, chunk * FRAME), strict=True)
    ]
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, atol=1e-5, rtol=0)


def test_encoding_gives_the_manner_last_and_decoding_leaves_it(codec: Codec) -> None:
    assert codec.prosody is not None
    pcm = noise(2, 1, NUM_FRAMES * FRAME)
    codes = codec.encode(pcm)
    n_q = CONFIG.quantizer.n_q
    assert codes.shape == (2, CONFIG.encoded_q, NUM_FRAMES)
    assert CONFIG.encoded_q == n_q + 1
    assert torch.equal(codes[:, :n_q], codec.quantizer.encode(codec.latent(pcm)))
    assert torch.equal(codes[:, n_q:], codec.prosody.codes(codec.local_features(pcm), pcm))
    assert torch.equal(codec.decode(codes), codec.decode(codes[:, :n_q]))


def test_an_idle_row_forgets_and_learns_nothing(codec: Codec) -> None:
    state = codec.encoder_state(2)
    codec.encode(noise(2, 1, 3 * FRAME), state)
    before = state.rows(1)
    state.set_exec_mask(mask(1, 0))
    codec.encode(torch.full((2, 1, FRAME), torch.nan), state)
    assert_rows_equal(state, before, 1)


def test_a_reset_row_is_as_fresh_as_a_new_one(codec: Codec) -> None:
    pcm, state = noise(2, 1, NUM_FRAMES * FRAME), codec.encoder_state(2)
    codec.encode(5 * noise(2, 1, 3 * FRAME, seed=4), state)
    state.reset(mask(1, 0))
    streamed = torch.cat([codec.encode(part, state) for part in pieces(pcm, FRAME)], dim=-1)
    assert torch.equal(streamed[0, -1], codec.encode(pcm)[0, -1])


@pytest.mark.parametrize("f0_hz", [80.0, 130.0, 210.0])
def test_a_voice_is_most_like_itself_a_pitch_period_later(f0_hz: float) -> None:
    found = PitchFeatures()(_tone(f0_hz))[0, :, -1].view(WINDOWS_PER_FEATURE, -1)
    likeness = found[-1, :-1]
    assert likeness.max() > 0.9
    period = 4_000 / f0_hz
    best = LAGS[0] + int(likeness.argmax())
    # A multiple of the period does as well.
    assert min(abs(best - n * period) for n in (1, 2, 3, 4, 5)) <= 1


def test_pitch_does_not_depend_on_level_but_loudness_does() -> None:
    pitch = PitchFeatures()
    loud, soft = (pitch(gain * _tone(130.0))[0, :, -1].view(WINDOWS_PER_FEATURE, -1) for gain in (1.0, 0.25))
    torch.testing.assert_close(loud[:, :-1], soft[:, :-1], atol=0.02, rtol=0)
    assert (loud[:, -1] > soft[:, -1] + 0.5).all()


def test_an_engine_reads_the_manner_as_the_callers_last_code(model_folder: Path, codec: Codec) -> None:
    lm = replace(tiny.LM_CONFIG, n_q=17, delays=(*tiny.LM_CONFIG.delays, 0))
    parts = Engine.load(model_folder, 1)
    config = ModelConfig("tiny", CONFIG, replace(lm, text_card=parts.config.lm.text_card))
    assert (config.lm.agent_q, config.lm.caller_q) == (8, 9)
    engine = Engine(replace(parts.model, config=config, codec=codec, lm=tiny.lm(config.lm)), 2)
    engine.start(0, seed=1)
    pcm = noise(2, NUM_FRAMES * FRAME).numpy()
    heard = []
    for at in range(NUM_FRAMES):
        out = engine.step(pcm[:, at * FRAME : (at + 1) * FRAME], mask(1, 0).numpy())
        heard.append(int(out.tokens[0, lm.n_q]))
    assert engine.num_streams == lm.n_q + 1
    wanted = engine.model.codec.encode(torch.from_numpy(pcm[:1, None]))[0, -1].tolist()
    assert heard[1:] == wanted[1:]  # a call's first frame is never read


def test_a_model_must_have_as_many_codes_as_the_codec_tells_manners() -> None:
    lm = replace(tiny.LM_CONFIG, n_q=17, delays=(*tiny.LM_CONFIG.delays, 0))
    with pytest.raises(ConfigError, match="9 caller codes are asked of a codec that has 8 codebooks"):
        ModelConfig("tiny", tiny.CODEC_CONFIG, lm)
    many = replace(CONFIG, prosody=ProsodyConfig(codes=33))
    with pytest.raises(ConfigError, match="33 manners of speaking, more than the 32 codes"):
        ModelConfig("tiny", many, lm)
