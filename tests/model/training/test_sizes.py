"""The built-in model's sizes: the shipped one, and one that fills its 60 MB."""

from dataclasses import replace
from pathlib import Path

import pytest

from model.checkpoint import read_config
from model.config import ModelConfig, SamplingConfig
from model.cost import codec_weights, lm_weights
from model.engine import BUILTIN
from model.errors import CheckpointError
from model.tokenizer import load_text_tokenizer
from model.training.sizes import FULL, SIZES, SMALL, builtin_config, keep_to_size, write_config
from model.training.tokenizer_stage import CARD

FLOAT16_BYTES, MOST_BYTES = 2, 60e6


def _file_bytes(config: ModelConfig) -> float:
    return FLOAT16_BYTES * (lm_weights(config.lm).total + codec_weights(config.codec).total)


def test_the_small_size_is_that_of_the_shipped_model() -> None:
    assert read_config(BUILTIN) == builtin_config()
    assert builtin_config() == builtin_config(SMALL)
    assert load_text_tokenizer(BUILTIN).card == builtin_config().lm.text_card


def test_the_full_size_uses_what_a_model_may_weigh() -> None:
    small, full = _file_bytes(builtin_config(SMALL)), _file_bytes(builtin_config(FULL))
    assert 1.5 * small < full < MOST_BYTES - 1e6


@pytest.mark.parametrize("size", SIZES)
def test_the_alphabet_fits_every_size(size: str) -> None:
    lm = builtin_config(size).lm
    assert lm.text_card == lm.extra_heads_dim == CARD


def test_a_folder_keeps_to_the_size_that_it_was_begun_with(tmp_path: Path) -> None:
    keep_to_size(builtin_config(FULL), tmp_path)
    keep_to_size(builtin_config(FULL), tmp_path)
    with pytest.raises(CheckpointError, match=r"other sizes .* give the --size it was begun with"):
        keep_to_size(builtin_config(SMALL), tmp_path)


def test_a_folder_takes_on_a_new_name_and_how_tokens_are_drawn(tmp_path: Path) -> None:
    now = builtin_config(SMALL)
    keep_to_size(replace(now, sampling=SamplingConfig(), name="before"), tmp_path)
    keep_to_size(now, tmp_path)
    assert read_config(tmp_path) == now


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_config(builtin_config(FULL), tmp_path)
    assert read_config(tmp_path) == builtin_config(FULL)
