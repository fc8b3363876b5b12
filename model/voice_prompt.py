"""Voices that a model is prompted with: recordings, or inputs that its publisher computed from recordings.

A published voice is a pickle. It is opened with torch's restricted unpickler, which builds tensors and plain
containers only, and never written to disk: the archive is read where it lies.
"""

from __future__ import annotations

import io
import math
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.codec import Codec
from model.config import FRAME_SAMPLES, SAMPLE_RATE_HZ, LmConfig
from model.errors import CheckpointError, PromptError
from model.loudness import loudness_lufs

VOICE_LOUDNESS_LUFS = -24.0  # what PersonaPlex brings a voice to
MAX_VOICE_S = 60.0  # a prompt takes room in the model's window
MAX_VOICE_BYTES = 64 * 1024**2
MAX_ARCHIVE_BYTES = 1024**3  # unpacked: an archive may be small and unfold without end
SOUND_SUFFIXES = (".wav", ".flac")
TENSOR_SUFFIX = ".pt"
NOT_YET = -2  # in `pending`: the streams that the position's own step will fill

Pcm = NDArray[np.float32]


@dataclass(frozen=True)
class VoicePrompt:
    """A voice, as codes to be spoken by the agent's streams, or as what the temporal model takes in.

    Of the second kind, N = T + 1 frames were spoken: the T embeddings are the inputs of positions 0..T-1,
    `last_column` is position T's, and `pending` what position T + 1 is known to hold, its delayed codes.
    """

    name: str
    codes: Tensor | None = None  # int64 [agent_q, N]
    embeddings: Tensor | None = None  # float [T, dim], as stored
    last_column: Tensor | None = None  # int64 [n_q + 1]
    pending: Tensor | None = None  # int64 [n_q + 1]; NOT_YET in streams without delay

    @property
    def num_frames(self) -> int:
        """Frames of 80 ms that the voice speaks for."""
        if self.codes is not None:
            return self.codes.shape[1]
        assert self.embeddings is not None
        return len(self.embeddings) + 1


class VoiceShelf:
    """The voices of a model folder (its `voices/` and `voices.tgz`), read when asked for."""

    def __init__(self, places: tuple[Path, ...], lm: LmConfig, codec: Codec) -> None:
        self._places, self._lm, self._codec = places, lm, codec

    @property
    def names(self) -> tuple[str, ...]:
        """What `load` takes, in order.

        Raises CheckpointError if an archive is damaged or holds what it should not.
        """
        return tuple(sorted({name for place in self._places for name in _names(place)}))

    def load(self, name: str) -> VoicePrompt:
        """A voice by name, from the folder before the archive.

        Raises CheckpointError if it is damaged or not of this model, PromptError if there is none.
        """
        for place in self._places:
            found = _member(place, name)
            if found is not None:
                suffix, content = found
                return self._voice(name, suffix, content, f"{place}: {name}{suffix}")
        raise PromptError(f"there is no voice {name!r}; this model has {', '.join(self.names) or 'none'}")

    def read(self, path: Path) -> VoicePrompt:
        """A voice from a file of the operator's: mono or stereo sound, or a published voice.

        Raises CheckpointError if it is neither, PromptError if it is too short or too long.
        """
        if path.suffix.lower() not in (TENSOR_SUFFIX, *SOUND_SUFFIXES):
            raise CheckpointError(f"{path} is no voice; {TENSOR_SUFFIX}, {', '.join(SOUND_SUFFIXES)} are")
        if not path.is_file():
            raise CheckpointError(f"{path} does not exist")
        if path.stat().st_size > MAX_VOICE_BYTES:
            raise CheckpointError(f"{path} is larger than {MAX_VOICE_BYTES >> 20} MiB, which no voice is")
        return self._voice(path.stem, path.suffix.lower(), path.read_bytes(), str(path))

    def _voice(self, name: str, suffix: str, content: bytes, source: str) -> VoicePrompt:
        if suffix == TENSOR_SUFFIX:
            return published_voice(name, content, self._lm, source)
        pcm = voice_sound(content, source)
        device = next(self._codec.parameters()).device
        with torch.inference_mode():
            codes = self._codec.encode(torch.from_numpy(pcm).to(device)[None, None])[
                0
            ]  # int64 [encoded_q, N]
        return VoicePrompt(name, codes=codes[: self._lm.agent_q].clone())


def published_voice(name: str, content: bytes, lm: LmConfig, source: str) -> VoicePrompt:
    """A voice as PersonaPlex publishes it: {"embeddings": [T, 1, 1, dim], "cache": [1, n_q + 1, delay + 3]}.

    Raises CheckpointError if it is anything else.
    """
    tree = _unpickled(content, source)
    if not isinstance(tree, dict) or set(tree) != {"embeddings", "cache"}:
        raise CheckpointError(f"{source} is no published voice: it holds no embeddings and cache alone")
    embeddings, cache = tree["embeddings"], tree["cache"]
    if not isinstance(embeddings, Tensor) or not isinstance(cache, Tensor):
        raise CheckpointError(f"{source} is no published voice: embeddings and cache are not tensors")
    if any(part.layout != torch.strided or part.is_meta for part in (embeddings, cache)):
        raise CheckpointError(f"{source} is no published voice: its tensors are not stored plainly")
    width = lm.max_delay + 3
    fits = embeddings.dim() == 4 and tuple(embeddings.shape[1:]) == (1, 1, lm.dim) and len(embeddings) > 0
    if not fits or tuple(cache.shape) != (1, lm.num_streams, width):
        raise CheckpointError(
            f"{source} is a voice of another model: embeddings {list(embeddings.shape)} and cache "
            f"{list(cache.shape)}, where [T, 1, 1, {lm.dim}] and [1, {lm.num_streams}, {width}] are needed"
        )
    if not embeddings.is_floating_point() or cache.is_floating_point():
        raise CheckpointError(f"{source} is no published voice: {embeddings.dtype} and {cache.dtype}")
    if not embeddings.isfinite().all():
        raise CheckpointError(f"{source} holds numbers that are not finite; download it again")
    length = len(embeddings)
    last = cache[0, :, length % width].long()
    pending = cache[0, :, (length + 1) % width].long()
    pending = torch.where(torch.tensor(lm.delays) > 0, pending, NOT_YET)
    limit = torch.tensor([lm.text_card] + [lm.card] * lm.n_q)
    if (last < 0).any() or (last > limit).any() or (pending > limit).any() or (pending < NOT_YET).any():
        raise CheckpointError(f"{source} holds tokens that this model does not have")
    return VoicePrompt(name, embeddings=embeddings.flatten(1).clone(), last_column=last, pending=pending)


def _unpickled(content: bytes, source: str) -> object:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unfolded = sum(member.file_size for member in archive.infolist())
        if unfolded > MAX_VOICE_BYTES:
            raise CheckpointError(f"{source} unfolds to more than {MAX_VOICE_BYTES >> 20} MiB")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # damaged bytes make the unpickler fail in any way
        raise CheckpointError(
            f"{source} is no published voice, or holds more than tensors ({type(error).__name__}); "
            "download it again from its publisher"
        ) from error


def voice_sound(content: bytes, source: str) -> Pcm:
    """A recording as the codec wants a voice: float32 [1920 N], mono at 24 kHz, at -24 LUFS.

    Raises CheckpointError if it is no sound, PromptError if it is silent, too short or too long.
    """
    import soundfile  # a machine that only measures or trains has neither
    from scipy.signal import resample_poly

    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            seconds = file.frames / file.samplerate
            if seconds > MAX_VOICE_S:
                raise PromptError(
                    f"{source} lasts {seconds:.0f} s; a voice takes at most {MAX_VOICE_S:.0f} s"
                )
            rate, sound = file.samplerate, file.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise CheckpointError(f"{source} is no sound file: {error}") from error
    mono = sound.mean(axis=1)
    if rate != SAMPLE_RATE_HZ:
        common = math.gcd(rate, SAMPLE_RATE_HZ)
        mono = resample_poly(mono, SAMPLE_RATE_HZ // common, rate // common)
    measured = loudness_lufs(mono, SAMPLE_RATE_HZ)
    if not math.isfinite(measured):
        raise PromptError(f"{source} is silent or shorter than 0.4 s; a voice needs some seconds of speech")
    louder = mono * 10 ** ((VOICE_LOUDNESS_LUFS - measured) / 20)
    whole = np.pad(louder, (0, -len(louder) % FRAME_SAMPLES))  # the last frame may be part silence
    return whole.astype(np.float32)


def _suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if suffix in (TENSOR_SUFFIX, *SOUND_SUFFIXES) else ""


def _names(place: Path) -> Iterator[str]:
    if place.is_dir():
        yield from (path.stem for path in place.iterdir() if _suffix(path.name) and path.name[0] != ".")
    else:
        with _archive(place) as archive:
            yield from (PurePosixPath(member.name).stem for member in _voice_members(archive, place))


def _member(place: Path, name: str) -> tuple[str, bytes] | None:
    """A voice's suffix and content, None if it is not there."""
    if place.is_dir():
        for path in sorted(place.iterdir()):
            if path.stem == name and _suffix(path.name) and path.stat().st_size <= MAX_VOICE_BYTES:
                return _suffix(path.name), path.read_bytes()
        return None
    with _archive(place) as archive:
        for member in _voice_members(archive, place):
            if PurePosixPath(member.name).stem == name:
                file = archive.extractfile(member)
                assert file is not None
                return _suffix(member.name), file.read(MAX_VOICE_BYTES)
    return None


@contextmanager
def _archive(place: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(place, "r:gz") as archive:
            yield archive
    except (tarfile.TarError, EOFError, OSError) as error:
        raise CheckpointError(f"{place} is no whole tar.gz archive ({error}); download it again") from error


def _voice_members(archive: tarfile.TarFile, place: Path) -> Iterator[tarfile.TarInfo]:
    """The voices of an archive; other files are passed over, links and odd names are refused."""
    unfolded = 0
    for member in archive:
        path = PurePosixPath(member.name)
        unfolded += member.size
        if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
            raise CheckpointError(f"{place} holds {member.name!r}, which is no plain file of its own")
        if member.size > MAX_VOICE_BYTES or unfolded > MAX_ARCHIVE_BYTES:
            raise CheckpointError(f"{place} unfolds to more than voices take, at {member.name!r}")
        if member.isfile() and _suffix(path.name) and path.name[0] != ".":
            yield member
