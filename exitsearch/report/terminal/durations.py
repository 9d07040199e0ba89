"""Times and sizes in words."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """A time in its two largest units.

    >>> [duration(seconds) for seconds in (0.0042, 3.21, 75, 7300, 90_000, 200_000, math.inf)]
    ['4.2 ms', '3.2 s', '1 min 15 s', '2 h 1 min', '1 day 1 h', '2 days 7 h', 'unknown']
    """
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, smaller, small_unit in ((86400, "days", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= size:
            unit = "day" if unit == "days" and whole // size == 1 else unit
            return f"{whole // size} {unit} {whole % size // smaller} {small_unit}"
    return f"{whole // 60} min {whole % 60} s"


def size(count: float) -> str:
    """A number of bytes.

    >>> [size(count) for count in (512, 2_400_000, 8_900_000_000)]
    ['512 bytes', '2.3 MiB', '8.3 GiB']
    """
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count:.0f} bytes"
