"""Recorded people as stems: what a run's selection leaves of a corpus, and digits joined into numbers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from model.errors import RecordingError
from model.training.bank import Stem, Turn, load_shard
from model.training.digit_strings import number_stems
from model.training.feed import GrowingBank, Share
from model.training.folds import Selection
from model.training.recording_folder import SOURCES, Layout

# Of the draws: what callers of the line say comes first, one reader's 1,600 sentences do not drown the rest.
_WEIGHTS: dict[Layout, float] = {"orders": 4.0, "digits": 3.0, "speech": 3.0, "sentences": 1.0, "words": 1.0}


class RecordedBank:
    """One corpus as its shards lie in the store, and the clips of it that a run may use."""

    def __init__(self, store: Path, selection: Selection) -> None:
        """Raises RecordingError if the corpus has not been aligned."""
        shards = sorted(store.glob(f"recordings-*-{'[0-9]' * 4}.npz"))
        accounts = [json.loads(shard.with_suffix(".json").read_text("utf-8")) for shard in shards]
        if not shards or not (store / SOURCES).exists():
            raise RecordingError(f"{store.name} is not aligned yet: run the stage `recordings` first")
        folds = {clip: int(entry[1]) for account in accounts for clip, entry in account["clips"].items()}
        self.name = store.name
        self.sources = (store / SOURCES).read_text("utf-8").strip()
        self.layout: Layout = accounts[0]["layout"]
        self.num_clips = len(folds)
        self.clips = selection.choose(folds)
        self._with_words = [
            shard
            for shard, account in zip(shards, accounts, strict=True)
            if any(entry[2] and clip in self.clips for clip, entry in account["clips"].items())
        ]
        self._shards = shards

    @property
    def teaches_hearing(self) -> bool:
        """Whether there is speech in it whose words are known."""
        return self.layout in _WEIGHTS and bool(self._with_words)

    @property
    def weight(self) -> float:
        """How often it is drawn, beside the other corpora."""
        return _WEIGHTS[self.layout]

    def load(self, shard: Path, seed: int = 0) -> list[Stem]:
        """A shard's stems: chosen clips whose words are known; digits joined into numbers by the seed."""
        stems = [
            Stem(stem.voice, [turn for turn in stem.turns if turn.clip in self.clips and turn.words])
            for stem in load_shard(shard)
        ]
        if self.layout == "digits":
            stems = number_stems(stems, random.Random(f"{shard.stem}/{seed}"))
        return [stem for stem in stems if stem.turns]

    def drawing(self, share: Share) -> Callable[[random.Random], Stem]:
        """Draws of stems by one of the workers."""
        return GrowingBank(self._with_words, self.load, share).draw

    def stems(self, seed: int = 0) -> Iterator[Stem]:
        """All of them, shard by shard."""
        for shard in self._with_words:
            yield from self.load(shard, seed)

    def sounds(self) -> Iterator[Turn]:
        """The chosen clips' sound, known words or not, shard by shard."""
        for shard in self._shards:
            for stem in load_shard(shard):
                yield from (turn for turn in stem.turns if turn.clip in self.clips)
