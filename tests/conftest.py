"""What all tests have in common."""

import os
from pathlib import Path

import pytest

# Workers that tests start do not compile: that takes minutes of CPU time. Their children inherit this.
os.environ["OFFHOOK_WORKER__COMPILE"] = "no"

MODEL_TESTS = Path(__file__).parent / "model"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two lanes for `-n 2 --dist loadgroup`: what computes runs beside what waits for calls.

    Two tests that place calls never run at once, and a module's fixtures are made once.
    """
    for item in items:
        lane = "model" if MODEL_TESTS in item.path.parents else "calls"
        item.add_marker(pytest.mark.xdist_group(lane))
