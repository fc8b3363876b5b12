"""What a step must read, against the published model's known sizes and against operators that are counted."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model.config import CodecConfig, LmConfig, ModelConfig, QuantizerConfig, SamplingConfig
from model.cost import (
    codec_flops,
    codec_ring_bytes,
    codec_weights,
    key_bytes,
    lm_weights,
    step_cost,
)
from model.generate import Generator
from tests.model import tiny

FULL = ModelConfig("full", CodecConfig(), LmConfig())
BF16 = torch.bfloat16


def test_weights_of_the_published_model() -> None:
    weights = lm_weights(LmConfig())
    assert weights.total == 7_687_729_152
    assert 2 * weights.temporal == pytest.approx(13.154e9, rel=1e-4)
    assert 2 * weights.text_head == 2 * 32_000 * 4096
    assert 2 * weights.depth == pytest.approx(8 * 166.7e6, rel=1e-3)
    assert 2 * weights.row == 152 * 1024  # 17 rows of 8 KiB, 8 of 2 KiB


def test_steps_that_foretell_the_caller_are_not_read() -> None:
    larger, plain = lm_weights(LmConfig(dep_q=16, agent_codebooks=8)), lm_weights(LmConfig())
    assert larger.total == pytest.approx(8.371e9, rel=1e-4)
    assert larger.depth == plain.depth


def test_a_shared_set_of_depth_weights_is_read_once_and_narrow_tables_are_widened() -> None:
    sizes = tiny.LM_CONFIG.__dict__ | {"depformer_weights_per_step_schedule": (0, 1, 1, 1, 1, 1, 1, 1)}
    own, shared = lm_weights(tiny.LM_CONFIG), lm_weights(LmConfig(**sizes))
    dim, heads, norms = 32, 8 * 32 * 32, 2 * 2 * 32
    a_set = (own.depth - heads - norms) // 8
    assert shared.depth == heads + norms + 2 * a_set
    narrow = lm_weights(LmConfig(**tiny.LM_CONFIG.__dict__ | {"depformer_low_rank_embeddings": 4}))
    assert narrow.depth == own.depth + 8 * 4 * dim and narrow.row == own.row - 8 * (dim - 4)


def test_keys_and_rings_of_the_published_model() -> None:
    assert key_bytes(LmConfig(), BF16) == 512 * 1024
    assert key_bytes(LmConfig(), torch.float8_e4m3fn) == 256 * 1024 + 32 * 2 * 32 * 4
    assert codec_ring_bytes(CodecConfig()) == 4 * 4_096_000


def test_the_published_codec() -> None:
    weights = codec_weights(CodecConfig())
    assert (round(weights.encode * 4e-6), round(weights.decode * 4e-6)) == (173, 161)
    whole = codec_weights(CodecConfig(quantizer=QuantizerConfig(n_q=32)))
    assert whole.total == pytest.approx(96.09e6, rel=1e-4)
    encode, decode = codec_flops(CodecConfig())
    assert encode == pytest.approx(0.442e9, rel=2e-3) and decode == pytest.approx(0.439e9, rel=2e-3)


def test_a_step_of_the_published_model() -> None:
    cost = step_cost(FULL, BF16)
    codec = 173.3e6 + 160.7e6
    assert cost.weight_bytes == pytest.approx(14.75e9 + codec, rel=1e-4)
    assert cost.num_bytes(0, 0) == cost.weight_bytes
    one = cost.num_bytes(1, 3000) - cost.num_bytes(1, 0)
    assert one == 3000 * 524_288  # 1.573 GB
    assert cost.num_bytes(64, 3000) - cost.num_bytes(63, 3000) == one + cost.slot_bytes
    assert cost.key_flops == 524_288
    assert cost.slot_flops == pytest.approx(14.75e9 + 0.881e9, rel=1e-3)


def test_flops_are_those_of_the_operators_that_run() -> None:
    lm, codec, batch = tiny.lm(), tiny.codec(), 3
    generator = Generator(lm, batch, SamplingConfig(), greedy=True)
    state, speaking = codec.encoder_state(batch), codec.decoder_state(batch)
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        codes = codec.encode(tiny.noise(batch, 1, tiny.FRAME), state)
        generator.step(codes[:, :8, 0], torch.ones(batch, dtype=torch.bool))
        codec.decode(codes, speaking)
    config = ModelConfig("tiny", tiny.CODEC_CONFIG, tiny.LM_CONFIG)
    counted = step_cost(config, torch.float32).num_flops(batch, tiny.LM_CONFIG.context)
    # Attention inside the depth model is left out of the cost: a few keys.
    assert counter.get_total_flops() == pytest.approx(counted, rel=0.05)
