"""Published folders, loaded as they are, give what the reference package's own loaders make of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.config import LmConfig
from model.errors import CheckpointError, ModelError
from model.model_folder import check_folder, open_folder
from model.numbers import DIGIT_WORDS
from model.published import LoadedModel, load_model
from model.tokenizer import EPAD, PAD, WORD_START
from tests.model import published
from tests.model.oracle import reference_codec_fields, reference_lm
from tests.model.published import change_weights, reference, reference_logits, stacked
from tests.model.tiny import CODEC_CONFIG, FRAME, LM_CONFIG, WIDE_LM_CONFIG, noise, tokens

pytestmark = pytest.mark.usefixtures("no_gradients")

FOLDERS: dict[str, Callable[[Path], Path]] = {
    "moshiko": published.moshi_folder,
    "split": lambda folder: published.moshi_folder(folder, dict),
    "personaplex": published.personaplex_folder,
    "hibiki": published.hibiki_folder,
    "lora": lambda folder: published.lora_folder(folder, stacked),
    "lora-split": lambda folder: published.lora_folder(folder, dict),
}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders that tests copy before they spoil them."""
    root = tmp_path_factory.mktemp("published")
    published.moshi_folder(root / "moshi")
    published.lora_folder(root / "lora", stacked)
    published.personaplex_folder(root / "personaplex")
    return root


def _copy(pristine: Path, name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine / name, tmp_path / "m"))


def _assert_equal(model: LoadedModel, theirs: Any, num_audio: int) -> None:
    """Equal logits of a sequence, and equal choices."""
    codes = tokens(LM_CONFIG.card, 2, LM_CONFIG.num_streams, 25, seed=8)
    mine, wanted = model.lm(codes), reference_logits(theirs, codes)
    mask = wanted.mask[:, :num_audio]
    torch.testing.assert_close(mine.text, wanted.text_logits[:, 0], atol=1e-4, rtol=1e-4)
    assert torch.equal(mine.text.argmax(-1), wanted.text_logits[:, 0].argmax(-1))
    got, expected = mine.audio[:, :num_audio][mask], wanted.logits[:, :num_audio][mask]
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(got.argmax(-1), expected.argmax(-1))


@pytest.mark.parametrize("name", FOLDERS)
def test_a_published_folder_gives_what_the_reference_makes_of_it(name: str, tmp_path: Path) -> None:
    folder = FOLDERS[name](tmp_path / name)
    model = load_model(folder)
    codec, lm = reference(folder)
    assert not list(check_folder(open_folder(folder)))
    assert model.config.lm.agent_q == model.config.lm.dep_q == 8
    _assert_equal(model, lm, num_audio=8)
    pcm = noise(1, 1, 6 * FRAME)
    codec.set_num_codebooks(8)
    codes = codec.encode(pcm)
    assert torch.equal(model.codec.encode(pcm), codes)
    assert codes.shape == (1, 8, 6)
    torch.testing.assert_close(model.codec.decode(codes), codec.decode(codes), atol=1e-4, rtol=0)
    assert model.tokenizer.decode(model.tokenizer.encode("Hello there, Jo.")) == "Hello there, Jo."
    assert all(not tensor.is_meta for tensor in (*model.lm.state_dict().values(), *model.codec.buffers()))


def test_eight_bits_are_the_weights_they_stand_for(tmp_path: Path) -> None:
    folder, theirs = published.q8_folder(tmp_path / "moshika-q8")
    model = load_model(folder)
    assert model.name == "moshika-q8"
    _assert_equal(model, theirs, num_audio=8)
    exact = reference_lm(LM_CONFIG).state_dict()["text_linear.weight"]
    assert 0 < (model.lm.text_linear.weight - exact).abs().max() < exact.abs().max() / 200


def test_all_sixteen_depth_steps_may_be_kept(pristine: Path, tmp_path: Path) -> None:
    folder = _copy(pristine, "personaplex", tmp_path)
    model = load_model(folder, all_depth_steps=True)
    assert (model.config.lm.dep_q, model.config.lm.agent_q) == (16, 8)
    _assert_equal(model, reference(folder)[1], num_audio=16)


def _eight_steps(tensors: dict[str, Tensor]) -> None:
    for key in list(tensors):
        parts = key.split(".")
        step = next((int(part) for part in parts[1:] if part.isdigit()), 0)
        if (parts[0] in ("depformer_in", "linears") and step > 7) or (
            parts[0] == "depformer_emb" and step > 6
        ):
            del tensors[key]
        elif ".gating." in key and parts[0] == "depformer" and int(parts[4]) > 7:
            del tensors[key]
        elif parts[0] == "depformer" and "self_attn" in key:
            tensors[key] = tensors[key][: len(tensors[key]) // 2].clone()


def test_missing_callers_steps_are_copied_from_the_agents(pristine: Path, tmp_path: Path) -> None:
    folder = _copy(pristine, "personaplex", tmp_path)
    whole = load_model(folder).lm.state_dict()
    change_weights(folder, _eight_steps)
    model = load_model(folder, all_depth_steps=True)
    state = model.lm.state_dict()
    assert torch.equal(state["linears.9.weight"], state["linears.1.weight"])
    assert torch.equal(state["depformer_emb.14.weight"], state["depformer_emb.6.weight"])
    gating = "depformer.layers.1.gating.{}.linear_in.weight"
    assert torch.equal(state[gating.format(15)], state[gating.format(7)])
    first, second = state["depformer.layers.0.self_attn.in_proj_weight"].chunk(2)
    assert torch.equal(first, second)
    for key, tensor in load_model(folder).lm.state_dict().items():
        assert torch.equal(tensor, whole[key]), key


def test_a_short_config_is_filled_from_what_is_published(pristine: Path, tmp_path: Path) -> None:
    """PersonaPlex's own config.json names the kind of model and no sizes."""
    folder = _copy(pristine, "personaplex", tmp_path)
    (folder / "config.json").write_text(json.dumps({"model_type": "personaplex", "version": "7b-v1"}))
    opened = open_folder(folder, all_depth_steps=True)
    assert opened.config.lm == LmConfig(dep_q=16, agent_codebooks=8)
    assert opened.prompt is not None
    assert opened.prompt.wrap_role(" You work. ") == "<system> You work. <system>"
    assert opened.prompt.wrap_role("<system> You work. <system>") == "<system> You work. <system>"
    (folder / "config.json").unlink()
    assert open_folder(folder).prompt == opened.prompt
    with pytest.raises(CheckpointError, match=r"the tokenizer has 48 tokens, the model 32000"):
        load_model(folder)


def test_types_and_devices(pristine: Path, tmp_path: Path) -> None:
    folder = _copy(pristine, "moshi", tmp_path)
    model = load_model(folder, dtype=torch.bfloat16)
    assert model.lm.text_linear.weight.dtype == torch.bfloat16
    assert next(model.codec.parameters()).dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in model.lm.parameters())
    on_meta = load_model(folder, device="meta")
    assert on_meta.lm.text_linear.weight.dtype == torch.bfloat16, "elsewhere than on a CPU: as published"


def test_our_own_folders_load_too(model_folder: Path) -> None:
    model = load_model(model_folder)
    assert (model.name, model.prompt, model.voices.names) == ("tiny", None, ())
    assert not list(check_folder(open_folder(model_folder)))
    builtin = load_model(Path("model/builtin"))
    assert (builtin.name, builtin.licence) == ("builtin", "GPL-3.0-or-later")


def test_words_that_may_be_given_have_a_second_form(model_folder: Path, tmp_path: Path) -> None:
    """Words alone: padding and controls are given to every model as they are."""
    folder = tmp_path / "louder"
    shutil.copytree(model_folder, folder)
    tree = json.loads((folder / "config.json").read_text())
    tree["sampling"] |= {"given_gain": 2.5, "recited_gain": 1.5}
    (folder / "config.json").write_text(json.dumps(tree))
    before, after = load_model(model_folder), load_model(folder)
    tokenizer, rows = after.tokenizer, after.config.lm.text_card + 1
    assert (before.lm.second_form, after.lm.second_form) == (0, rows)
    for table, plain in (
        (after.lm.text_emb.weight, before.lm.text_emb.weight),
        (after.lm.depformer_text_emb.weight, before.lm.depformer_text_emb.weight),
    ):
        assert torch.equal(table[:rows], plain)
        same = [token for token in range(rows) if torch.equal(table[rows + token], plain[token])]
        louder = [token for token in range(rows) if torch.equal(table[rows + token], 2.5 * plain[token])]
        assert len(same) + len(louder) == rows
        spelt = {
            token for token in tokenizer.encode("a large latte one") if tokenizer.piece(token) != WORD_START
        }
        assert spelt <= set(louder), "it spells digits in letters, which are other words', too"
        assert {PAD, EPAD, tokenizer.delegate, tokenizer.announce, rows - 1} <= set(same)


def test_the_built_in_models_digits_have_a_gain_of_their_own() -> None:
    model = load_model(Path("model/builtin"))
    lm, sampling, encode = model.lm, model.config.sampling, model.tokenizer.encode
    digits = {token for word in DIGIT_WORDS for token in encode(word)}
    others = set(encode("a large dark roast latte is that right")) - digits
    for table in (lm.text_emb.weight, lm.depformer_text_emb.weight):
        for words, gain in ((digits, sampling.recited_gain), (others, sampling.given_gain)):
            assert gain > 1
            for token in words:
                assert torch.equal(table[lm.second_form + token], gain * table[token])


def test_files_of_another_repository_come_from_the_hubs_cache(tmp_path: Path) -> None:
    """A fine-tuned model's folder names the base model's files by their address."""
    base = tmp_path / "hub" / "models--kyutai--moshiko-pytorch-bf16"
    published.lora_folder(base / "snapshots" / "abc", stacked)
    (base / "refs").mkdir()
    (base / "refs" / "main").write_text("abc")
    tuned = tmp_path / "tuned"
    tuned.mkdir()
    (base / "snapshots" / "abc" / "lora.safetensors").rename(tuned / "lora.safetensors")
    tree = json.loads((base / "snapshots" / "abc" / "config.json").read_text())
    there = "hf://kyutai/moshiko-pytorch-bf16/"
    tree |= {"moshi_name": there + published.WEIGHTS, "mimi_name": there + published.CODEC}
    tree |= {"tokenizer_name": there + published.TOKENIZER, "mimi_config_name": there + published.CODEC_JSON}
    (tuned / "config.json").write_text(json.dumps(tree))
    model = load_model(tuned, hub_cache=tmp_path / "hub")
    assert model.name == "tuned"
    with pytest.raises(
        CheckpointError, match=r"fetch it with: hf download kyutai/moshiko-pytorch-bf16 mimi\.json"
    ):
        load_model(tuned)


Change = Callable[[Path], object]
EIGHT_BITS = torch.ones(48, 64, dtype=torch.int8)


def _config(**fields: Any) -> Change:
    def change(folder: Path) -> None:
        tree = json.loads((folder / "config.json").read_text()) | fields
        (folder / "config.json").write_text(json.dumps(tree))

    return change


def _without(name: str) -> Change:
    def change(folder: Path) -> None:
        tree = json.loads((folder / "config.json").read_text())
        del tree[name]
        (folder / "config.json").write_text(json.dumps(tree))

    return change


def _weights(**tensors: Tensor | None) -> Change:
    """Weights by their names with two underscores for a dot; None takes one away."""

    def edit(found: dict[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            key = name.replace("__", ".")
            found.pop(key, None)
            if tensor is not None:
                found[key] = tensor

    return lambda folder: change_weights(folder, edit)


def _bytes(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def _cut(folder: Path) -> None:
    content = (folder / published.WEIGHTS).read_bytes()
    (folder / published.WEIGHTS).write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_config(colour="red"), "fields that this version does not know: colour"),
        (_config(cross_attention=True), "asks for cross_attention True; only None or False"),
        (_config(demux_second_stream=True), "asks for demux_second_stream True"),
        (_config(norm="layer_norm"), "asks for norm 'layer_norm'; only 'rms_norm_f32'"),
        (_config(text_card_out=5), "asks for text_card_out 5"),
        (_config(conditioners={"a": {"type": "tensor"}}, fuser={"cross": ["a"]}), "asks for conditioners"),
        (_config(model_type="stt"), "a model of type 'stt'; dialogue models are moshi"),
        (_config(model_type=["moshi"]), r"a model of type \['moshi'\]"),
        (_config(tokenizer_name="x" * 256), "names the file 'xxx"),
        (_config(lm_gen_config={"beams": 4}), "lm_gen_config has fields .* beams"),
        (_config(moshi_name="../../weights"), "names the file '../../weights'"),
        (_config(moshi_name="other.safetensors"), "lacks other.safetensors; download the repository again"),
        (_config(lora=True, quantize=True), "low-rank changes .lora. to weights of 8 bits"),
        (_config(delays=[0] * 3), "3 delays for 17 streams"),
        (_without("dim"), "config.json lacks dim"),
        (_without("norm"), "config.json lacks norm"),
        (_bytes("config.json", b"[]"), "holds no JSON object"),
        (_bytes("config.json", b"{"), "cannot be read as JSON"),
        (_bytes(published.CODEC_JSON, b'{"seanet": 3}'), "mimi.json lacks channels"),
        (_weights(out_norm__alpha=None), "does not fit its configuration: missing out_norm.alpha"),
        (
            _weights(emb__0__weight=torch.zeros(3, 64)),
            r"emb.0.weight has shape \[3, 64\], .* wants \[33, 64\]",
        ),
        (_weights(novel__weight=torch.zeros(3)), "unknown novel.weight"),
        (
            _weights(text_linear__weight=torch.full((48, 64), torch.nan)),
            "model.safetensors: text_linear.weight holds numbers that are not finite; download it again",
        ),
        (
            _weights(transformer__layers__0__self_attn__in_projs__0__weight=torch.zeros(192, 64)),
            "holds the same weights as .* and as",
        ),
        (
            _weights(text_linear__weight_scb=torch.ones(48)),
            "has text_linear.weight_scb, but is not",
        ),
        (
            _weights(text_linear__weight=EIGHT_BITS),
            "is stored in whole numbers, and text_linear.weight_scb, .* is missing",
        ),
        (
            _weights(
                text_linear__weight=EIGHT_BITS,
                text_linear__weight_scb=torch.ones(3),
            ),
            "text_linear.weight_scb does not have one scale",
        ),
        (_weights(text_linear__lora_A__weight=torch.ones(3)), "belongs in lora.safetensors"),
        (_bytes(published.WEIGHTS, b""), "is empty; download it again"),
        (_bytes(published.WEIGHTS, b"PK\x03\x04" + b"0" * 99), "pickled checkpoints are not loaded"),
        (_bytes(published.WEIGHTS, b"\x80\x02}q\x00." + b"0" * 99), "pickled checkpoints are not loaded"),
        (_bytes(published.WEIGHTS, b"version https://git-lfs.github.com/spec/v1\n"), "a Git LFS pointer"),
        (_bytes(published.WEIGHTS, b'{"error": "Not found", "really": "not here"}'), "is text"),
        (_bytes(published.WEIGHTS, b"GGUF" + b"0" * 99), "is a GGUF file"),
        (_cut, "no whole safetensors file, perhaps cut short"),
        (lambda folder: (folder / published.TOKENIZER).unlink(), "lacks tokenizer_spm_32k_3.model"),
        (_bytes(published.TOKENIZER, b"no model"), "is no SentencePiece model"),
        (_bytes(published.TOKENIZER, published.text_model(50)), "tokenizer has 50 tokens, the model 48"),
    ],
)
def test_what_is_wrong_with_a_folder_is_named(
    change: Change, message: str, pristine: Path, tmp_path: Path
) -> None:
    folder = _copy(pristine, "moshi", tmp_path)
    change(folder)
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def _lora(**tensors: Tensor) -> Change:
    def change(folder: Path) -> None:
        path = folder / "lora.safetensors"
        found = load_file(path) | {key.replace("__", "."): value for key, value in tensors.items()}
        save_file(found, path)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_config(lora_rank=3), "which are not of rank 3"),
        (
            _lora(other__lora_A__weight=torch.zeros(4, 64)),
            "lora.safetensors does not fit .*: unknown other.weight",
        ),
        (_lora(text_linear__lora_A__weight=torch.zeros(4, 9)), r"the model's weight is \[48, 64\]"),
        (_lora(emb__0__weight=torch.zeros(4, 9)), r"emb.0.weight has shape \[4, 9\]"),
        (lambda folder: (folder / "lora.safetensors").unlink(), "lacks lora.safetensors"),
        (
            _weights(
                text_linear__weight=EIGHT_BITS,
                text_linear__weight_scb=torch.ones(48),
            ),
            "stored in 8 bits, and low-rank changes need",
        ),
    ],
)
def test_low_rank_changes_that_do_not_fit_are_named(
    change: Change, message: str, pristine: Path, tmp_path: Path
) -> None:
    folder = _copy(pristine, "lora", tmp_path)
    change(folder)
    with pytest.raises(CheckpointError, match=message):
        load_model(folder)


def test_trained_embeddings_beside_low_rank_changes_replace_the_models(
    pristine: Path, tmp_path: Path
) -> None:
    folder = _copy(pristine, "lora", tmp_path)
    table = noise(33, 64)
    _lora(emb__2__weight=table)(folder)
    assert torch.equal(load_model(folder).lm.state_dict()["emb.2.weight"], table)


def test_a_codec_with_too_few_levels_is_refused(pristine: Path, tmp_path: Path) -> None:
    folder = _copy(pristine, "moshi", tmp_path)
    fields = reference_codec_fields(CODEC_CONFIG, 4)
    (folder / published.CODEC_JSON).write_text(json.dumps(fields))
    with pytest.raises(CheckpointError, match="the model speaks 8 levels, the codec has 4"):
        load_model(folder)


def test_levels_beyond_those_that_the_codec_is_said_to_have_are_unknown(
    pristine: Path, tmp_path: Path
) -> None:
    folder = _copy(pristine, "moshi", tmp_path)
    fields = reference_codec_fields(CODEC_CONFIG, 10)
    (folder / published.CODEC_JSON).write_text(json.dumps(fields))
    with pytest.raises(CheckpointError, match=r"unknown quantizer\.rvq_rest\.vq\.layers\.10\."):
        load_model(folder)


def test_old_names_of_the_codecs_codebooks_load(pristine: Path, tmp_path: Path) -> None:
    folder = _copy(pristine, "moshi", tmp_path)
    before = load_model(folder).codec.state_dict()
    names = {"_initialized": "inited", "cluster_usage": "cluster_size", "embedding_sum": "embed_sum"}
    tensors = load_file(folder / published.CODEC)
    renamed = {
        next((key.replace(new, old) for new, old in names.items() if key.endswith(new)), key): tensor
        for key, tensor in tensors.items()
    }
    assert renamed.keys() != tensors.keys()
    save_file(renamed, folder / published.CODEC)
    for key, tensor in load_model(folder).codec.state_dict().items():
        assert torch.equal(tensor, before[key]), key


def test_the_caller_gets_the_streams_that_the_agent_leaves(tmp_path: Path) -> None:
    """Where a file's depth model predicts all streams, the first half is the agent's."""
    published.write_folder(tmp_path / "j", WIDE_LM_CONFIG, {"a": torch.zeros(1)})
    lm = open_folder(tmp_path / "j", all_depth_steps=True).config.lm
    assert (lm.agent_q, lm.caller_q, lm.dep_q) == (8, 8, 16)
