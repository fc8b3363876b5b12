"""The frozen codec turns speech into tokens: callers over telephone lines, and the agent's library.

A stem is encoded as one long call, from the codec's cold start on, so its tokens are what the engine will
hear. A library sentence is encoded after silence and in the same phase: one sentence, one token sequence.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.checkpoint import load_tensors, read_safetensors, save_module
from model.codec import Codec
from model.config import FRAME_RATE_HZ, FRAME_SAMPLES, CodecConfig
from model.errors import CheckpointError
from model.requests import Request
from model.training.acoustics import Acoustics
from model.training.agent_voice import AgentSentence
from model.training.bank import Stem, Turn, load_shard, read_versioned, versioned
from model.training.feed import side_by_side
from model.training.warps import warp_stem

LEAD_FRAMES = 14  # of the line alone before a stem's first turn: the codec's cold start is part of every call
GAP_FRAMES = 13  # between turns
BEFORE_FRAMES, AFTER_FRAMES = 2, 4  # kept around a turn: line that is coloured by the speech beside it
SETTLE_FRAMES = 12  # silence before a library sentence
BATCH = 6
CODEC_FILE = "codec.safetensors"  # beside tokens: the codec that they are of


@dataclass(frozen=True)
class TokenTurn:
    """A caller's turn inside a stem's codes; without a request it is a distractor, which wants no answer."""

    request: Request | None
    first: int  # frame of the first sample of speech
    last: int  # frame of its last sample
    words: list[tuple[str, int]]  # each word and the frame that holds its end
    pauses: tuple[tuple[int, int], ...] = ()  # first and last silent frame of each
    kind: str = ""  # of a distractor


@dataclass(frozen=True)
class TokenStem:
    """One caller on one line: codes int16 [K, T], the turns in them, the frames that hold only the line."""

    codes: NDArray[np.int16]
    turns: list[TokenTurn]
    idle: NDArray[np.int64]


@dataclass(frozen=True)
class LibraryLine:
    """A sentence of the agent: codes int16 [K, T] from its first sample on, each word's first frame."""

    text: str
    codes: NDArray[np.int16]
    words: list[tuple[str, int]]
    is_soft: bool = False


def lay_out(
    stem: Stem, rng: np.random.Generator
) -> tuple[NDArray[np.float32], list[TokenTurn], NDArray[np.int64]]:
    """A stem as one call: clean sound, turns, idle frames. Turns start at random phases of a frame."""
    parts: list[NDArray[np.float32]] = []
    turns: list[TokenTurn] = []
    at = LEAD_FRAMES * FRAME_SAMPLES + int(rng.integers(FRAME_SAMPLES))
    idle: list[int] = []
    quiet_from = LEAD_FRAMES - 6
    sound = np.zeros(at, np.float32)
    parts.append(sound)
    for turn in stem.turns:
        start_s = at / 24_000
        laid = _lay_turn(turn, start_s)
        idle += range(quiet_from, laid.first - BEFORE_FRAMES)
        turns.append(laid)
        gap = GAP_FRAMES * FRAME_SAMPLES + int(rng.integers(FRAME_SAMPLES))
        parts += [turn.pcm, np.zeros(gap, np.float32)]
        at += len(turn.pcm) + gap
        quiet_from = int((start_s + len(turn.pcm) / 24_000) * FRAME_RATE_HZ) + AFTER_FRAMES
    pcm = np.concatenate(parts)
    return pcm[: len(pcm) // FRAME_SAMPLES * FRAME_SAMPLES], turns, np.array(idle, np.int64)


def _lay_turn(turn: Turn, start_s: float) -> TokenTurn:
    """A turn whose sound begins at this time; a distractor without words is as long as its sound."""

    def frame(at_s: float) -> int:
        return int((start_s + at_s) * FRAME_RATE_HZ)

    first_s, last_s = 0.0, len(turn.pcm) / 24_000
    if turn.words:
        first_s, last_s = turn.words[0].start_s, turn.words[-1].end_s
    words = [(w.text, frame(w.end_s)) for w in turn.words]
    pauses = tuple((frame(from_s) + 1, frame(to_s) - 1) for from_s, to_s in turn.pauses)
    return TokenTurn(turn.request, frame(first_s), frame(last_s), words, pauses, turn.kind)


@torch.inference_mode()
def encode_padded(
    codec: Codec, sounds: Sequence[NDArray[np.float32]], *, rough: bool = False
) -> list[NDArray[np.int16]]:
    """Codes int16 [K, T] of sounds of different lengths in one batch (causal: padding changes nothing).

    `rough` computes the latents in bfloat16, several times faster: a little noise on what callers say.
    """
    longest = max(len(sound) for sound in sounds)
    batch = np.zeros((len(sounds), 1, longest), np.float32)
    for row, sound in enumerate(sounds):
        batch[row, 0, : len(sound)] = sound
    device = next(codec.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=rough):
        latent = codec.latent(torch.from_numpy(batch).to(device))
    codes = codec.quantizer.encode(latent.float()).to(torch.int16).cpu().numpy()
    return [codes[row, :, : len(sound) // FRAME_SAMPLES] for row, sound in enumerate(sounds)]


def encode_stems(
    codec: Codec,
    stems: Sequence[Stem],
    seed: int,
    acoustics: Acoustics | None = None,
    agent: Sequence[NDArray[np.float32]] = (),
) -> list[TokenStem]:
    """Each stem over a line drawn from the seed, with sounds between its turns that want no answer.

    `agent` is what may come back as an echo: sentences, float32 [T] each.
    """
    rng = np.random.default_rng(seed)
    acoustics = acoustics or Acoustics()
    stems = [acoustics.with_distractors(stem, rng, agent, stems) for stem in stems]
    out = []
    ordered = sorted(stems, key=lambda stem: sum(len(turn.pcm) for turn in stem.turns))
    for start in range(0, len(ordered), BATCH):
        laid = [lay_out(stem, rng) for stem in ordered[start : start + BATCH]]
        codes = encode_padded(codec, [acoustics.over_line(pcm, rng) for pcm, _, _ in laid], rough=True)
        for tokens, (_, turns, idle) in zip(codes, laid, strict=True):
            out.append(TokenStem(tokens, turns, idle[idle < tokens.shape[1]]))
    return out


def encode_library(codec: Codec, sentences: Sequence[AgentSentence]) -> list[LibraryLine]:
    """The agent's lines as tokens; the first entry, with empty text, is one frame of settled silence."""
    lead = SETTLE_FRAMES * FRAME_SAMPLES
    quiet = encode_padded(codec, [np.zeros(4 * lead, np.float32)])[0]
    lines = [LibraryLine("", quiet[:, -1:], [])]
    for start in range(0, len(sentences), BATCH):
        some = sentences[start : start + BATCH]
        sounds = []
        for sentence in some:
            length = lead + len(sentence.pcm)
            padding = -length % FRAME_SAMPLES + 2 * FRAME_SAMPLES
            sounds.append(
                np.concatenate([np.zeros(lead, np.float32), sentence.pcm, np.zeros(padding, np.float32)])
            )
        for sentence, codes in zip(some, encode_padded(codec, sounds), strict=True):
            words = [(w.text, int(w.start_s * FRAME_RATE_HZ)) for w in sentence.words]
            lines.append(LibraryLine(sentence.text, codes[:, SETTLE_FRAMES:], words, sentence.is_soft))
    return lines


def save_stems(stems: Sequence[TokenStem], path: Path) -> None:
    """One shard: codes end to end, and the rest as JSON."""
    truth = [
        {
            "frames": stem.codes.shape[1],
            "idle": stem.idle.tolist(),
            "turns": [
                {
                    "request": turn.request.as_json() if turn.request is not None else None,
                    "span": [turn.first, turn.last],
                    "words": turn.words,
                    "pauses": turn.pauses,
                    "kind": turn.kind,
                }
                for turn in stem.turns
            ],
        }
        for stem in stems
    ]
    partial = path.with_suffix(".partial")  # a suffix that no stage takes for a shard, should it be left here
    codes = np.concatenate([stem.codes for stem in stems], axis=1)
    with partial.open("wb") as file:
        np.savez_compressed(file, codes=codes, truth=np.array(versioned(truth)))
    partial.replace(path)


def load_stems(path: Path) -> list[TokenStem]:
    """The stems of a shard. Raises CheckpointError if another version of the order line wrote it."""
    with np.load(path) as stored:
        codes, truth = stored["codes"], read_versioned(str(stored["truth"]), path)
    out, at = [], 0
    for entry in truth:
        turns = []
        for turn in entry["turns"]:
            request = Request.from_json(turn["request"]) if turn["request"] else None
            words = [(str(word), int(frame)) for word, frame in turn["words"]]
            pauses = tuple((int(first), int(last)) for first, last in turn["pauses"])
            span = turn["span"][0], turn["span"][1]
            turns.append(TokenTurn(request, *span, words, pauses, turn.get("kind", "")))
        out.append(TokenStem(codes[:, at : at + entry["frames"]], turns, np.array(entry["idle"], np.int64)))
        at += entry["frames"]
    return out


def _build_tokens(
    config: CodecConfig,
    weights: Path,
    device: str,
    shard: Path,
    path: Path,
    seed: int,
    acoustics: Acoustics,
    agent: Sequence[NDArray[np.float32]],
    is_warped: bool,
) -> Path:
    """Encode one bank shard with the frozen codec whose weights lie at a path."""
    codec, stems = shared_codec(config, weights, device), load_shard(shard)
    if is_warped:
        rng = random.Random(seed)
        stems = [warp_stem(stem, rng) for stem in stems]
    save_stems(encode_stems(codec, stems, seed, acoustics, agent), path)
    return path


@cache
def shared_codec(config: CodecConfig, weights: Path, device: str) -> Codec:
    """One process encodes many shards with one codec."""
    codec = Codec(config)
    load_tensors(codec, read_safetensors(weights), str(weights))
    return codec.to(device).eval()


def _holds(weights: Path, codec: Codec) -> bool:
    """Whether a file holds a codec's weights; not its listener's, which no token is of."""
    stored = read_safetensors(weights)
    own = {name: x for name, x in codec.state_dict().items() if not name.startswith("prosody.")}
    return all(torch.equal(stored[name], x.cpu().to(stored[name])) for name, x in own.items())


def build_tokens(
    codec: Codec,
    bank: Path,
    folder: Path,
    seed: int,
    num_workers: int = 0,
    acoustics: Acoustics | None = None,
    agent: Sequence[NDArray[np.float32]] = (),
    *,
    is_warped: bool = False,
) -> Iterator[Path]:
    """Encode every bank shard that has no tokens of this seed yet; each path once it is there.

    `is_warped` has each caller speak at a speed drawn from the seed, as another person might. Raises
    CheckpointError if the folder's tokens are another codec's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / CODEC_FILE
    if any(folder.glob("*.npz")) and not (weights.exists() and _holds(weights, codec)):
        raise CheckpointError(
            f"{folder} holds tokens of another codec: remove it, and what learnt from it (lm.pt, voice.pt)"
        )
    save_module(codec, weights, torch.float16)  # frozen: every weight is a half already
    device = str(next(codec.parameters()).device)
    tasks = []
    for index, shard in enumerate(sorted(bank.glob("bank-*.npz"))):
        path = folder / shard.name.replace("bank-", f"tokens-{seed}-")
        if not path.exists():
            seeds = seed * 100_003 + index
            how = seeds, acoustics or Acoustics(), agent, is_warped
            tasks.append((codec.config, weights, device, shard, path, *how))
    yield from side_by_side(_build_tokens, tasks, num_workers)
