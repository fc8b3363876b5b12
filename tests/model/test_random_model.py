"""Random models keep the layout, take no detour through other memory, and give finite sound."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from model.config import CodecConfig, LmConfig, ModelConfig, SamplingConfig
from model.engine import FRAME_SAMPLES, Engine
from model.errors import ConfigError
from model.lm import Lm
from model.presets import presets
from model.random_model import fill, random_lm, random_model, reduced
from tests.model import tiny

FULL = ModelConfig("full", CodecConfig(), LmConfig())
CPU = torch.device("cpu")


def test_reducing_keeps_the_layout() -> None:
    small = reduced(FULL, Fraction(1, 16), 2)
    lm, whole = small.lm, FULL.lm
    assert (lm.dim, lm.num_heads, lm.num_layers) == (256, 2, 2)
    assert lm.dim // lm.num_heads == whole.dim // whole.num_heads
    assert (lm.n_q, lm.dep_q, lm.context, lm.delays, lm.text_card) == (16, 8, 3000, whole.delays, 32_000)
    assert (small.codec.seanet.n_filters, small.codec.quantizer.dimension) == (4, 16)
    assert small.codec.quantizer.bins == 2048
    assert reduced(FULL, Fraction(1)) == FULL


def test_a_width_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not an even number"):
        reduced(FULL, Fraction(1, 1024))


def test_weights_are_drawn_in_the_dtype_that_is_asked_for() -> None:
    lm = random_lm(tiny.LM_CONFIG, CPU, torch.bfloat16)
    assert {weight.dtype for weight in lm.parameters()} == {torch.bfloat16}
    assert all(bool(torch.isfinite(weight).all()) for weight in lm.parameters())
    assert float(lm.text_linear.weight.detach().std()) == pytest.approx(64**-0.5, rel=0.1)
    assert torch.equal(lm.out_norm.alpha, torch.ones_like(lm.out_norm.alpha))
    again = Lm(tiny.LM_CONFIG).to(torch.bfloat16)
    fill(again)
    for one, other in zip(lm.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kv_dtype", [None, torch.float8_e4m3fn])
def test_an_engine_runs_on_them_at_any_age(dtype: torch.dtype, kv_dtype: torch.dtype | None) -> None:
    config = ModelConfig("tiny", tiny.CODEC_CONFIG, tiny.LM_CONFIG)
    engine = Engine(random_model(presets()["moshiko"], config, CPU, dtype), 2, kv_dtype=kv_dtype)
    for slot in range(2):
        engine.start(slot, seed=slot)
    engine.age(7)
    pcm = np.full((2, FRAME_SAMPLES), 0.1, np.float32)
    for _ in range(8):
        out = engine.step(pcm, np.ones(2, np.bool_))
        assert np.isfinite(out.pcm).all() and (out.text >= 0).all()
    assert out.pcm.any()
    assert engine._generator.offsets.tolist() == [15, 15]


def test_a_model_that_recites_runs_without_digits_in_its_alphabet() -> None:
    config = ModelConfig(
        "tiny",
        tiny.CODEC_CONFIG,
        tiny.WRITING_LM_CONFIG,
        SamplingConfig(recite_from_digits=5, answer_within_frames=9, grounded_words=("seven",)),
    )
    engine = Engine(random_model(presets()["moshiko"], config, CPU, torch.float32), 1)
    assert engine.program.recital is None and engine.program.answering is None
