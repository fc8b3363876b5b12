"""Files that only our own user may read, whatever the umask is. Blocking."""

from __future__ import annotations

import os
from pathlib import Path


def private(path: str, flags: int) -> int:
    """An `opener` of `open` for a file that holds what people said; an existing file keeps its mode."""
    return os.open(path, flags, 0o600)


def make_private_folder(folder: Path) -> None:
    """Make the folder if it is not there; one that is there keeps its mode. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
