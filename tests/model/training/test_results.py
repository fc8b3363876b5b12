"""What stages leave behind: weights by stage, a codec that moves no more, a folder for the engine."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.config import FRAME_SAMPLES, ProsodyConfig
from model.errors import CheckpointError
from model.phrasings import Tone
from model.training.codec_stage import INPUT_GAIN, CodecDials, CodecTraining
from model.training.manners import CALM_FAVOUR, MANNERS, NUM_CODES
from model.training.results import export_model, freeze, frozen_codec, stage_weights, with_listener
from tests.model import tiny


def test_a_frozen_codec_has_its_gain_built_in_and_is_stored_without_loss() -> None:
    trained, frozen = tiny.codec(), freeze(tiny.codec())
    sound = 0.1 * tiny.noise(1, 1, 10 * FRAME_SAMPLES)
    with torch.no_grad():
        wanted, got = trained.latent(INPUT_GAIN * sound), frozen.latent(sound)
    assert (got - wanted).norm() < 0.02 * wanted.norm()
    for tensor in frozen.state_dict().values():
        assert torch.equal(tensor, tensor.half().to(tensor.dtype))


def test_a_codec_is_frozen_once_it_has_codebooks(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"codec.pt does not exist; run the stage `codec` first"):
        stage_weights(tmp_path, "codec")
    training = CodecTraining(tiny.CODEC_CONFIG, CodecDials(), tmp_path)
    training.save()
    with pytest.raises(CheckpointError, match=r"has no codebooks: .* give the codec more --codec-minutes"):
        frozen_codec(tmp_path, tiny.CODEC_CONFIG)
    for branch in (training.semantic, training.acoustic):
        branch.seed(torch.randn(200, tiny.CODEC_CONFIG.seanet.dimension))
    training.save()
    assert frozen_codec(tmp_path, tiny.CODEC_CONFIG).quantizer.rvq_first.codebooks[0]._initialized


def test_a_codec_gets_the_listener_that_is_trained_and_that_favours_calm(tmp_path: Path) -> None:
    config = replace(tiny.CODEC_CONFIG, prosody=ProsodyConfig(NUM_CODES, dim=16))
    trained, fresh = tiny.codec(seed=1, config=config).prosody, tiny.codec(seed=2, config=config)
    assert trained is not None and fresh.prosody is not None
    before = fresh.prosody.leave.bias.clone()
    with_listener(fresh, tmp_path)
    assert torch.equal(fresh.prosody.leave.bias, before), "none is trained yet"
    torch.save({"module": trained.state_dict()}, tmp_path / "tone.pt")
    with_listener(fresh, tmp_path)
    moved = fresh.prosody.leave.bias - trained.leave.bias
    wanted = torch.zeros(NUM_CODES)
    wanted[MANNERS[Tone.CALM]] = CALM_FAVOUR
    torch.testing.assert_close(moved, wanted)
    assert torch.equal(fresh.prosody.enter.weight, trained.enter.weight)


def test_nothing_is_exported_before_all_is_trained(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"voice.pt does not exist; run the stage `voice` first"):
        export_model(tmp_path, tiny.model_config(text_card=60), tmp_path / "out")
    assert not (tmp_path / "out").exists()
