"""What one leg needs, in files small enough to carry to a machine without a network, and back out of them.

A tar stream in parts, with a list of their checksums. Shards are chosen by turns, other ones for each leg.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from model.errors import CheckpointError
from model.training.pipeline import Pipeline
from model.training.sizes import CONFIG_FILE
from model.training.states import stage_states

PART_BYTES = 60_000_000
LIST_FILE = "leg.json"
TAR_OVERHEAD_BYTES = 2048  # header and padding of a member

# By stage: files that its leg cannot do without (if they are there), and shards of which as many as fit.
_NEEDED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "codec": (
        ("codec.pt", "codec.sources.md", "agent/lines-0000.npz"),
        ("bank/*.npz", "agent/*.npz", "recordings/**/*"),
    ),
    "tone": (
        (
            "codec.pt",
            "tone.pt",
            "bank-tones-validation/*.npz",
            "bank/bank-*-0000.npz",  # how synthesisers speak of themselves
            "bank-recorded*/bank-*-0-*.npz",  # and people
        ),
        ("bank-tones/*.npz", "recordings/**/*"),
    ),
    "tokens": (
        ("codec.pt", "tone.pt", "bank-validation/*.npz", "agent/lines-0000.npz"),
        ("bank-recorded*/*.npz", "bank/*.npz", "agent/*.npz"),
    ),
    "lm": (
        (
            "lm.pt",
            "tokens/codec.safetensors",
            "tokens/library-*.npz",
            "tokens-validation/*.npz",
            "tokens/tokens-*.npz",
            "tokens-recorded*/*.npz",
        ),
        (),
    ),
    "voice": (("codec.pt", "voice.pt", "agent/lines-0000.npz"), ("agent/*.npz",)),
}
_ALWAYS = (CONFIG_FILE, "model/tokenizer.model")


def pack(pipeline: Pipeline, parts: Path, num_parts: int) -> list[Path]:
    """Write what the next leg needs into at most so many files of 60 MB; their paths, the list last.

    Raises CheckpointError if nothing is due that a machine without synthesisers can do, or what a leg cannot
    do without does not fit.
    """
    due = next((state for state in stage_states(pipeline) if not state.is_done), None)
    if due is None or due.name not in _NEEDED:
        what = "every stage is done" if due is None else f"the stage `{due.name}` is due"
        raise CheckpointError(
            f"{what}: there is nothing to pack; training from a bank is what can be done elsewhere"
        )
    chosen = _choose(pipeline.folder, due.name, num_parts * PART_BYTES, round(due.done * 60))
    parts.mkdir(parents=True, exist_ok=True)
    for old in [*parts.glob("leg.tar.*"), *parts.glob(LIST_FILE)]:
        old.unlink()
    out = _Parts(parts)
    with tarfile.open(fileobj=out, mode="w|") as tar:
        for path in chosen:
            tar.add(path, path.relative_to(pipeline.folder).as_posix())
    written = out.finish()
    told = {"stage": due.name, "parts": {path.name: _digest(path) for path in written}}
    (parts / LIST_FILE).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return [*written, parts / LIST_FILE]


def _choose(folder: Path, stage: str, limit_bytes: int, turn: int) -> list[Path]:
    needed, optional = _NEEDED[stage]
    chosen = [path for pattern in (*_ALWAYS, *needed) for path in _files(folder, pattern)]
    left = limit_bytes - sum(map(_cost, chosen)) - tarfile.RECORDSIZE
    if left < 0:
        raise CheckpointError(
            f"the stage `{stage}` needs {(limit_bytes - left) / 1e6:.0f} MB: give --pack-parts more files"
        )
    pools = [list(_rotated(_files(folder, pattern), turn)) for pattern in optional]
    while any(pools):
        for pool in pools:
            path = pool.pop(0) if pool else None
            if path is not None and path not in chosen and _cost(path) <= left:
                chosen.append(path)
                left -= _cost(path)
    return chosen


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.is_file() and path.suffix != ".partial")


def _rotated(paths: list[Path], turn: int) -> Iterator[Path]:
    """The same files, begun elsewhere for each leg: by the seconds that the stage has spent."""
    start = turn % len(paths) if paths else 0
    yield from paths[start:] + paths[:start]


def _cost(path: Path) -> int:
    return path.stat().st_size + TAR_OVERHEAD_BYTES


class _Parts(io.RawIOBase):
    """A stream written into `leg.tar.00`, `leg.tar.01` ..., each of PART_BYTES but the last."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder, self._paths, self._left = folder, list[Path](), 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        at = 0
        while at < len(view):
            if not self._left:
                self._paths.append(self._folder / f"leg.tar.{len(self._paths):02d}")
                self._left = PART_BYTES
            some = view[at : at + self._left]
            with self._paths[-1].open("ab") as file:
                file.write(some)
            at, self._left = at + len(some), self._left - len(some)
        return len(view)

    def finish(self) -> list[Path]:
        """What was written."""
        return self._paths


class _Joined(io.RawIOBase):
    """The parts read as one stream."""

    def __init__(self, paths: list[Path]) -> None:
        super().__init__()
        self._files = [path.open("rb") for path in paths]

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        out = b""
        while self._files and len(out) < size:
            some = self._files[0].read(size - len(out))
            if not some:
                self._files.pop(0).close()
            out += some
        return out

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


def unpack(parts: Path, folder: Path) -> None:
    """Put what was packed into a working folder; what lies there under the same names is replaced.

    Raises CheckpointError if a part is missing or not as it was written.
    """
    try:
        told = json.loads((parts / LIST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{parts} holds no {LIST_FILE} ({error}): give the folder that --pack wrote"
        ) from None
    paths = [parts / name for name in sorted(told["parts"])]
    for path in paths:
        if not path.exists() or _digest(path) != told["parts"][path.name]:
            raise CheckpointError(f"{path} is missing or damaged: copy it again")
    with _Joined(paths) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            _take(tar, member, folder)


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    name = PurePosixPath(member.name)
    content = tar.extractfile(member)
    if content is None or name.is_absolute() or ".." in name.parts:
        raise CheckpointError(f"{member.name!r} does not belong into a leg's files: pack them again")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        while some := content.read(1 << 20):
            file.write(some)
    partial.replace(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
