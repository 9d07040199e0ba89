"""When a time counts as within a budget: the one place that says so."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

# Times that differ by less than this share of themselves are equal: 0.1 + 0.2 ms, 4e-17 more than 0.3 ms in float64, is
# within a budget of 0.3 ms. A sum of a thousand latencies is good to 1e-13; no clock tells a billionth of a time apart.
TIME_TOLERANCE = 1e-9

_Times = TypeVar("_Times", float, NDArray[np.float64])


def latest_in_time(budget_ms: _Times) -> _Times:
    """The latest time in ms that is still within a budget: compare a time with this, never with the budget itself.

    >>> 0.1 + 0.2 <= 0.3, 0.1 + 0.2 <= latest_in_time(0.3)
    (False, True)
    """
    return budget_ms * (1.0 + TIME_TOLERANCE)
