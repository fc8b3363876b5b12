"""The trained subwords: order-line words are whole pieces, anything else can be spelt."""

from itertools import islice
from pathlib import Path

import pytest

from model.tokenizer import EPAD, PAD, WORD_START, TextTokenizer
from model.training.tokenizer_stage import sentences


def test_common_words_are_single_pieces(alphabet: TextTokenizer) -> None:
    for word in ("large", "latte", "milk", "goodbye", "is", "that", "right"):
        assert [alphabet.piece(token) for token in alphabet.encode(word)] == [WORD_START + word]


@pytest.mark.parametrize("text", ["quizzical zebra's jump", "route 66", "xylophone"])
def test_any_english_can_be_spelt(alphabet: TextTokenizer, text: str) -> None:
    tokens = alphabet.encode(text)
    assert EPAD not in tokens
    assert alphabet.decode(tokens) == text


def test_control_tokens_and_padding_have_their_places(alphabet: TextTokenizer) -> None:
    controls = {alphabet.hangup, alphabet.transfer, alphabet.nobody, alphabet.delegate}
    assert len(controls) == 4
    assert not controls & {-1, EPAD, PAD}


def test_sentences_are_plain_and_repeat(tmp_path: Path) -> None:
    some = list(islice(sentences(1), 300))
    assert some == list(islice(sentences(1), 300))
    assert all(set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789' ") for text in some)
