"""One trained alphabet for all: whole pieces for the order line's words, and every control piece."""

from itertools import islice
from pathlib import Path

import pytest

from model.tokenizer import TextTokenizer, load_text_tokenizer
from model.training import tokenizer_stage
from model.training.tokenizer_stage import CARD, sentences, train_tokenizer

SENTENCES = 12_000  # the order line and a part of the dictionary; all of it would take longer


@pytest.fixture(scope="session")
def alphabet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained alphabet."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer_stage, "sentences", lambda seed: islice(sentences(seed), SENTENCES))
        assert train_tokenizer(folder) == CARD
    return folder


@pytest.fixture(scope="session")
def alphabet(alphabet_folder: Path) -> TextTokenizer:
    """The trained alphabet."""
    return load_text_tokenizer(alphabet_folder)
