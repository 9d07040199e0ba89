"""What several losses are made of: checked weights, distillation terms."""

from __future__ import annotations

import math
from collections.abc import Sequence

from exitsearch.errors import InputError


def check_weights(weights: float | Sequence[float], *, final: float, count: int, loss: str) -> tuple[float, ...]:
    """A weight for every exit.

    Args:
        weights: of the chosen exits: one number for all of them, or one for each.
        final: weight of the final exit.
        count: exits, the final one included.
        loss: its name, for the message.

    Raises:
        InputError: when they are not one for each chosen exit, or one is below 0 or not finite.
    """
    early = [float(weights)] * (count - 1) if isinstance(weights, int | float) else [float(w) for w in weights]
    if len(early) != count - 1:
        raise InputError(
            f"weights of the loss {loss} are one number, or one for each of the {count - 1} chosen exits (the final "
            f"one has its own), found {len(early)}; give {count - 1}"
        )
    for weight in (*early, final):
        if not (math.isfinite(weight) and weight >= 0):
            raise InputError(f"a weight of the loss {loss} is a finite number from 0, found {weight}; give such a one")
    return (*early, float(final))
