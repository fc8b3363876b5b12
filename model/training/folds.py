"""Which recordings a training run may hear: a fixed split into folds, a fixed shuffle for learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

NUM_FOLDS = 5


def _number(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")


def fold_of(clip: str) -> int:
    """The fold of a clip, 0 to 4, by its id alone: it stays when others come or go."""
    return _number(f"fold/{clip}") % NUM_FOLDS


def speaker_folds(speakers: Sequence[str]) -> dict[str, int]:
    """Each speaker's fold where a fold is whole speakers; with fewer than five speakers some are empty."""
    return {speaker: index % NUM_FOLDS for index, speaker in enumerate(sorted(set(speakers)))}


@dataclass(frozen=True, slots=True)
class Selection:
    """The clips that training may use: all but those of one fold, and of these the first of a shuffle."""

    left_out_fold: int | None = None
    limit: int | None = None  # of each corpus

    def choose(self, folds: Mapping[str, int]) -> frozenset[str]:
        """The chosen of one corpus's clips, whose folds are given by id."""
        kept = [clip for clip, fold in folds.items() if fold != self.left_out_fold]
        return frozenset(sorted(kept, key=lambda clip: _number(f"order/{clip}"))[: self.limit])

    @property
    def tag(self) -> str:
        """For names of what was made of this selection: "" for all."""
        fold = "" if self.left_out_fold is None else f"-without{self.left_out_fold}"
        return fold + ("" if self.limit is None else f"-first{self.limit}")

    def describe(self) -> str:
        """For the account of what was heard."""
        parts = [] if self.left_out_fold is None else [f"fold {self.left_out_fold} of {NUM_FOLDS} left out"]
        parts += [] if self.limit is None else [f"at most {self.limit}"]
        return ", ".join(parts) or "all"
