"""Beginning with trained weights: hearing stays as it was, an alphabet finds its rows again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.checkpoint import read_config, save_module
from model.codec import Codec
from model.config import FRAME_SAMPLES, ModelConfig, ProsodyConfig
from model.engine import BUILTIN
from model.errors import CheckpointError
from model.lm import Lm
from model.phrasings import Tone
from model.tokenizer import TOKENIZER_FILE, TextTokenizer, load_text_tokenizer
from model.training.codec_stage import HEADS_ALONE_STEPS, INPUT_GAIN, CodecDials, CodecTraining
from model.training.manners import CALM_FAVOUR, MANNERS
from model.training.results import freeze
from model.training.sizes import write_config
from model.training.start import _moved, _source, load_codec, load_lm
from tests.model import tiny


@pytest.fixture(scope="module")
def old() -> TextTokenizer:
    return load_text_tokenizer(BUILTIN)


@pytest.fixture
def shipped(tmp_path: Path, old: TextTokenizer) -> tuple[Path, ModelConfig]:
    """A model folder with the shipped alphabet."""
    config = tiny.model_config(old.card)
    save_module(freeze(tiny.codec()), tmp_path / "codec.safetensors", torch.float16)
    save_module(tiny.lm(config.lm), tmp_path / "lm.safetensors", torch.float32)
    (tmp_path / TOKENIZER_FILE).write_bytes((BUILTIN / TOKENIZER_FILE).read_bytes())
    write_config(config, tmp_path)
    return tmp_path, config


def test_the_codec_hears_what_it_heard_before_it_was_frozen(shipped: tuple[Path, ModelConfig]) -> None:
    folder, config = shipped
    codec = Codec(config.codec)
    load_codec(codec, folder)
    sound = 0.1 * tiny.noise(1, 1, 8 * FRAME_SAMPLES)
    with torch.no_grad():
        wanted, got = (one.eval().latent(INPUT_GAIN * sound) for one in (tiny.codec(), codec))
    assert (got - wanted).norm() < 0.02 * wanted.norm()


def test_a_model_that_is_told_how_callers_speak_begins_with_one_that_is_not(
    shipped: tuple[Path, ModelConfig], old: TextTokenizer
) -> None:
    """Whatever it is told, it says what it said before; its listener is as it was made."""
    folder, config = shipped
    before, told = tiny.lm(config.lm), replace(config.lm, n_q=17, delays=(*config.lm.delays, 0))
    lm = Lm(told).eval()
    load_lm(lm, folder, old)
    codes = tiny.tokens(32, 1, told.num_streams, 9)
    with torch.no_grad():
        wanted = before.temporal(before.columns(codes[:, :17]))
        torch.testing.assert_close(lm.temporal(lm.columns(codes)), wanted)

    codec = Codec(replace(config.codec, prosody=ProsodyConfig(5, dim=16)))
    assert codec.prosody is not None
    made = {name: tensor.clone() for name, tensor in codec.prosody.state_dict().items()}
    load_codec(codec, folder)
    assert all(torch.equal(tensor, made[name]) for name, tensor in codec.prosody.state_dict().items())

    # One that was trained and shipped goes on from what it was before it was made to favour calm.
    there = folder / "there"
    there.mkdir()
    save_module(freeze(codec), there / "codec.safetensors", torch.float32)
    write_config(replace(config, codec=codec.config, lm=lm.config), there)
    again = Codec(codec.config)
    load_codec(again, there)
    assert again.prosody is not None
    favoured = codec.prosody.leave.bias - again.prosody.leave.bias
    torch.testing.assert_close(favoured[MANNERS[Tone.CALM]], torch.tensor(CALM_FAVOUR))
    assert favoured.count_nonzero() == 1
    with pytest.raises(CheckpointError, match="codec of other sizes"):
        load_codec(Codec(replace(codec.config, quantizer=replace(codec.config.quantizer, n_q=7))), folder)


def test_heads_learn_alone_at_first(shipped: tuple[Path, ModelConfig], tmp_path: Path) -> None:
    folder, config = shipped
    dials = CodecDials(caller_clips=1, agent_clips=1)
    training = CodecTraining(config.codec, dials, tmp_path / "work")
    load_codec(training.trainee.codec, folder)
    training.take_over()
    before = {name: p.detach().clone() for name, p in training.trainee.named_parameters()}
    batch = 0.1 * tiny.noise(2, 32 * FRAME_SAMPLES), torch.randint(0, 30, (2, 64))
    training.step(batch)
    moved = {n for n, p in training.trainee.named_parameters() if not torch.equal(p, before[n])}
    assert moved and all(name.startswith("phones_") for name in moved)
    training.steps = HEADS_ALONE_STEPS
    training.step(batch)
    moved = {n for n, p in training.trainee.named_parameters() if not torch.equal(p, before[n])}
    assert any(name.startswith("codec.encoder") for name in moved) and training.quantizing


def test_pieces_keep_their_rows_and_new_ones_begin_as_their_spelling(
    shipped: tuple[Path, ModelConfig], alphabet_folder: Path, old: TextTokenizer
) -> None:
    folder, config = shipped
    new = load_text_tokenizer(alphabet_folder)
    lm, before = Lm(config.lm), tiny.lm(config.lm)
    num_new = load_lm(lm, folder, new)
    missing = {new.piece(t) for t in range(new.card)} - {old.piece(t) for t in range(old.card)}
    assert missing and 0 < num_new <= len(missing), "pieces that moved are not new"
    places = {old.piece(token): token for token in range(old.card)}
    for piece in ("er", "in"):  # inside a word, not at its start
        here = next(token for token in range(new.card) if new.piece(token) == piece)
        assert torch.equal(lm.text_emb.weight[here], before.text_emb.weight[places[piece]])
    for word in ("latte", "large"):
        mine, theirs = new.encode(word), old.encode(word)
        assert len(mine) == len(theirs) == 1
        for name in ("text_emb", "text_linear", "depformer_text_emb"):
            ours, stored = getattr(lm, name).weight, getattr(before, name).weight
            assert torch.equal(ours[mine[0]], stored[theirs[0]])
    spelt = next(
        token for token in range(new.card) if new.piece(token) and len(old.encode(new.piece(token))) == 2
        and new.piece(token).startswith("▁")
    )  # fmt: skip
    pieces = old.encode(new.piece(spelt).replace("▁", " "))
    wanted = before.text_emb.weight[pieces].mean(0)
    torch.testing.assert_close(lm.text_emb.weight[spelt], wanted)
    for control in ("announce", "hangup"):
        here, there = getattr(new, control), getattr(old, control)
        assert torch.equal(lm.text_emb.weight[here], before.text_emb.weight[there])
    assert torch.equal(lm.text_emb.weight[-1], before.text_emb.weight[-1]), "the initial token's row"
    name = "transformer.layers.0.norm1.alpha"
    assert torch.equal(lm.state_dict()[name], before.state_dict()[name])


def test_a_control_token_that_was_not_there_begins_with_nothing(alphabet: TextTokenizer) -> None:
    before = load_text_tokenizer(BUILTIN)
    before.announce = -1
    assert _source(alphabet, alphabet.announce, before, {}) == []
    assert _source(alphabet, alphabet.hangup, before, {}) == [before.hangup]
    moved = _moved(torch.ones(3, 2), [[0], [], [0, 1]])
    assert moved.tolist() == [[1, 1], [0, 0], [1, 1]]


@torch.no_grad()
def test_what_is_read_back_adds_nothing_at_first(
    shipped: tuple[Path, ModelConfig], old: TextTokenizer
) -> None:
    folder, config = shipped
    writing = Lm(replace(config.lm, extra_heads_fed_back=1)).eval()
    assert load_lm(writing, folder, old) == 0
    codes = tiny.tokens(config.lm.card, 1, writing.config.num_streams, 9)
    wanted = tiny.lm(config.lm)(codes[:, :-1]).text
    torch.testing.assert_close(writing(codes).text, wanted, atol=1e-3, rtol=0)
    with pytest.raises(CheckpointError, match=r"language model of other sizes"):
        load_lm(Lm(replace(writing.config, num_layers=1)), folder, old)


def test_other_sizes_are_refused(shipped: tuple[Path, ModelConfig], old: TextTokenizer) -> None:
    folder, config = shipped
    with pytest.raises(CheckpointError, match=r"codec of other sizes .* give the --size"):
        load_codec(Codec(replace(config.codec, quantizer=replace(config.codec.quantizer, n_q=4))), folder)
    with pytest.raises(CheckpointError, match=r"language model of other sizes"):
        load_lm(Lm(replace(config.lm, num_layers=1)), folder, old)
    assert json.loads((folder / "config.json").read_text()) and read_config(folder) == config
