"""The reference package (`moshi` on PyPI) at the same sizes: what the engine's bench compares with.

Import it only when it is asked for. A tick is what the package's own server does for a frame: code the
callers' sound, one step of its `LMGen`, decode; here for a batch, and with rows that may be out of step. On a
GPU it captures its own CUDA graphs and compiles its own norms.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import types
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.config import FRAME_RATE_HZ, SAMPLE_RATE_HZ, CodecConfig, LmConfig, ModelConfig
from model.errors import ConfigError
from model.random_model import fill

# The package imports these for downloads, files of sound and bars of progress, none of which we ask of it.
UNUSED_BY_US = {
    "huggingface_hub": ("hf_hub_download",),
    "huggingface_hub.errors": ("EntryNotFoundError",),
    "sphn": (),
    "tqdm": (),
    "tqdm.auto": (),
}
REMEDY = (
    "--reference needs the moshi package: deploy/setup.sh test installs it; elsewhere `pip install --no-deps "
    "moshi==0.2.13` beside einops and sentencepiece, or put its unpacked wheel on PYTHONPATH"
)


def load_package() -> Any:
    """Its (get_mimi, LMModel, LMGen). Raises ConfigError if the package is not there."""
    if importlib.util.find_spec("moshi") is None:
        raise ConfigError(REMEDY)
    if not torch.cuda.is_available():
        # Its guard against compiling on a CPU misses one norm.
        os.environ.setdefault("NO_TORCH_COMPILE", "1")
    try:
        with _stand_ins():
            loaders = importlib.import_module("moshi.models.loaders")
            lm = importlib.import_module("moshi.models.lm")
    except ImportError as error:
        raise ConfigError(f"{REMEDY} ({error})") from error
    return loaders.get_mimi, lm.LMModel, lm.LMGen


@contextlib.contextmanager
def _stand_ins() -> Any:
    """Let the package be imported without what we do not use of it."""
    put = []
    for name, members in UNUSED_BY_US.items():
        parent = name.partition(".")[0]
        if name in sys.modules or (parent not in put and importlib.util.find_spec(parent) is not None):
            continue
        module = types.ModuleType(name)
        for member in members:
            setattr(module, member, Exception)
        sys.modules[name] = module
        put.append(name)
    try:
        yield
    finally:
        for name in put:
            del sys.modules[name]


def lm_fields(config: LmConfig) -> dict[str, Any]:
    """What the package's LMModel is built from."""
    fields = asdict(config)
    if fields.pop("agent_codebooks"):
        raise ConfigError(
            "the moshi package does not run models whose depth model foretells the caller (PersonaPlex); "
            "take --preset moshiko with --reference"
        )
    if fields.pop("extra_heads_fed_back"):
        raise ConfigError(
            "the moshi package does not run models that read back their transcript of the caller; "
            "take --preset moshiko with --reference"
        )
    for name in ("depformer_low_rank_embeddings", "depformer_weights_per_step_schedule"):
        fields[name] = fields[name] or None
    return fields | {
        "delays": list(config.delays),
        "causal": True,
        "norm": "rms_norm_f32",
        "gating": "silu",
        "positional_embedding": "rope",
        "depformer_multi_linear": True,
        "depformer_weights_per_step": True,
        "depformer_pos_emb": "none",
        "depformer_gating": "silu",
    }


def codec_fields(config: CodecConfig) -> dict[str, Any]:
    """What the package's Mimi is built from."""
    dim = config.seanet.dimension
    seanet = {
        "channels": 1,
        "causal": True,
        "n_residual_layers": 1,
        "activation": "ELU",
        "dilation_base": 2,
        "disable_norm_outer_blocks": 0,
        "norm": "none",
        "pad_mode": "constant",
        "true_skip": True,
    }
    transformer = {
        "causal": True,
        "conv_layout": True,
        "gating": "none",
        "norm": "layer_norm",
        "positional_embedding": "rope",
        "d_model": dim,
        "input_dimension": dim,
        "output_dimensions": [dim],
    }
    return {
        "channels": 1,
        "sample_rate": SAMPLE_RATE_HZ,
        "frame_rate": FRAME_RATE_HZ,
        "seanet": asdict(config.seanet) | seanet,
        "transformer": asdict(config.encoder_transformer) | transformer,
        "quantizer": asdict(config.quantizer) | {"input_dimension": dim, "output_dimension": dim},
    }


class Reference:
    """The package's codec and generator with random weights, streaming for a batch; close it to free it."""

    def __init__(self, config: ModelConfig, batch: int, device: torch.device, dtype: torch.dtype) -> None:
        """Raises ConfigError if the package is missing, or does not run such a model."""
        get_mimi, lm_model, lm_gen = load_package()
        own, sampling = config.codec.quantizer, config.sampling
        fields = lm_fields(config.lm)
        self._mimi = get_mimi(
            None, device=device, num_codebooks=own.n_q, mimi_config=codec_fields(config.codec)
        )
        lm = lm_model(**fields, device=device, dtype=dtype).eval()
        for module in (self._mimi, lm):
            fill(module)
        self._generator = lm_gen(
            lm,
            temp=sampling.audio_temperature,
            temp_text=sampling.text_temperature,
            top_k=sampling.audio_top_k,
            top_k_text=sampling.text_top_k,
            support_out_of_sync=True,
        )
        self._device = device
        for module in (self._mimi, self._generator):
            module.streaming_forever(batch)

    @torch.no_grad()
    def step(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """One tick: float32 [S, 1920] -> float32 [S, 1920] in host memory, and the text tokens with it."""
        sound = torch.from_numpy(pcm)[:, None].to(self._device)
        codes = self._mimi.encode(sound)
        tokens = self._generator.step(codes)
        if tokens is None:
            return np.zeros_like(pcm)
        spoken = self._mimi.decode(tokens[:, 1:].clamp(min=0))  # -2 stands for "not yet"
        tokens[:, 0].cpu()
        said: NDArray[np.float32] = spoken[:, 0].cpu().numpy()
        return said
