"""Configurations: the published sizes, JSON there and back, and clear refusals."""

import json
from dataclasses import replace
from typing import Any

import pytest

from model.config import (
    CodecConfig,
    LmConfig,
    ModelConfig,
    QuantizerConfig,
    SamplingConfig,
    SeanetConfig,
    from_json,
)
from model.errors import ConfigError
from tests.model.tiny import CODEC_CONFIG, LM_CONFIG, model_config


def test_defaults_are_the_published_model() -> None:
    lm, codec = LmConfig(), CodecConfig()
    assert (lm.dim, lm.num_layers, lm.n_q, lm.dep_q, lm.card, lm.text_card) == (4096, 32, 16, 8, 2048, 32_000)
    assert lm.num_streams == 17
    assert lm.max_delay == 1
    assert codec.hop_samples == 960


def test_json_there_and_back() -> None:
    config = model_config(60)
    assert from_json(ModelConfig, json.loads(json.dumps(config.to_json()))) == config
    lm, sampling = (
        replace(config.lm, extra_heads_fed_back=1),
        SamplingConfig(
            recite_from_digits=5,
            answer_within_frames=20,
            answer_ended_within_frames=8,
            open_words=("a",),
            grounded_words=("large",),
        ),
    )
    reciting = replace(config, lm=lm, sampling=sampling)
    assert from_json(ModelConfig, json.loads(json.dumps(reciting.to_json()))) == reciting


def _broken(path: str, value: Any) -> dict[str, Any]:
    tree = json.loads(json.dumps(model_config(60).to_json()))
    *where, last = path.split(".")
    branch = tree
    for name in where:
        branch = branch[name]
    branch[last] = value
    return dict(tree)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("lm.dimension", 4, "LmConfig does not know dimension; it knows agent_codebooks, .*dim"),
        ("colour", "red", "ModelConfig does not know colour"),
        ("lm.dim", "64", "LmConfig.dim is '64'"),
        ("lm.dim", True, "LmConfig.dim is True"),
        ("codec", 5, "CodecConfig is a JSON object, not 5"),
        ("lm.delays", [0, 1], "2 delays for 17 streams"),
        ("lm.num_heads", 0, "LmConfig.num_heads is 0; numbers of at least 1 are needed"),
        ("lm.dep_q", 0, "LmConfig.dep_q is 0"),
        ("lm.delays", [0, -1], r"LmConfig.delays is \(0, -1\); numbers of at least 0"),
        ("lm.delays", ["x"], "LmConfig.delays is"),
        ("lm.num_heads", 5, "multiples of their number of heads"),
        ("lm.dep_q", 17, "dep_q 17 is more than the n_q 16"),
        ("lm.agent_codebooks", 9, "agent_codebooks 9 is not among the 8"),
        ("lm.extra_heads_fed_back", 2, "extra_heads_fed_back 2 with 1 extra heads"),
        (
            "lm.depformer_weights_per_step_schedule",
            [0, 1],
            r"schedule \[0, 1\] does not give each of dep_q 8",
        ),
        (
            "lm.depformer_weights_per_step_schedule",
            [0, 1, 3, 3, 3, 3, 3, 3],
            "one of the weight sets 0, 1, 2",
        ),
        ("lm.card", 64, "speaks 64 codes per codebook, the codec has 32"),
        ("codec.quantizer.n_q", 4, "8 agent and 8 caller codes are asked of a codec that has 4"),
        ("lm.num_layers", 10**30, "LmConfig.num_layers is 10+; at most 1024 can be run"),
        ("lm.hidden_scale", float("inf"), "LmConfig.hidden_scale is inf; at most"),
        ("lm.hidden_scale", float("nan"), "LmConfig.hidden_scale is nan"),
        ("lm.context", 10**7, "LmConfig.context is 10000000; at most"),
        ("lm.delays", [0] * 16 + [1.5], "LmConfig.delays is .*; numbers of at least 0"),
        ("codec.seanet.compress", 0, "SeanetConfig.compress is 0; numbers of at least 1"),
        ("codec.seanet.dimension", -1, "SeanetConfig.dimension is -1"),
        ("codec.encoder_transformer.num_heads", 7, "dimension 32 is no multiple of its 7 heads"),
        ("codec.encoder_transformer.num_layers", 10**9, "CodecTransformerConfig.num_layers is 10+; at most"),
        ("codec.decoder_transformer.context", 0, "CodecTransformerConfig.context is 0"),
        ("codec.quantizer.dimension", 10**30, "QuantizerConfig.dimension is 10+; at most"),
        ("sampling.text_temperature", 1e308, r"SamplingConfig.text_temperature is 1e\+308; at most 100"),
        ("sampling.audio_top_k", -5, "SamplingConfig.audio_top_k is -5"),
        ("sampling.recite_from_digits", 17, "SamplingConfig.recite_from_digits is 17; at most 16 can be run"),
        ("sampling.recite_from_digits", 5, "recite_from_digits 5 is for models that read back"),
        (
            "sampling.answer_within_frames",
            5,
            "answer_within_frames, yield_to_words, heard_bias, heard_over_line_bias and grounded_words ",
        ),
        (
            "sampling.yield_to_words",
            2,
            "answer_within_frames, yield_to_words, heard_bias, heard_over_line_bias and grounded_words ",
        ),
        (
            "sampling.grounded_words",
            ["oat"],
            "answer_within_frames, yield_to_words, heard_bias, heard_over_line_bias and grounded_words ",
        ),
        ("sampling.heard_over_line_bias", 1.5, "heard_over_line_bias and grounded_words "),
        ("sampling.heard_bias", 0.5, "heard_over_line_bias and grounded_words "),
        ("sampling.heard_bias", 31, "heard_bias is 31.0; at most 30 can be run"),
        ("sampling.heard_over_line_bias", 31, "heard_over_line_bias is 31.0; at most 30 can be run"),
        ("sampling.given_gain", 0, "SamplingConfig.given_gain is 0: words it is given had no sound"),
        ("sampling.recited_gain", 0, "SamplingConfig.recited_gain is 0: words it is given had no sound"),
        ("sampling.given_gain", 11, "SamplingConfig.given_gain is 11.0; at most 10 can be run"),
        ("sampling.grounded_words", ["oat", 3], "grounded_words is .*; words are needed"),
        ("sampling.grounded_words", [""], "grounded_words is .*; words are needed"),
        ("sampling.open_words", ["a b"], "open_words is .*; words are needed"),
        ("sampling.answer_ended_within_frames", -1, "answer_ended_within_frames is -1; .* at least 0"),
        ("sampling.answer_ended_within_frames", 3, "3 is longer than answer_within_frames 0: an ended"),
        ("codec.seanet.ratios", [4, 4], "frame of 32 samples; .* product must be 960"),
    ],
)
def test_what_is_wrong_is_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_json(ModelConfig, _broken(path, value))


def test_a_missing_part_is_named() -> None:
    tree = model_config(60).to_json()
    del tree["lm"]
    with pytest.raises(ConfigError, match=r"ModelConfig.*'lm'"):
        from_json(ModelConfig, tree)


def test_whole_numbers_serve_as_floats() -> None:
    tree = _broken("lm.max_period", 10_000)
    assert from_json(ModelConfig, tree).lm.max_period == 10_000


def test_agent_and_caller_share_the_streams() -> None:
    plain, wide = LmConfig(), LmConfig(dep_q=16, agent_codebooks=8)
    assert (plain.agent_q, plain.caller_q) == (wide.agent_q, wide.caller_q) == (8, 8)
    assert plain.weight_sets == tuple(range(8))
    shared = LmConfig(depformer_weights_per_step_schedule=(0, 1, 1, 1, 1, 1, 1, 1))
    assert (shared.weight_sets[3], shared.num_weight_sets) == (1, 2)


def test_caller_and_agent_may_use_fewer_codes_than_the_codec_has() -> None:
    codec = replace(CODEC_CONFIG, quantizer=QuantizerConfig(dimension=16, n_q=32, bins=LM_CONFIG.card))
    assert ModelConfig("wide", codec, LM_CONFIG).lm.dep_q == 8


def test_ratios_must_give_the_frame() -> None:
    with pytest.raises(ConfigError, match="1920"):
        CodecConfig(seanet=SeanetConfig(ratios=(8, 5, 4)))
