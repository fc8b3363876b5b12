"""The trained subwords: order-line words are whole pieces, anything else can be spelt."""

from itertools import islice
from pathlib import Path

import pytest

from model.tokenizer import EPAD, PAD, WORD_START, TextTokenizer, load_text_tokenizer
from model.training import tokenizer_stage
from model.training.tokenizer_stage import CARD, sentences, train_tokenizer

SENTENCES = 9000  # the order line and a part of the dictionary; all of it would take longer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer_stage, "sentences", lambda seed: islice(sentences(seed), SENTENCES))
        assert train_tokenizer(folder) == CARD
    return load_text_tokenizer(folder)


def test_common_words_are_single_pieces(tokenizer: TextTokenizer) -> None:
    for word in ("large", "latte", "milk", "goodbye", "is", "that", "right"):
        assert [tokenizer.piece(token) for token in tokenizer.encode(word)] == [WORD_START + word]


@pytest.mark.parametrize("text", ["quizzical zebra's jump", "route 66", "xylophone"])
def test_any_english_can_be_spelt(tokenizer: TextTokenizer, text: str) -> None:
    tokens = tokenizer.encode(text)
    assert EPAD not in tokens
    assert tokenizer.decode(tokens) == text


def test_control_tokens_and_padding_have_their_places(tokenizer: TextTokenizer) -> None:
    controls = {tokenizer.hangup, tokenizer.transfer, tokenizer.nobody}
    assert len(controls) == 3
    assert not controls & {-1, EPAD, PAD}


def test_sentences_are_plain_and_repeat(tmp_path: Path) -> None:
    some = list(islice(sentences(1), 300))
    assert some == list(islice(sentences(1), 300))
    assert all(set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789' ") for text in some)
