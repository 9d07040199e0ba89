"""Keeping freed memory in the process, so that the next inference finds it there.

glibc gives large blocks back to the kernel as soon as they are freed, and fetches them again page by page. How many
pages depends on what else the process has allocated before: one and the same efficientnet_b0 took 1,000 to 3,600 page
faults a forward pass, and up to a fifth more time for it, by what ran beside it. Numbers that are to be compared need
the memory to stay; so does whoever wants the time that was measured.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


@cache
def keep_freed_memory() -> bool:
    """Let the C library keep what is freed, until the process ends. Costs its memory's high-water mark.

    Returns:
        Whether it does; only glibc can be told.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  that of another C library has no such name
        mallopt = library.mallopt
    except (OSError, AttributeError):
        return False
    # No blocks of their own for large sizes, and nothing given back from the end of the heap. The largest threshold
    # that an int holds; 2 GiB at the end of the heap would be given back.
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
