"""Batches from worker processes: the same for the same seed, each worker its own; failures come through."""

import random
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.training.feed import DRAWS_PER_SHARD, Arrivals, GrowingBank, Share, feed, side_by_side

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def _draw(share: Share) -> Iterator[Tensor]:
    rng, draws = share.rng, share.draws
    while True:
        yield torch.tensor([share.number, share.count, rng.random(), draws.random()], dtype=torch.float64)


def _first(count: int, seed: int, num_workers: int) -> list[list[float]]:
    return [batch.tolist() for batch in islice(feed(_draw, seed, num_workers), count)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_seed_is_an_order_of_batches(num_workers: int) -> None:
    one, same, other = (_first(7, seed, num_workers) for seed in (1, 1, 2))
    assert one == same
    assert all(mine[2:] != theirs[2:] for mine, theirs in zip(one, other, strict=True))


def test_workers_draw_in_turn_and_each_for_itself() -> None:
    batches = _first(8, 1, 2)
    assert [batch[:2] for batch in batches] == 4 * [[0, 2], [1, 2]]
    assert len({batch[2] for batch in batches}) == len({batch[3] for batch in batches}) == 8


def _fail(share: Share) -> Iterator[Tensor]:
    yield torch.zeros(1)
    raise ValueError("no such clip")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_failure_to_draw_comes_out(num_workers: int) -> None:
    batches = feed(_fail, 0, num_workers)
    next(batches)
    try:
        next(batches)
    except ValueError as error:
        told = str(error)
        error.__traceback__ = None  # it holds the loader in a cycle, and one that is collected waits for 5 s
    assert "no such clip" in told


PATHS = [Path(str(number)) for number in range(5)]


def _bank(number: int, count: int, paths: list[Path], read: list[Path]) -> GrowingBank[str]:
    def load(path: Path) -> list[str]:
        read.append(path)
        return [f"{path}a", f"{path}b"]

    return GrowingBank(paths, load, Share(number, count, 0))


def _drawn(bank: GrowingBank[str]) -> set[str]:
    rng = random.Random(0)
    return {bank.draw(rng) for _ in range(20 * DRAWS_PER_SHARD)}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_shares_draw_from_their_own_shards_and_leave_none_out(count: int) -> None:
    reads: list[list[Path]] = []
    for number in range(count):
        read: list[Path] = []
        assert _drawn(_bank(number, count, PATHS, read)) == {f"{path}{x}" for path in read for x in "ab"}
        reads.append(read)
    assert sorted(path for read in reads for path in read) == PATHS


@pytest.mark.parametrize("count", [6, 12])
def test_no_share_starves_where_shards_are_few(count: int) -> None:
    reads: list[list[Path]] = [[] for _ in range(count)]
    for number, read in enumerate(reads):
        assert _drawn(_bank(number, count, PATHS, read))
    assert {path for read in reads for path in read} == set(PATHS)


def test_drawing_starts_with_the_first_shard_and_the_rest_follow() -> None:
    read: list[Path] = []
    bank, rng = _bank(0, 1, PATHS, read), random.Random(0)
    assert not read
    for num_read in range(1, 6):
        for _ in range(DRAWS_PER_SHARD):
            bank.draw(rng)
        assert read == PATHS[:num_read]


def test_without_a_shard_it_says_what_is_missing() -> None:
    with pytest.raises(AssertionError, match="there is no shard to draw from"):
        _bank(0, 1, [], [])


def _write(folder: Path, number: int) -> Path:
    """A task's work, which takes a while; number 0 fails."""
    if number == 0:
        raise ValueError("task 0")
    time.sleep(0.05)
    path = folder / str(number)
    path.write_text("done")
    return path


def _tasks(folder: Path, numbers: range) -> list[tuple[Path, int]]:
    return [(folder, number) for number in numbers]


def test_in_line_tasks_run_one_by_one_as_they_are_asked_for(tmp_path: Path) -> None:
    results = side_by_side(_write, _tasks(tmp_path, range(1, 4)), 0)
    assert not list(tmp_path.iterdir())
    assert next(results).name == "1" and len(list(tmp_path.iterdir())) == 1
    assert [path.name for path in results] == ["2", "3"]


def test_in_line_a_failure_comes_out(tmp_path: Path) -> None:
    results = side_by_side(_write, _tasks(tmp_path, range(-1, 2)), 0)
    next(results)
    with pytest.raises(ValueError, match="task 0"):
        next(results)


def test_in_processes_results_come_as_they_are_there_and_a_failure_at_once(tmp_path: Path) -> None:
    tasks = _tasks(tmp_path, range(1, 30))
    results = []
    with pytest.raises(ValueError, match="task 0"):
        for path in side_by_side(_write, [*tasks[:2], (tmp_path, 0), *tasks[2:]], 2):
            results.append(path)
    assert results and len(set(results)) == len(results)
    assert all(path.read_text() == "done" for path in results)
    assert len(list(tmp_path.iterdir())) < 15, "the tasks that had not begun were run first"


def test_shards_that_arrive_are_told_once(tmp_path: Path) -> None:
    (tmp_path / "tokens-1.npz").write_text("a b")
    (tmp_path / "library-1.npz").write_text("z")
    arrivals = Arrivals(tmp_path, "tokens-*.npz", lambda path: path.read_text().split())
    assert arrivals.new() == ["a", "b"] and arrivals.new() == []
    for number, text in ((3, "d"), (2, "c")):
        (tmp_path / f"tokens-{number}.npz").write_text(text)
    (tmp_path / "tokens-4.partial").write_text("half of a shard")
    assert arrivals.new() == ["c", "d"] and arrivals.new() == []
