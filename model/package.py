"""Where compiled steps are kept, and which of them fits: a folder of packages, named by what they depend on.

No torch here: who only asks whether there is one need not wait for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import platform
import zipfile
from collections.abc import Iterator
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
CPU_INFO = Path("/proc/cpuinfo")
SUFFIX = ".pt2"
NUM_KEPT = 3
EXIT_NO_COMPILER, EXIT_UNFIT = 4, 5  # of `python -m model.compiled`

Key = dict[str, str | int | bool]


def package_key(model: Path, num_slots: int, *, greedy: bool = False) -> Key:
    """What a compiled step depends on: the model's files, our sources, torch, this CPU, the batch.

    Reads all files of the model's folder, 0.1 s for 100 MB.
    """
    return {
        "model": _digest(
            path for path in sorted(model.rglob("*")) if path.is_file() and path.suffix != ".md"
        ),
        "sources": _digest(sorted(SOURCES.glob("*.py"))),
        "torch": importlib.metadata.version("torch"),
        "cpu": cpu_features(),
        "num_slots": num_slots,
        "greedy": greedy,
    }


def _digest(paths: Iterator[Path] | list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]


def cpu_features() -> str:
    """The machine's architecture and a digest of its CPU's instructions: code made for others dies here."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    told = sorted({line for line in lines if line.startswith(names)})
    return f"{platform.machine()}-{hashlib.sha256(chr(10).join(told).encode()).hexdigest()[:16]}"


def key_digest(key: Key) -> str:
    """One word for a key."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]


def package_path(folder: Path, key: Key) -> Path:
    """Where the package of this key is, or would be."""
    return folder / f"step-{key_digest(key)}{SUFFIX}"


def is_whole(path: Path) -> bool:
    """Whether the package is there and every byte of it is as it was written; takes 0.1 s for 100 MB."""
    try:
        with zipfile.ZipFile(path) as package:
            return package.testzip() is None
    except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError):
        return False


def prune(folder: Path, num_kept: int = NUM_KEPT) -> list[Path]:
    """Remove all but the packages that were used last; what was removed."""
    found = sorted(folder.glob(f"step-*{SUFFIX}"), key=_age_key, reverse=True)
    for path in found[num_kept:]:
        path.unlink(missing_ok=True)
    return found[num_kept:]


def _age_key(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def note_use(path: Path) -> None:
    """Make the package count as new; a folder that cannot be written does not matter."""
    with contextlib.suppress(OSError):
        path.touch()


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until nobody else here compiles into the folder; the kernel ends the lock with its holder.

    Raises OSError if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "compiling.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
