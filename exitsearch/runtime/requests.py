"""What a session may be asked: inputs and numbers, each with its range, refused in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bundle.manifest import Manifest
from .deadline import QUANTILES
from .errors import RequestError, shown
from .images import described

Arrays = NDArray[Any]

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


def check_side(side: Mapping[str, Any] | None, manifest: Manifest, *, rows: int | None) -> dict[str, Arrays]:
    """The side inputs of a request by name, each [rows, channels, height, width].

    Args:
        side: as given; None: none.
        manifest: says which there are.
        rows: inputs of the request; None: one, whose side inputs may come without a batch in front.

    Raises:
        RequestError: one is missing, unknown, or of another size or type.
    """
    given = {} if side is None else side
    if not isinstance(given, Mapping):
        raise RequestError(
            f"side inputs are given by name, as side={{'audio': array}}, found {described(given)}; give them so"
        )
    declared = manifest.side_inputs
    if strange := [name for name in given if name not in declared]:
        names = ", ".join(declared) or "none"
        raise RequestError(f"the side inputs of this bundle: {names}; found {shown(strange[0])}; leave it out")
    found = {}
    for name, size in declared.items():
        rule = f"the side input {name} is an array {['batch', *size] if rows else list(size)} of floating-point numbers"
        if name not in given:
            raise RequestError(f"{rule}, which heads of this bundle read; give it as side={{'{name}': ...}}")
        array = given[name]
        if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.floating):
            raise RequestError(f"{rule}, found {described(array)}; give that")
        if rows is None and array.shape == size:
            array = array[None]
        if array.shape != (rows or 1, *size):
            raise RequestError(f"{rule}{f', {rows} of them' if rows else ''}, found {described(array)}; give that")
        if not (np.abs(array) <= np.finfo(manifest.dtype).max).all():
            raise RequestError(f"{rule}, all of them finite, found others; see where they come from")
        found[name] = array
    return found


def check_arrival(found: object, *, now: float) -> float:
    """A time of `time.perf_counter()` that has passed; None: now."""
    if found is None:
        return now
    if isinstance(found, bool) or not isinstance(found, int | float) or not now - 1e6 <= found <= now:
        raise RequestError(
            f"arrived must be a time of time.perf_counter() that has passed, found {shown(found)}; leave it out "
            "where the request comes now"
        )
    return float(found)


def zeros(manifest: Manifest) -> tuple[Arrays, dict[str, Arrays]]:
    """One input of zeros [1, channels, height, width], and the side inputs beside it by name."""
    side = {name: np.zeros((1, *size), dtype=np.float32) for name, size in manifest.side_inputs.items()}
    return np.zeros((1, *manifest.input_size), dtype=np.float32), side


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
