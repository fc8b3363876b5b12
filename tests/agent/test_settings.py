"""Settings: frozen, and what follows from some of them."""

import os

import pytest
from pydantic import ValidationError

from agent.settings import Settings, WorkerSettings


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().worker.slots = 9


def test_workers_that_share_a_device_have_a_part_of_it() -> None:
    num_cpus = len(os.sched_getaffinity(0))
    assert WorkerSettings().share == 1
    assert WorkerSettings(count=2 * num_cpus).share == 0.5
    assert WorkerSettings(count=4, device="cuda").share == 0.25
