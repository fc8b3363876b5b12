"""The reference package is built at our sizes, and its absence is told with the remedy."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.bench_reference import Reference, codec_fields, lm_fields, load_package
from model.config import FRAME_SAMPLES, ModelConfig
from model.errors import ConfigError
from tests.model import tiny

CPU = torch.device("cpu")


def test_it_speaks_for_a_batch() -> None:
    config = ModelConfig("tiny", tiny.CODEC_CONFIG, tiny.LM_CONFIG)
    reference = Reference(config, 2, CPU, torch.float32)
    pcm = np.full((2, FRAME_SAMPLES), 0.1, np.float32)
    heard = [reference.step(pcm) for _ in range(4)]
    assert all(sound.shape == (2, FRAME_SAMPLES) and np.isfinite(sound).all() for sound in heard)
    assert heard[-1].any()


def test_its_sizes_are_ours() -> None:
    _get_mimi, lm_model, _lm_gen = load_package()
    theirs = lm_model(**lm_fields(tiny.LM_CONFIG), device="cpu", dtype=torch.float32)
    assert sum(weight.numel() for weight in theirs.parameters()) == sum(
        weight.numel() for weight in tiny.lm().parameters()
    )
    assert codec_fields(tiny.CODEC_CONFIG)["quantizer"]["bins"] == tiny.CODEC_CONFIG.quantizer.bins


def test_a_missing_package_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"pip install --no-deps moshi==0\.2\.13"):
        load_package()


def test_a_model_that_the_package_does_not_run_is_refused() -> None:
    with pytest.raises(ConfigError, match="moshiko"):
        lm_fields(replace(tiny.LM_CONFIG, agent_codebooks=4))
    with pytest.raises(ConfigError, match="read back their transcript"):
        lm_fields(tiny.WRITING_LM_CONFIG)
