"""Batches for training: drawn in line, or by worker processes so that a fast device need not wait."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

Batch = TypeVar("Batch")
Stem = TypeVar("Stem")

PREFETCH = 4  # batches that each worker has ready
DRAWS_PER_SHARD = 5  # draws between two reads of a bank that is still being read


@dataclass(frozen=True, slots=True)
class Share:
    """Which of the workers draws, and the random streams that are its own."""

    number: int
    count: int
    seed: int

    @property
    def rng(self) -> random.Random:
        """A fresh stream of this worker."""
        return random.Random(f"{self.seed}/{self.number}")

    @property
    def draws(self) -> np.random.Generator:
        """The same for numpy."""
        return np.random.default_rng([self.seed, self.number])


class _Source(IterableDataset[Batch]):
    def __init__(self, draw: Callable[[Share], Iterator[Batch]], seed: int) -> None:
        self._draw, self._seed = draw, seed

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        if worker is None:
            return self._draw(Share(0, 1, self._seed))
        return self._draw(Share(worker.id, worker.num_workers, self._seed))


def feed(
    draw: Callable[[Share], Iterator[Batch]], seed: int, num_workers: int, *, pin: bool = False
) -> Iterator[Batch]:
    """Endless batches of tensors as `draw` makes them; with workers, each runs a `draw` of its own.

    The order is the same for the same seed and number of workers, as long as nothing new arrives. `pin` puts
    them where CUDA copies fast.
    """
    loader = DataLoader(
        _Source(draw, seed),
        batch_size=None,
        num_workers=num_workers,
        prefetch_factor=PREFETCH if num_workers else None,
        pin_memory=pin,
        multiprocessing_context="fork" if num_workers else None,
    )
    return iter(loader)


class GrowingBank(Generic[Stem]):
    """The shards that fall to one share, read one after another so that drawing starts at once."""

    def __init__(self, paths: list[Path], load: Callable[[Path], list[Stem]], share: Share) -> None:
        assert paths, "there is no shard to draw from"
        self._paths = iter(paths[share.number % len(paths) :: share.count])
        self._load = load
        self._stems: list[Stem] = []
        self._draws = 0

    def draw(self, rng: random.Random) -> Stem:
        """One stem of what has been read."""
        if self._draws % DRAWS_PER_SHARD == 0 and (path := next(self._paths, None)) is not None:
            self._stems += self._load(path)
        self._draws += 1
        return rng.choice(self._stems)


class Arrivals(Generic[Stem]):
    """What the shards of a folder hold, each told once: another process may be making them meanwhile."""

    def __init__(self, folder: Path, pattern: str, load: Callable[[Path], list[Stem]]) -> None:
        """`load` reads a shard; one appears under its name when it is whole."""
        self._folder, self._pattern, self._load = folder, pattern, load
        self._told: set[Path] = set()

    def new(self) -> list[Stem]:
        """What has come since this was last asked."""
        items: list[Stem] = []
        for path in sorted(set(self._folder.glob(self._pattern)) - self._told):
            with contextlib.suppress(FileNotFoundError):  # replaced meanwhile: another time
                items += self._load(path)
                self._told.add(path)
        return items


def _one_thread() -> None:
    """Worker processes compute on one thread each: their number is the dial."""
    torch.set_num_threads(1)


def side_by_side(
    work: Callable[..., Path], tasks: Sequence[tuple[Any, ...]], num_workers: int
) -> Iterator[Path]:
    """Call `work` once for each tuple of arguments; its results as they come, in order without workers.

    Workers are started afresh, so that each may use CUDA.
    """
    if not num_workers or len(tasks) < 2:
        yield from (work(*task) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(num_workers, len(tasks)), context, initializer=_one_thread) as pool:
        try:
            for future in as_completed([pool.submit(work, *task) for task in tasks]):
                yield future.result()
        finally:  # one failed, or nobody asks any more: what has not begun would only delay the news
            pool.shutdown(cancel_futures=True)
