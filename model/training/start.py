"""Beginning with a trained model's weights in place of random ones: a new alphabet, new phone heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from model.checkpoint import load_tensors, read_config, read_safetensors
from model.codec import Codec
from model.config import CodecConfig, LmConfig
from model.errors import CheckpointError
from model.lm import Lm
from model.phrasings import Tone
from model.tokenizer import TextTokenizer, load_text_tokenizer
from model.training.codec_stage import INPUT_GAIN
from model.training.manners import CALM_FAVOUR, MANNERS

# Tables with a row for each text token.
_READ_BACK = "extra_emb.0.weight"
_TEXT_TABLES = ("text_emb.weight", "text_linear.weight", "depformer_text_emb.weight", "extra_heads.0.weight",
                _READ_BACK)  # fmt: skip


def _require_same(
    what: str, ours: CodecConfig | LmConfig, theirs: CodecConfig | LmConfig, folder: Path
) -> None:
    if ours != theirs:
        raise CheckpointError(
            f"{folder} has a {what} of other sizes than this run's: give the --size that it was trained in"
        )


def load_codec(codec: Codec, folder: Path) -> None:
    """Fill a codec that is to be trained on with a model folder's weights.

    One that tells how callers speak may begin with one that does not, its listener as it is. Raises
    CheckpointError if the folder's codec has other sizes.
    """
    theirs = read_config(folder).codec
    stored = read_safetensors(folder / "codec.safetensors")
    if codec.prosody is not None and not theirs.prosody.codes:
        theirs = replace(theirs, prosody=codec.config.prosody)
        stored |= {f"prosody.{name}": tensor for name, tensor in codec.prosody.state_dict().items()}
    _require_same("codec", codec.config, theirs, folder)
    load_tensors(codec, stored, str(folder))
    with torch.no_grad():  # what ships has the training gain folded in, and favours calm
        codec.encoder.model[0].conv.conv.weight.div_(INPUT_GAIN)  # type: ignore[union-attr,operator]
        if codec.prosody is not None and read_config(folder).codec.prosody.codes:
            codec.prosody.leave.bias[MANNERS[Tone.CALM]] -= CALM_FAVOUR


def load_lm(lm: Lm, folder: Path, tokenizer: TextTokenizer) -> int:
    """Fill a language model with a folder's weights; how many of its text tokens are new.

    A token that the folder's alphabet lacks begins as the mean of the pieces that spelt it there. A model
    that reads back its transcript, or is told how the caller speaks, may begin with one that does not: what
    is read adds nothing yet. Raises CheckpointError if the folder's language model has other sizes.
    """
    config = read_config(folder)
    theirs = config.lm
    stored = read_safetensors(folder / "lm.safetensors")
    if lm.config.n_q == theirs.n_q + 1 and not config.codec.prosody.codes:
        theirs = replace(theirs, n_q=lm.config.n_q, delays=(*theirs.delays, 0))
        stored[f"emb.{theirs.n_q - 1}.weight"] = torch.zeros(theirs.card + 1, theirs.dim)
    if lm.config.extra_heads_fed_back and not theirs.extra_heads_fed_back:
        theirs = replace(theirs, extra_heads_fed_back=1)
        stored[_READ_BACK] = torch.zeros(theirs.extra_heads_dim + 1, theirs.dim)
    _require_same("language model", lm.config, theirs, folder)
    before = load_text_tokenizer(folder)
    places = {before.piece(token): token for token in range(before.card) if before.piece(token)}
    sources = [_source(tokenizer, token, before, places) for token in range(tokenizer.card)]
    for name in _TEXT_TABLES:
        if name in stored:
            stored[name] = _moved(stored[name].float(), sources)
    load_tensors(lm, stored, str(folder / "lm.safetensors"))
    return sum(not source or len(source) > 1 for source in sources)


def _source(
    tokenizer: TextTokenizer, token: int, before: TextTokenizer, places: Mapping[str, int]
) -> list[int]:
    """The tokens there that stand for one of ours; none for a control token that is new."""
    controls = ("hangup", "transfer", "nobody", "delegate", "announce", "pad", "epad")
    for name in controls:
        if token == getattr(tokenizer, name):
            there = getattr(before, name)
            return [there] if there >= 0 else []
    piece = tokenizer.piece(token)
    if not piece:
        return [token]
    if piece in places:  # asked by name: encoding would put a word's start before it
        return [places[piece]]
    return before.encode(piece.replace("▁", " ")) or [token]


def _moved(table: Tensor, sources: list[list[int]]) -> Tensor:
    """The table with its rows where our alphabet has them; rows beyond the alphabet stay."""
    out = table.clone()
    for token, source in enumerate(sources):
        out[token] = table[source].mean(0) if source else 0.0
    return out
