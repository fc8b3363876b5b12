"""A short run of the real bench, and what counts as fluent."""

import os

import pytest

from agent.bench_console import Row, cpu_s, measure

pytestmark = [pytest.mark.loopback, pytest.mark.redis, pytest.mark.timeout(120)]


def test_pages_are_told_of_many_calls_at_least_twice_a_second() -> None:
    alone, watched = measure(num_calls=6, page_counts=[0, 2], seconds=2.0)
    assert (alone.num_pages, alone.updates_per_s, alone.bytes_per_s) == (0, 0, 0)
    assert watched.is_fluent(6) and 3 <= watched.updates_per_s <= 5, watched
    assert watched.bytes_per_s > 500 and 0 < watched.longest_pause_s < 1
    assert 0 < alone.cpu_share < 1


def test_a_page_that_is_told_too_rarely_fails_the_bench() -> None:
    assert not Row(1, 6, 0.1, 1.9, 0.6, 100).is_fluent(6)
    assert not Row(1, 5, 0.1, 4.0, 0.6, 100).is_fluent(6)
    assert Row(0, 0, 0.1, 0.0, 0.0, 0).is_fluent(6)


def test_cpu_time_is_this_processs() -> None:
    assert cpu_s(os.getpid()) == pytest.approx(sum(os.times()[:2]), abs=0.2)
