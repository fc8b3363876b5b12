"""CPU time is counted where it was spent, memory where it lies."""

import os
import subprocess
import sys
import time

import pytest

from agent.load_cost import PYTHON, Cost, Meter, cpu_s, resident_bytes, threads_s


def test_a_busy_process_is_seen_to_be_busy_and_a_gone_one_to_be_gone() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        deadline_s = time.monotonic() + 8
        while cpu_s(busy.pid) < 0.1 and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert cpu_s(busy.pid) >= 0.1
        assert threads_s(busy.pid)[PYTHON] == pytest.approx(cpu_s(busy.pid), abs=0.5)
        assert resident_bytes(busy.pid) > 1_000_000
    finally:
        busy.kill()
        busy.wait()
    assert cpu_s(busy.pid) == 0.0 and resident_bytes(busy.pid) == 0


def test_costs_are_percent_of_a_core_between_two_readings() -> None:
    before = Meter(100.0, 5.0, 1.0, 2.0, {PYTHON: 4.0}, 1)
    after = Meter(110.0, 9.0, 2.0, 2.5, {PYTHON: 7.0, "clock": 0.5, "idle": 0.01}, 200)
    cost = Cost.between(before, after)
    assert (cost.gateway, cost.workers, cost.generator) == pytest.approx((40.0, 10.0, 5.0))
    assert cost.threads == {PYTHON: 30.0, "clock": 5.0} and cost.gateway_bytes == 200


def test_our_own_figures_are_there() -> None:
    assert resident_bytes(os.getpid()) > 10_000_000 and threads_s(os.getpid())[PYTHON] > 0
