"""The agent's sentences on disk: as sound, then as tokens. A machine without synthesisers trains from these.

Two kinds: `lines` are what the order line says, `announced` any other English. Shards are written whole or
not at all, and kept apart from the bank's, for no caller says them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from model.codec import Codec
from model.config import CodecConfig
from model.errors import CheckpointError
from model.order_line import Intent
from model.phrasings import Tone
from model.requests import Request
from model.training.agent_voice import AgentSentence
from model.training.bank import Stem, Turn, load_shard, save_shard
from model.training.feed import side_by_side
from model.training.tokens_stage import LibraryLine, encode_library, shared_codec

SENTENCES_PER_SHARD = 100
LINES, ANNOUNCED = "lines", "announced"
AGENT = "agent"


def _shard_path(folder: Path, kind: str, number: int) -> Path:
    return folder / f"{kind}-{number:04d}.npz"


def build_sentences(
    folder: Path, kind: str, texts: Sequence[str], speak: Callable[[Sequence[str]], Sequence[AgentSentence]]
) -> Iterator[Path]:
    """Write the shards of these texts that are missing; each path once it is there.

    `speak` is given all texts of a shard. Shards of another list of texts are made anew.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / f"{kind}.json"
    told = json.dumps(list(texts))
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != told:
        for old in folder.glob(f"{kind}-*.npz"):
            old.unlink()
        stamp.write_text(told, encoding="utf-8")
    for number, first in enumerate(range(0, len(texts), SENTENCES_PER_SHARD)):
        path = _shard_path(folder, kind, number)
        if not path.exists():
            sentences = speak(texts[first : first + SENTENCES_PER_SHARD])
            save_shard([Stem(AGENT, [_as_turn(sentence) for sentence in sentences])], path)
            yield path


def build_together(
    folder: Path, kind: str, names: Sequence[str], speak: Callable[[], Sequence[AgentSentence]]
) -> list[Path]:
    """Write all shards of a kind if one is missing or the list of names is another; what was written.

    For sentences that share sounds: what begins alike must sound alike, and no two syntheses do.
    """
    shards = [_shard_path(folder, kind, n) for n in range(-(-len(names) // SENTENCES_PER_SHARD))]
    stamp = folder / f"{kind}.json"
    is_same = stamp.exists() and stamp.read_text(encoding="utf-8") == json.dumps(list(names))
    if is_same and all(path.exists() for path in shards):
        return []
    for path in shards:
        path.unlink(missing_ok=True)
    sentences = list(speak())
    given = iter(range(0, len(sentences), SENTENCES_PER_SHARD))

    def some(texts: Sequence[str]) -> list[AgentSentence]:
        first = next(given)
        return sentences[first : first + len(texts)]

    return list(build_sentences(folder, kind, names, some))


def _as_turn(sentence: AgentSentence) -> Turn:
    tone = Tone.WHISPER if sentence.is_soft else Tone.CALM
    request = Request(Intent.OTHER, sentence.text, tone=tone)
    return Turn(request, sentence.pcm, sentence.words, sentence.phones)


def load_sentences(path: Path) -> list[AgentSentence]:
    """The sentences of one shard."""
    sentences = []
    for turn in (turn for stem in load_shard(path) for turn in stem.turns):
        assert turn.request is not None
        is_soft = turn.request.tone is Tone.WHISPER
        sentences.append(AgentSentence(turn.request.text, turn.pcm, turn.words, turn.phones, is_soft))
    return sentences


def stored_sentences(folder: Path) -> list[AgentSentence]:
    """Every stored sentence, lines first.

    Raises CheckpointError if there are none.
    """
    paths = [path for kind in (LINES, ANNOUNCED) for path in sorted(folder.glob(f"{kind}-*.npz"))]
    first_lines(folder, 1)
    return [sentence for path in paths for sentence in load_sentences(path)]


def first_lines(folder: Path, count: int) -> list[AgentSentence]:
    """The first of the order line's sentences: those without an order in them.

    Raises CheckpointError if there are none.
    """
    path = _shard_path(folder, LINES, 0)
    if not path.exists():
        raise CheckpointError(f"{folder} holds no sentence of the agent; run the stage `recordings` first")
    return load_sentences(path)[:count]


def encode_sentences(
    codec: Codec, weights: Path, sounds: Path, folder: Path, num_workers: int = 0
) -> Iterator[Path]:
    """Encode each shard of sounds whose tokens are missing or older; each path once it is there.

    `weights` hold the same codec for worker processes.
    """
    device = str(next(codec.parameters()).device)
    tasks = [
        (codec.config, weights, device, shard, path)
        for shard in sorted(sounds.glob("*.npz"))
        if not (path := folder / f"library-{shard.name}").exists()
        or path.stat().st_mtime_ns < shard.stat().st_mtime_ns
    ]
    wanted = {f"library-{shard.name}" for shard in sounds.glob("*.npz")}
    for old in [path for path in folder.glob("library-*.npz") if path.name not in wanted]:
        old.unlink()
    yield from side_by_side(_encode_shard, tasks, num_workers)


def _encode_shard(config: CodecConfig, weights: Path, device: str, shard: Path, path: Path) -> Path:
    codec = shared_codec(config, weights, device)
    with torch.inference_mode():
        save_library(encode_library(codec, load_sentences(shard)), path)
    return path


def save_library(lines: Sequence[LibraryLine], path: Path) -> None:
    """Codes end to end, and the rest as JSON; the same lines give the same bytes."""
    codes = np.concatenate([line.codes for line in lines], axis=1)
    truth = [[line.text, line.codes.shape[1], line.words, line.is_soft] for line in lines]
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, codes=codes, truth=np.array(json.dumps(truth)))
    partial.replace(path)


def load_library(folder: Path, kind: str) -> list[LibraryLine]:
    """The agent's sentences of a kind as tokens, the settled silence first.

    Raises CheckpointError if none are there.
    """
    paths = library_shards(folder, kind)
    return [_load_lines(paths[0])[0], *(line for path in paths for line in load_said(path))]


def library_shards(folder: Path, kind: str) -> list[Path]:
    """Where they lie. Raises CheckpointError if none are there."""
    paths = sorted(folder.glob(library_pattern(kind)))
    if not paths:
        raise CheckpointError(f"{folder} holds no tokens of the agent; run the stage `tokens` first")
    return paths


def library_pattern(kind: str) -> str:
    """Names of the shards of a kind of sentences."""
    return f"library-{kind}-*.npz"


def load_said(path: Path) -> list[LibraryLine]:
    """A shard's sentences, without the silence that comes first."""
    return _load_lines(path)[1:]


def _load_lines(path: Path) -> list[LibraryLine]:
    with np.load(path) as stored:
        codes, truth = stored["codes"], json.loads(str(stored["truth"]))
    lines, at = [], 0
    for text, length, words, is_soft in truth:
        spans = [(str(word), int(frame)) for word, frame in words]
        lines.append(LibraryLine(text, codes[:, at : at + length], spans, is_soft))
        at += length
    return lines
