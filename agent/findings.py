"""What a check of this machine has found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "PROBLEM"  # `serve` would not start, or would take no call


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing seen; a note or problem carries its remedy."""

    level: Level
    what: str
    remedy: str = ""
