"""Lanes: order is kept, what is cleared is not heard of, and virtual time is as long as the work."""

import threading
import time
from collections.abc import Iterator

import pytest

from agent.cascade.lanes import ThreadLane, VirtualLane


def taken(lane: ThreadLane[int, int], num: int) -> list[int]:
    """The next results, waiting for them."""
    results: list[int] = []
    deadline_s = time.monotonic() + 5
    while len(results) < num and time.monotonic() < deadline_s:
        results += lane.take(0.0)
        time.sleep(0.001)
    return results


def test_a_thread_keeps_the_order_and_gives_every_result() -> None:
    lane: ThreadLane[int, int] = ThreadLane(lambda item: iter((item, -item)), "test", 10)
    for item in (1, 2, 3):
        lane.give(item, 0.0)
    assert taken(lane, 6) == [1, -1, 2, -2, 3, -3]
    lane.close()


def test_a_full_queue_drops_the_oldest_and_counts_it() -> None:
    gate, is_busy = threading.Event(), threading.Event()

    def work(item: int) -> Iterator[int]:
        is_busy.set()
        gate.wait(5)
        yield item

    lane: ThreadLane[int, int] = ThreadLane(work, "test", 2)
    lane.give(0, 0.0)
    assert is_busy.wait(5)
    for item in (1, 2, 3):
        lane.give(item, 0.0)
    gate.set()
    assert taken(lane, 3) == [0, 2, 3] and lane.num_dropped == 1
    lane.close()


def test_work_in_progress_is_not_heard_of_after_a_clear() -> None:
    gate, is_busy = threading.Event(), threading.Event()

    def work(item: int) -> Iterator[int]:
        is_busy.set()
        if item == 1:
            gate.wait(5)
        yield item

    lane: ThreadLane[int, int] = ThreadLane(work, "test", 4)
    lane.give(1, 0.0)
    assert is_busy.wait(5)
    lane.clear()
    lane.give(2, 0.0)
    gate.set()
    assert taken(lane, 1) == [2]
    lane.close()


def test_what_the_work_raises_is_raised_once_where_results_are_taken_and_work_goes_on() -> None:
    def work(item: int) -> Iterator[int]:
        if item < 0:
            raise ValueError(item)
        yield item

    lane: ThreadLane[int, int] = ThreadLane(work, "test", 4)
    lane.give(-1, 0.0)
    with pytest.raises(ValueError, match="-1"):
        taken(lane, 1)
    lane.give(5, 0.0)
    assert taken(lane, 1) == [5]
    lane.close()


def test_virtual_results_come_when_the_work_would_have_been_done() -> None:
    now_s = [0.0]

    def work(item: float) -> Iterator[float]:
        now_s[0] += item
        yield item

    lane = VirtualLane(work, lambda: now_s[0])
    lane.give(0.3, 1.0)
    lane.give(0.2, 1.0)  # waits for the first
    assert lane.take(1.2) == []
    assert lane.take(1.31) == [0.3]
    assert lane.take(1.45) == []
    assert lane.take(1.51) == [0.2]
    lane.give(0.1, 9.0)
    lane.clear()
    assert lane.take(99.0) == []
