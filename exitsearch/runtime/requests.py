"""What a session may be asked: inputs and numbers, each with its range, refused in a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np

from .bundle.manifest import Manifest
from .deadline import QUANTILES
from .errors import RequestError, shown
from .images import described

# No budget is longer, no batch larger.
LONGEST_MS = 1e9
MOST_ROWS = 65536


def check_array(x: Any, manifest: Manifest, *, axes: int) -> None:
    """An input [channels, height, width] (3 axes), or several [batch, channels, height, width] (4).

    Raises:
        RequestError: something else, or numbers that are not finite in the type that the graphs take.
    """
    size = list(manifest.input_size)
    rule = f"an input is an array {size if axes == 3 else ['batch', *size]} of floating-point numbers"
    if not isinstance(x, np.ndarray) or not np.issubdtype(x.dtype, np.floating):
        raise RequestError(f"{rule}, found {described(x)}; give that, or an image")
    rows = x.shape[0] if x.ndim == 4 else 1
    if x.ndim != axes or list(x.shape[-3:]) != size or not 1 <= rows <= MOST_ROWS:
        raise RequestError(f"{rule}, found {described(x)}; prepare(image) makes one of an image")
    # The largest number of the type that graphs take: what is larger would become infinite on the way.
    if not (np.abs(x) <= np.finfo(manifest.dtype).max).all():
        raise RequestError(f"{rule}, all of them finite, found others; see where they come from")


def check_whole(name: str, found: object, *, high: int) -> None:
    """A whole number from 1 to so much."""
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= high:
        raise RequestError(f"{name} must be a whole number from 1 to {high}, found {shown(found)}; give such a number")


def check_quantile(found: object) -> None:
    """A quantile of the latency table."""
    if not isinstance(found, float) or found not in QUANTILES:
        raise RequestError(f"quantile must be one of 0.5, 0.9 and 0.99, found {shown(found)}; give one of them")


def check_number(name: str, found: object, *, high: float) -> None:
    """A number above 0 and at most so much."""
    if (
        isinstance(found, bool)
        or not isinstance(found, int | float | np.integer | np.floating)
        or not 0 < found <= high
    ):
        raise RequestError(
            f"{name} must be a number above 0, at most {high:g}, found {shown(found)}; give such a number"
        )
