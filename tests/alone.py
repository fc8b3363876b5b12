"""Tests marked `alone` run while no other test does, in whichever worker; others wait. A plugin of pytest.

For those that listen to what a call in real time sounded like: beside two others on two cores a caller's
frames come late, and its words are lost.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

FOLDER = ".pytest_cache"
# Set for what a test starts: a pytest that waited there would wait for ever. No name of our settings', whose
# unknown ones are refused.
ADMITTED = "PYTEST_IS_ADMITTED"


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outside of the time limit's: waiting is no part of a test
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Run a test alone, or beside others that need not be."""
    with _admitted(item.config.rootpath / FOLDER, is_alone=item.get_closest_marker("alone") is not None):
        return (yield)


@contextmanager
def _admitted(folder: Path, *, is_alone: bool) -> Iterator[None]:
    """Hold the room's lock: all of it, or a share.

    Whoever wants all of it keeps the door meanwhile, or the room, which others enter and leave, would never
    be empty.
    """
    if ADMITTED in os.environ:
        yield
        return
    folder.mkdir(exist_ok=True)
    with (folder / "room.lock").open("w") as room:
        with (folder / "door.lock").open("w") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(room, fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH)
        os.environ[ADMITTED] = "yes"
        try:
            yield
        finally:
            del os.environ[ADMITTED]
