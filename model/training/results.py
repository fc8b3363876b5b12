"""What the stages leave in the working folder: a stage's weights, the frozen codec, the model folder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from model.checkpoint import save_module
from model.codec import Codec
from model.config import CodecConfig, ModelConfig
from model.errors import CheckpointError
from model.lm import Lm
from model.phrasings import Tone
from model.tokenizer import TOKENIZER_FILE
from model.training.codec_stage import INPUT_GAIN, Trainee
from model.training.manners import CALM_FAVOUR, MANNERS
from model.training.sizes import write_config


def stage_weights(folder: Path, stage: str) -> dict[str, Tensor]:
    """The weights of a stage that has run. Raises CheckpointError if it has not."""
    path = folder / f"{stage}.pt"
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; run the stage `{stage}` first")
    weights: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")["module"]
    return weights


def frozen_codec(folder: Path, config: CodecConfig) -> Codec:
    """The trained codec, and its listener if that is: gain folded in, weights as they will be stored.

    Raises CheckpointError if it has not been trained, or not for long enough to have codebooks.
    """
    trainee = Trainee(config)
    trainee.load_state_dict(stage_weights(folder, "codec"))
    if not trainee.codec.quantizer.rvq_first.codebooks[0]._initialized:
        raise CheckpointError(
            f"{folder / 'codec.pt'} has no codebooks: its time ended before they were placed; "
            "give the codec more --codec-minutes"
        )
    return freeze(with_listener(trainee.codec, folder))


def with_listener(codec: Codec, folder: Path) -> Codec:
    """The codec with the listener to how callers speak that the stage `tone` has trained, if it has."""
    if codec.prosody is not None and (folder / "tone.pt").exists():
        codec.prosody.load_state_dict(stage_weights(folder, "tone"))
        with torch.no_grad():
            codec.prosody.leave.bias[MANNERS[Tone.CALM]] += CALM_FAVOUR
    return codec


def freeze(codec: Codec) -> Codec:
    """Fold the training gain into the first layer, round to what will be stored: codes move no more."""
    with torch.no_grad():
        codec.encoder.model[0].conv.conv.weight.mul_(INPUT_GAIN)  # type: ignore[union-attr,operator]
        for tensor in codec.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())
    return codec.eval()


def export_model(folder: Path, config: ModelConfig, directory: Path) -> None:
    """Write the model folder that the engine loads. Raises CheckpointError if a stage has not run."""
    codec, lm = Codec(config.codec), Lm(config.lm)
    codec.load_state_dict(stage_weights(folder, "voice"))
    if codec.prosody is not None:
        stage_weights(folder, "tone")  # a listener that has learnt nothing would be believed all the same
    with_listener(codec, folder)
    lm.load_state_dict(stage_weights(folder, "lm"))
    directory.mkdir(parents=True, exist_ok=True)
    save_module(codec, directory / "codec.safetensors", torch.float16)
    save_module(lm, directory / "lm.safetensors", torch.float16)
    write_config(config, directory)
    (directory / TOKENIZER_FILE).write_bytes((folder / "model" / TOKENIZER_FILE).read_bytes())
