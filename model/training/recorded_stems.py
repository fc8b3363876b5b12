"""Recorded people as stems: what a run's selection leaves of a corpus, and digits joined into numbers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from model.errors import RecordingError
from model.phrasings import Tone
from model.requests import draw_change
from model.training.bank import Stem, Turn, load_shard
from model.training.digit_strings import number_stems
from model.training.feed import GrowingBank, Share
from model.training.folds import Selection
from model.training.pool import Pool, Wish
from model.training.recording_folder import SOURCES, Layout
from model.training.warps import warp_stem

# Of the draws: what callers of the line say comes first, then many voices; no reader's hours drown the rest.
_WEIGHTS: dict[Layout, float] = {"orders": 4.0, "digits": 2.5, "speech": 4.0, "sentences": 1.0, "words": 1.5}
ONE_READER_WEIGHT = 1.0
ORDERS_PER_STEM = 4
WARPED_TURNS = 4  # of a stem, as many as a clip may need


class RecordedBank:
    """One corpus as its shards lie in the store, and the clips of it that a run may use."""

    def __init__(self, store: Path, selection: Selection) -> None:
        """Raises RecordingError if the corpus has not been aligned."""
        shards = sorted(store.glob(f"recordings-*-{'[0-9]' * 4}.npz"))
        accounts = [json.loads(shard.with_suffix(".json").read_text("utf-8")) for shard in shards]
        if not shards or not (store / SOURCES).exists():
            raise RecordingError(f"{store.name} is not aligned yet: run the stage `recordings` first")
        folds = {clip: int(entry[1]) for account in accounts for clip, entry in account["clips"].items()}
        self.name, self.store = store.name, store
        self.sources = (store / SOURCES).read_text("utf-8").strip()
        self.layout: Layout = accounts[0]["layout"]
        self.num_clips = len(folds)
        self._num_speakers = len({entry[0] for account in accounts for entry in account["clips"].values()})
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
        is_one_reader = self.layout == "speech" and self._num_speakers == 1
        return ONE_READER_WEIGHT if is_one_reader else _WEIGHTS[self.layout]

    def load(self, shard: Path) -> list[Stem]:
        """A shard's stems: chosen clips whose words are known; digits joined into numbers."""
        stems = self._chosen(shard)
        if self.layout == "digits":
            stems = number_stems(stems, random.Random(shard.stem))
        return [stem for stem in stems if stem.turns]

    def _chosen(self, shard: Path) -> list[Stem]:
        return [
            Stem(stem.voice, [turn for turn in stem.turns if turn.clip in self.clips and turn.words])
            for stem in load_shard(shard)
        ]

    def drawing(self, share: Share) -> Callable[[random.Random], Stem]:
        """Draws of stems by one of the workers, as recorded."""
        return GrowingBank(self._with_words, self.load, share).draw

    def warping(self, share: Share) -> Callable[[random.Random], Stem]:
        """The same, each a few turns of a stem at a speed of its own."""
        draw = self.drawing(share)
        return lambda rng: warp_stem(draw(rng), rng, WARPED_TURNS)

    def caller_stems(self, numbers: Sequence[str], copy: int) -> list[Stem]:
        """Its speakers as callers of the order line: orders as they are, digits as some of `numbers`.

        Copy 0 is as recorded; in the others each speaker has a speed of their own.
        """
        stems = self._callers(numbers, copy)
        rng = random.Random(f"{self.name}/{copy}/speeds")
        return [warp_stem(stem, rng) for stem in stems] if copy else stems

    def _callers(self, numbers: Sequence[str], copy: int) -> list[Stem]:
        stems = [stem for shard in self._with_words for stem in self._chosen(shard)]
        if self.layout == "digits":
            return number_stems(stems, random.Random(f"{self.name}/{copy}"), numbers)
        return self._company(stems, random.Random(f"{self.name}/{copy}")) if self.layout == "orders" else []

    def _company(self, stems: Sequence[Stem], rng: random.Random) -> list[Stem]:
        """Orders, some to a stem whoever speaks them: a call with a single one would mostly be silence."""
        turns = [turn for stem in stems for turn in stem.turns]
        rng.shuffle(turns)
        firsts = range(0, len(turns), ORDERS_PER_STEM)
        return [Stem(f"recorded/{self.name}", turns[first : first + ORDERS_PER_STEM]) for first in firsts]

    def sounds(self) -> Iterator[Turn]:
        """The chosen clips' sound, known words or not, shard by shard."""
        for shard in self._shards:
            for stem in load_shard(shard):
                yield from (turn for turn in stem.turns if turn.clip in self.clips)


def pool_with_orders(pool: Pool, stems: Iterable[Stem]) -> Pool:
    """The pool with the orders that recorded callers speak of, so that the agent has its line for each."""
    known = {wish.order for wish in pool.wishes[Tone.CALM]}
    rng = random.Random(0)
    wishes = list(pool.wishes[Tone.CALM])
    for request in (turn.request for stem in stems for turn in stem.turns):
        if request is not None and request.order is not None and request.order not in known:
            known.add(request.order)
            change = draw_change(request.order, rng)
            wishes.append(Wish(request.order, change, change.apply(request.order)))
    return replace(pool, wishes={**pool.wishes, Tone.CALM: tuple(wishes)})
