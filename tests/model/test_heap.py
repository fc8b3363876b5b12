"""What a process faults in again, with and without the heap that keeps what was freed."""

from __future__ import annotations

import subprocess
import sys

# Blocks of 4 MiB that are freed and asked for again, as tensors are: 64 times 2,048 pages.
PROGRAM = """
import resource, sys
from model.heap import keep_freed_memory
import numpy as np

if sys.argv[1] == "kept":
    assert keep_freed_memory()

def work():
    for _ in range(64):
        blocks = [np.ones(1 << 19) for _ in range(2)]

work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def num_faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout)


def test_what_was_freed_is_not_faulted_in_again() -> None:
    given_back, kept = num_faults("given back"), num_faults("kept")
    assert kept < 100 < given_back
