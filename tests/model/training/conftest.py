"""What tests of training share: an alphabet of today's material, made once."""

from itertools import islice
from pathlib import Path

import pytest

from model.training import tokenizer_stage


@pytest.fixture(scope="session")
def alphabet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokenizer of a part of the material."""
    folder = tmp_path_factory.mktemp("alphabet")
    with pytest.MonkeyPatch.context() as patch:
        sentences = tokenizer_stage.sentences
        patch.setattr(tokenizer_stage, "sentences", lambda seed: islice(sentences(seed), 6000))
        tokenizer_stage.train_tokenizer(folder)
    return folder
