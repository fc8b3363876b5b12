"""Model tests: one thread (they share the machine), no gradients, one tiny model folder for all."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import sentencepiece
import torch

from model.checkpoint import save_module
from model.tokenizer import CONTROL_PIECES, EPAD, PAD, TOKENIZER_FILE, TextTokenizer, load_text_tokenizer
from tests.model import tiny


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small tokenizer that spells every lower-case word."""
    folder = tmp_path_factory.mktemp("tokenizer")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(
            ["a large latte with soy milk is that right", "good bye", "what can i get you"]
        ),
        model_writer=model,
        vocab_size=60,
        model_type="bpe",
        required_chars="abcdefghijklmnopqrstuvwxyz'",
        normalization_rule_name="identity",
        user_defined_symbols=list(CONTROL_PIECES),
        unk_id=EPAD,
        bos_id=1,
        eos_id=2,
        pad_id=PAD,
        minloglevel=2,
    )
    (folder / TOKENIZER_FILE).write_bytes(model.getvalue())
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> TextTokenizer:
    return load_text_tokenizer(tokenizer_folder)


@pytest.fixture(scope="session")
def digits_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """One that has a piece for every digit, as the built-in model's has."""
    return tiny.write_digits_tokenizer(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def model_folder(tokenizer_folder: Path, tokenizer: TextTokenizer) -> Path:
    """A whole model folder of random weights."""
    config = tiny.model_config(tokenizer.card)
    (tokenizer_folder / "config.json").write_text(json.dumps(config.to_json()))
    save_module(tiny.codec(), tokenizer_folder / "codec.safetensors", torch.float32)
    save_module(tiny.lm(config.lm), tokenizer_folder / "lm.safetensors", torch.float32)
    return tokenizer_folder
