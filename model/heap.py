"""The C library's heap: memory that a step has freed is kept for the next one."""

from __future__ import annotations

import ctypes
import sys

# <malloc.h> of the GNU C library; mallopt(3)
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

KEPT_BYTES = 128 << 20  # at the heap's top; a step's tensors together take a tenth of it
LARGEST_BYTES = 32 << 20  # what is larger is mapped alone, and given back: weights. The most that glibc takes


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, for its whole life; False where there is no GNU C library.

    As it comes, the library gives a large tensor back to the kernel as soon as it is freed, and the next step
    has to fault it in again, page by page: 1,200 pages in each step of six calls of the built-in model, a
    tenth of its time, and more where a hypervisor lends memory by the page.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)) and bool(mallopt(_M_MMAP_THRESHOLD, LARGEST_BYTES))
