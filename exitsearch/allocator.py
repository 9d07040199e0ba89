"""Keeping freed memory in the process, so that the next inference finds it there.

glibc gives large blocks back to the kernel as soon as they are freed, and fetches them again page by page. How many
pages depends on what else the process has allocated before: one and the same efficientnet_b0 took 700 to 2,300 page
faults a forward pass, and up to a third more time for it, by what ran beside it (`scripts/bench_allocator.py`).
Numbers that are to be compared need the memory to stay; so does whoever wants the time that was measured.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


@cache
def keep_freed_memory() -> bool:
    """Let the C library keep what is freed, until the process ends. Costs its memory's high-water mark.

    Returns:
        Whether it does; only glibc can be told.
    """
    mallopt = _mallopt()
    # No blocks of their own for large sizes, and nothing (-1) given back from the end of the heap.
    return mallopt is not None and bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))


def _mallopt() -> Callable[[int, int], int] | None:
    """glibc's function; None with another C library."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(None)
        _ = library.gnu_get_libc_version  # others have no such name
        found: Callable[[int, int], int] = library.mallopt
    except (OSError, AttributeError):
        return None
    return found
