"""The files of one recording: what belongs together, what opens them, how they go away. Blocking."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.private_files import private
from agent.sealed import Keyring, SealError, SealKey, seal, unseal
from agent.sealed_audio import SUFFIX as SEALED_SUFFIX

NAME = re.compile(r"([0-9]{8}T[0-9]{6}Z)-[0-9A-Za-z]{1,32}")
AUDIO_SUFFIXES = (".flac", ".wav", SEALED_SUFFIX)
SIDECAR, SEALED_SIDECAR = ".json", ".json" + SEALED_SUFFIX
ALL_SUFFIXES = (*AUDIO_SUFFIXES, SIDECAR, SEALED_SIDECAR, SIDECAR + ".part")
MAX_SIDECAR_BYTES = 16_000_000


def stem_of(file_name: str) -> str:
    """The recording that a file belongs to by its name; empty if that is none of ours."""
    stem, dot, suffix = file_name.partition(".")
    return stem if NAME.fullmatch(stem) and dot + suffix in ALL_SUFFIXES else ""


def files_of(folder: Path, stem: str) -> Iterator[Path]:
    """Every file of a recording that there is."""
    for suffix in ALL_SUFFIXES:
        path = folder / f"{stem}{suffix}"
        if path.is_file() and not path.is_symlink():
            yield path


def remove(folder: Path, stem: str) -> int:
    """Delete a recording's files; how many there were. Raises OSError for one that cannot be deleted."""
    num = 0
    for path in files_of(folder, stem):
        path.unlink(missing_ok=True)
        num += 1
    return num


def write_sidecar(audio: Path, sidecar: dict[str, object], key: SealKey | None) -> None:
    """Put the words beside the sound, sealed as it is; a reader never sees half a file. Raises OSError."""
    text = json.dumps({"audio": audio.name, **sidecar}, ensure_ascii=False, indent=1) + "\n"
    raw = text.encode("utf-8")
    if key is not None:
        out = io.BytesIO()
        seal(raw, key, out)
        raw = out.getvalue()
    partial = audio.with_suffix(SIDECAR + ".part")
    with open(partial, "wb", opener=private) as file:
        file.write(raw)
    partial.replace(sidecar_path(audio))


def sidecar_path(audio: Path) -> Path:
    """Where the words of this sound are."""
    return audio.with_suffix(SEALED_SIDECAR if audio.suffix == SEALED_SUFFIX else SIDECAR)


def read_sidecar(path: Path, keys: Keyring | None) -> dict[str, Any] | None:
    """What a sidecar says; None for one that is none, has gone, or that no key of ours opens."""
    try:
        if path.stat().st_size > MAX_SIDECAR_BYTES:
            return None
        raw = path.read_bytes()
        if path.suffix == SEALED_SUFFIX:
            if keys is None:
                return None
            raw = unseal(io.BytesIO(raw), keys)
        found = json.loads(raw)
    except (OSError, ValueError, RecursionError, SealError):
        return None
    return found if isinstance(found, dict) else None
