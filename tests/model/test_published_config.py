"""Published config.json files, field by field, as they stand in the hub's repositories."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import CodecConfig, LmConfig, QuantizerConfig
from model.errors import CheckpointError, ModelError
from model.presets import presets
from model.published_config import FileNames, PublishedConfig, read_codec_config, read_published
from tests.model.oracle import reference_codec_fields

SHARED: dict[str, Any] = {
    "existing_text_padding_id": 3,
    "card": 2048,
    "hidden_scale": 4.125,
    "causal": True,
    "layer_scale": None,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_dim": 1024,
    "depformer_num_heads": 16,
    "depformer_causal": True,
    "depformer_layer_scale": None,
    "depformer_multi_linear": True,
    "depformer_max_period": 10000,
    "depformer_gating": "silu",
    "depformer_pos_emb": "none",
    "depformer_weights_per_step": True,
}
MOSHI = SHARED | {
    "dim": 4096,
    "text_card": 32000,
    "n_q": 16,
    "dep_q": 8,
    "num_heads": 32,
    "num_layers": 32,
    "context": 3000,
    "max_period": 10000,
    "depformer_dim_feedforward": 4224,
    "depformer_num_layers": 6,
    "depformer_context": 8,
    "delays": [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1],
}
HIBIKI = SHARED | {
    "model_type": "hibiki",
    "model_id": {"sig": "ccef4858", "epoch": 200},
    "moshi_name": "hibiki-pytorch-ccef4858@200.safetensors",
    "mimi_name": "mimi-pytorch-e351c8d8@125.safetensors",
    "tokenizer_name": "tokenizer_spm_48k_multi6_2.model",
    "dim": 2560,
    "text_card": 48000,
    "n_q": 32,
    "dep_q": 16,
    "num_heads": 20,
    "num_layers": 24,
    "context": 1500,
    "max_period": 100000.0,
    "depformer_dim_feedforward": 3072,
    "depformer_num_layers": 4,
    "depformer_context": 16,
    "depformer_low_rank_embeddings": 128,
    "depformer_weights_per_step_schedule": [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 8, 8, 8, 8],
    "delays": [0, 0, *[2] * 15, 0, *[2] * 15],
    "conditioners": {
        "description": {
            "type": "lut",
            "lut": {
                "n_bins": 31,
                "dim": 16,
                "tokenizer": "noop",
                "possible_values": ["very_bad", "bad", "neutral", "good", "very_good"],
            },
        }
    },
    "fuser": {
        "cross_attention_pos_emb": False,
        "cross_attention_pos_emb_scale": 1,
        "sum": ["description"],
        "prepend": [],
        "cross": [],
    },
    "cross_attention": [],
    "lm_gen_config": {"temp": 0.8, "temp_text": 0.8, "top_k": 250, "top_k_text": 50},
}


def _read(tree: dict[str, Any], preset: str = "moshiko") -> PublishedConfig:
    return read_published(tree, "config.json", presets()[preset].published())


def test_moshis_sizes_are_our_defaults() -> None:
    read = _read(MOSHI)
    assert read.lm == LmConfig()
    assert read.files == FileNames()
    assert read == presets()["moshiko"].published()


def test_hibikis_file_says_what_the_preset_says() -> None:
    assert _read(HIBIKI, "hibiki-2b") == presets()["hibiki-2b"].published()


def test_an_eight_bit_repository() -> None:
    read = _read(MOSHI | {"quantize": True, "moshi_name": "model.q8.safetensors"})
    assert read == presets()["moshiko-q8"].published()


def test_a_fine_tuned_model_adds_its_low_rank_changes() -> None:
    there = "hf://kyutai/moshiko-pytorch-bf16/"
    read = _read(MOSHI | {"lora": True, "lora_rank": 64, "moshi_name": there + "model.safetensors"})
    assert (read.lora_rank, read.lora_scaling, read.files.lora) == (64, 2.0, "lora.safetensors")
    assert read.files.weights == "hf://kyutai/moshiko-pytorch-bf16/model.safetensors"
    assert _read(MOSHI | {"lora": False, "lora_rank": 64}).lora_rank == 0


def test_null_is_without() -> None:
    empty = {
        "conditioners": None,
        "fuser": None,
        "depformer_low_rank_embeddings": None,
        "text_card_out": None,
    }
    assert _read(MOSHI | empty).lm == LmConfig()
    assert _read(MOSHI | {"text_card_out": 32000}).lm == LmConfig()


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/passwd",
        "a/b.safetensors",
        "file:///x",
        "hf://a/../../x",
        5,
    ],
)
def test_a_file_name_stays_in_its_folder(name: object) -> None:
    with pytest.raises(CheckpointError, match="write a plain file name"):
        _read(MOSHI | {"moshi_name": name})


@pytest.mark.parametrize("ways", [{"cross": ["description"]}, {"sum": []}, {"sum": ["other"]}])
def test_other_conditioning_is_refused(ways: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="only a single look-up table"):
        _read(HIBIKI | {"fuser": HIBIKI["fuser"] | ways}, "hibiki-2b")


def test_a_codec_is_cut_to_the_levels_that_are_spoken() -> None:
    stored = read_codec_config(reference_codec_fields(CodecConfig(), 32), "mimi.json", 8)
    assert stored.num_levels == 32
    assert stored.config == CodecConfig(quantizer=QuantizerConfig(n_q=8))


@pytest.mark.parametrize(
    ("where", "change", "message"),
    [
        ("seanet", {"norm": "weight_norm"}, "mimi.json: seanet asks for norm 'weight_norm'"),
        ("seanet", {"lstm": 2}, "seanet has fields .* lstm"),
        ("transformer", {"gating": "silu"}, "transformer asks for gating 'silu'"),
        ("quantizer", {"q_dropout": True}, "quantizer has fields .* q_dropout"),
    ],
)
def test_a_codec_that_is_built_otherwise_is_refused(where: str, change: dict[str, Any], message: str) -> None:
    tree = reference_codec_fields(CodecConfig(), 32)
    tree[where] |= change
    with pytest.raises(CheckpointError, match=message):
        read_codec_config(tree, "mimi.json", 8)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


OTHER_FIELDS = ("lora", "lora_rank", "lora_scaling", "lora_name", "quantize", "mimi_config_name")


@given(st.sampled_from((*HIBIKI, *OTHER_FIELDS)), JSON)
def test_whatever_a_field_holds_is_read_or_refused(name: str, value: Any) -> None:
    try:
        _read(HIBIKI | {"lora": True, name: value}, "hibiki-2b")
    except ModelError:
        pass
