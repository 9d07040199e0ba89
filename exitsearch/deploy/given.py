"""What a bundle is given: an input, or that and side inputs by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

Arrays = NDArray[Any]
# An input [channels, height, width], or that and side inputs by name; or batches of them.
Given = Arrays | Mapping[str, Arrays]

# Name of the first segment's input.
INPUT = "x"


def joined_inputs(inputs: Mapping[str, Arrays]) -> Given:
    """All inputs by name; where there is but one, that alone."""
    return inputs if len(inputs) > 1 else inputs[INPUT]


def divided_inputs(given: Given, name: str = INPUT) -> tuple[Arrays, dict[str, Arrays]]:
    """The input, and the side inputs by name.

    >>> divided_inputs({"x": 1, "audio": 2})
    (1, {'audio': 2})

    Args:
        given: the input, or all by name.
        name: of the input among them.
    """
    if not isinstance(given, Mapping):
        return given, {}
    side = dict(given)
    return side.pop(name), side


def beside(side: Mapping[str, Arrays]) -> dict[str, Any]:
    """Side inputs as an argument of a session's methods; none where there are none."""
    return {"side": side} if side else {}
