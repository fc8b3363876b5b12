"""What all tests have in common."""

import os
from pathlib import Path

import pytest

# Workers that tests start do not compile: that takes minutes of CPU time. Their children inherit this.
os.environ["OFFHOOK_WORKER__COMPILE"] = "no"

WAITING = ("loopback", "redis")  # marks
WAITING_TESTS = [Path(__file__).parent / name for name in ("console", "deploy", "loopback", "telephony")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two lanes for `-n 2 --dist loadgroup`: what computes runs beside what waits for calls.

    Two tests that place calls never run at once, and a module's fixtures are made once.
    """
    modules = {
        item.path for item in items if any(item.get_closest_marker(mark) is not None for mark in WAITING)
    }
    for item in items:
        waits = item.path in modules or any(folder in item.path.parents for folder in WAITING_TESTS)
        item.add_marker(pytest.mark.xdist_group("calls" if waits else "computes"))
