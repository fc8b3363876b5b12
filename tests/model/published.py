"""Model folders of the published layouts at a fraction of the width, written from the reference package's
own modules, so that every key and shape is theirs; and those same files loaded by its loaders."""

from __future__ import annotations

import os

os.environ.setdefault("NO_TORCH_COMPILE", "1")  # before the reference package is imported

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from moshi.conditioners.base import ConditionAttributes
from moshi.models.loaders import CheckpointInfo, get_moshi_lm
from moshi.modules.lora import replace_all_linear_with_lora
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.config import LmConfig
from tests.model.oracle import published_fields, reference_codec, reference_codec_fields, reference_lm
from tests.model.tiny import (
    CODEC_CONFIG,
    LM_CONFIG,
    SHARED_LM_CONFIG,
    WIDE_LM_CONFIG,
    noise,
    randomize,
    tokens,
)

STORED_LEVELS = 17  # of the codec's file; the models use eight
WEIGHTS, CODEC = "model.safetensors", "tokenizer-e351c8d8-checkpoint125.safetensors"
TOKENIZER, CODEC_JSON = "tokenizer_spm_32k_3.model", "mimi.json"
LORA_RANK, LORA_SCALING = 4, 1.5
VOICE_FRAMES = 7
CONDITIONING: dict[str, Any] = {
    "conditioners": {
        "description": {
            "type": "lut",
            "lut": {
                "n_bins": 7,
                "dim": 16,
                "tokenizer": "noop",
                "possible_values": ["very_bad", "bad", "neutral", "good", "very_good"],
            },
        }
    },
    "fuser": {"sum": ["description"], "cross": [], "prepend": [], "cross_attention_pos_emb": False},
    "cross_attention": [],
}

Tensors = dict[str, Tensor]


def text_model(size: int = LM_CONFIG.text_card) -> bytes:
    """A SentencePiece model of so many pieces, beginning with the published ones' four."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["You work for Jo. Hello there, you", "yes sir, hello", "Work is here"]),
        model_writer=model,
        vocab_size=size,
        model_type="bpe",
        normalization_rule_name="identity",
        user_defined_symbols=["<system>"],
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=3,
        minloglevel=2,
    )
    return model.getvalue()


def stacked(tensors: Mapping[str, Tensor]) -> Tensors:
    """The reference's split projections as the published files hold them, low-rank and 8-bit ones too."""
    out: Tensors = {}
    steps: dict[str, list[Tensor]] = {}
    for key, tensor in tensors.items():
        found = [name for name in (".in_projs.", ".out_projs.") if name in key]
        if not found:
            out[key] = tensor
            continue
        stem, _, rest = key.partition(found[0])
        _, _, what = rest.partition(".")
        whole = f"{stem}{found[0].replace('projs', 'proj')}{what}"
        whole = whole.replace(".in_proj.weight", ".in_proj_weight")
        steps.setdefault(whole, []).append(tensor)
    return out | {key: torch.cat(parts) for key, parts in steps.items()}


def write_folder(
    folder: Path, config: LmConfig, weights: Mapping[str, Tensor], **fields: Any
) -> dict[str, Any]:
    """A published folder around these weights; the fields are added to its config.json, which is returned."""
    folder.mkdir(exist_ok=True, parents=True)
    tree = published_fields(config) | {"mimi_config_name": CODEC_JSON} | fields
    save_file({key: tensor.contiguous() for key, tensor in weights.items()}, folder / WEIGHTS)
    codec = reference_codec(CODEC_CONFIG, 3, STORED_LEVELS)
    save_file(codec.state_dict(), folder / CODEC)
    (folder / CODEC_JSON).write_text(json.dumps(reference_codec_fields(CODEC_CONFIG, STORED_LEVELS)))
    (folder / TOKENIZER).write_bytes(text_model(config.text_card))
    (folder / "config.json").write_text(json.dumps(tree))
    return tree


def moshi_folder(folder: Path, layout: Callable[[Mapping[str, Tensor]], Tensors] = stacked) -> Path:
    """Moshi's layout, projections stacked as published or split as the reference package saves them."""
    write_folder(folder, LM_CONFIG, layout(reference_lm(LM_CONFIG).state_dict()))
    return folder


def personaplex_folder(folder: Path, **fields: Any) -> Path:
    """PersonaPlex's layout: sixteen depth steps, and an archive of voices."""
    write_folder(
        folder,
        WIDE_LM_CONFIG,
        stacked(reference_lm(WIDE_LM_CONFIG).state_dict()),
        model_type="personaplex",
        **fields,
    )
    write_voices(folder / "voices.tgz", {"voices/NATF0.pt": voice_file(), "voices/._NATF0.pt": b"junk"})
    return folder


def hibiki_folder(folder: Path) -> Path:
    """Hibiki's layout: shared depth weights, narrow tables, a condition."""
    fields = published_fields(SHARED_LM_CONFIG) | CONDITIONING
    model: Any = get_moshi_lm(None, fields, device="cpu", dtype=torch.float32)
    randomize(model, 0)
    write_folder(
        folder,
        SHARED_LM_CONFIG,
        stacked(model.state_dict()),
        model_type="hibiki",
        moshi_name=WEIGHTS,
        mimi_name=CODEC,
        tokenizer_name=TOKENIZER,
        **CONDITIONING,
    )
    return folder


def lora_folder(folder: Path, layout: Callable[[Mapping[str, Tensor]], Tensors], **fields: Any) -> Path:
    """A fine-tuned model: Moshi's files and low-rank changes to every linear layer."""
    base = reference_lm(LM_CONFIG)
    write_folder(
        folder,
        LM_CONFIG,
        stacked(base.state_dict()),
        lora=True,
        lora_rank=LORA_RANK,
        lora_scaling=LORA_SCALING,
        lora_name="lora.safetensors",
        **fields,
    )
    replace_all_linear_with_lora(base, LORA_RANK, LORA_SCALING, dtype=torch.float32)
    randomize(base, 5)
    changes = {key: 0.3 * tensor for key, tensor in base.state_dict().items() if "lora_" in key}
    save_file({key: t.contiguous() for key, t in layout(changes).items()}, folder / "lora.safetensors")
    return folder


def quantized(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Rows in 8 bits as bitsandbytes makes them: int8 [R, C], and the largest of each row float32 [R]."""
    largest = weight.abs().amax(dim=1)
    return (weight * (127 / largest)[:, None]).round().to(torch.int8), largest


def q8_folder(folder: Path) -> tuple[Path, Any]:
    """The 8-bit layout, and the reference's model with the weights that the 8 bits stand for."""
    model = reference_lm(LM_CONFIG)
    state = model.state_dict()
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            eight, scale = quantized(layer.weight.detach())
            state[f"{name}.weight"], state[f"{name}.weight_scb"] = eight, scale
            layer.weight.data = eight.float() * scale[:, None] / 127
    write_folder(folder, LM_CONFIG, stacked(state), quantize=True, moshi_name="model.q8.safetensors")
    (folder / WEIGHTS).rename(folder / "model.q8.safetensors")
    return folder, model


def voice_codes() -> Tensor:
    """What the tiny published voice says and its caller's tone: int64 [16, VOICE_FRAMES]."""
    return tokens(LM_CONFIG.card, 16, VOICE_FRAMES, seed=11)


def voice_file() -> bytes:
    """A voice as PersonaPlex's program saves it after stepping through the frames one by one.

    Its cache has four columns; a stream's code of frame s goes to column s + delay, and what a column held
    four frames before stays until it is overwritten.
    """
    codes, cache = voice_codes(), torch.full((1, 17, 4), -2)
    for frame in range(VOICE_FRAMES):
        cache[0, 0, frame % 4] = 3
        for stream, delay in enumerate(WIDE_LM_CONFIG.delays[1:], start=1):
            cache[0, stream, (frame + delay) % 4] = codes[stream - 1, frame]
    embeddings = noise(VOICE_FRAMES - 1, 1, 1, LM_CONFIG.dim).to(torch.bfloat16)
    content = io.BytesIO()
    torch.save({"embeddings": embeddings, "cache": cache}, content)
    return content.getvalue()


def write_voices(path: Path, members: Mapping[str, bytes | tarfile.TarInfo]) -> None:
    """An archive with these members."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def reference(folder: Path) -> tuple[Any, Any]:
    """Codec and language model of a folder as the reference package's own loaders make them, in float32."""
    tree = json.loads((folder / "config.json").read_text())
    own = {"mimi_config_name", "moshi_name", "mimi_name", "tokenizer_name", "model_type", "lora_name"}
    lm_fields = {key: value for key, value in tree.items() if key not in own}
    info: Any = CheckpointInfo(
        moshi_weights=folder / WEIGHTS,
        mimi_weights=folder / CODEC,
        tokenizer=folder / TOKENIZER,
        lm_config=lm_fields,
        mimi_config=json.loads((folder / CODEC_JSON).read_text()),
        model_type=tree.get("model_type", "moshi"),
        lora_weights=folder / "lora.safetensors" if tree.get("lora") else None,
    )
    return info.get_mimi(), info.get_moshi(dtype=torch.float32).eval()


def reference_logits(model: Any, codes: Tensor) -> Any:
    """What the reference predicts, under the condition that programs ask for if the model has one."""
    wanted = conditions(model, len(codes))
    return model(codes) if wanted is None else model(codes, wanted)


def conditions(model: Any, batch: int) -> Any:
    """The reference's condition tensors that programs ask for, None for a model without."""
    if model.condition_provider is None:
        return None
    wanted = [ConditionAttributes(text={"description": "very_good"}, tensor={})] * batch
    return model.condition_provider.prepare_and_provide(wanted)


def change_weights(folder: Path, change: Callable[[Tensors], None]) -> None:
    """Rewrite the folder's language model after `change` has edited its tensors."""
    tensors = dict(load_file(folder / WEIGHTS))
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
