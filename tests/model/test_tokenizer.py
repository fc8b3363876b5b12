"""The text alphabet: any English text there and back, control tokens apart from it."""

from pathlib import Path

import pytest

from model.errors import CheckpointError
from model.tokenizer import (
    EPAD,
    PAD,
    TOKENIZER_FILE,
    TextTokenizer,
    load_text_tokenizer,
    read_text_tokenizer,
)
from tests.model.published import text_model


@pytest.mark.parametrize("text", ["a large latte with soy milk", "zebra's quixotic jump", "x"])
def test_any_text_there_and_back(tokenizer: TextTokenizer, text: str) -> None:
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert EPAD not in tokens, "a letter is missing"


def test_case_and_marks_are_not_kept(tokenizer: TextTokenizer) -> None:
    assert tokenizer.encode("Is that right?  Good-bye.") == tokenizer.encode("is that right good bye")
    assert tokenizer.encode(" ?! ") == []


def test_text_cannot_spell_a_control_token(tokenizer: TextTokenizer) -> None:
    controls = {tokenizer.hangup, tokenizer.transfer, tokenizer.nobody, tokenizer.delegate}
    assert len(controls) == 4
    assert not controls & {EPAD, 1, 2, PAD, -1}
    assert not controls & set(tokenizer.encode("<hangup> <transfer> <nobody> <delegate>"))


def test_only_words_have_pieces(tokenizer: TextTokenizer) -> None:
    controls = [tokenizer.hangup, tokenizer.transfer, tokenizer.nobody, tokenizer.delegate]
    silent = [EPAD, 1, 2, PAD, *controls, -1, tokenizer.card]
    assert [tokenizer.piece(token) for token in silent] == [""] * len(silent)
    first = tokenizer.encode("milk")[0]
    assert tokenizer.piece(first).startswith("▁")
    spoken = [PAD, EPAD, *tokenizer.encode("soy"), PAD, *tokenizer.encode("milk"), tokenizer.hangup]
    assert tokenizer.decode(spoken) == "soy milk"


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer\.model does not exist"):
        load_text_tokenizer(tmp_path)
    (tmp_path / TOKENIZER_FILE).write_bytes(b"no model at all")
    with pytest.raises(CheckpointError, match="is no SentencePiece model"):
        load_text_tokenizer(tmp_path)


def test_a_published_alphabet_keeps_case_and_marks_and_has_no_control_tokens(tmp_path: Path) -> None:
    (tmp_path / "spm.model").write_bytes(text_model())
    published = read_text_tokenizer(tmp_path / "spm.model")
    assert published.keeps_case
    controls = (published.hangup, published.transfer, published.nobody, published.delegate)
    assert controls == (-1, -1, -1, -1)
    assert published.decode(published.encode("Hello, Jo.")) == "Hello, Jo."
    assert [published.piece(token) for token in (0, 1, 2, 3)] == [""] * 4
    assert published.encode("<system> you")[:2].count(published.encode("<system>")[-1]) == 1, "one token"
