"""The real clock waits; the manual one moves only when told."""

import time

import pytest

from agent.clock import ManualClock, SystemClock, now


def test_now_is_the_monotonic_clock() -> None:
    before_s = time.monotonic()
    assert before_s <= now() <= SystemClock().now() <= time.monotonic()


def test_sleep_until_never_returns_early_and_at_once_for_the_past() -> None:
    clock = SystemClock()
    deadline_s = clock.now() + 0.02
    clock.sleep_until(deadline_s)
    assert clock.now() >= deadline_s
    clock.sleep_until(deadline_s - 10)
    assert clock.now() < deadline_s + 5


def test_a_manual_clock_moves_by_advance_and_by_sleeping() -> None:
    clock = ManualClock(start_s=5.0)
    clock.advance(1.5)
    assert clock.now() == clock() == 6.5
    clock.sleep_until(7.0)
    clock.sleep_until(1.0)
    assert clock.now() == 7.0


def test_a_manual_clock_never_goes_back() -> None:
    with pytest.raises(AssertionError):
        ManualClock().advance(-0.1)
