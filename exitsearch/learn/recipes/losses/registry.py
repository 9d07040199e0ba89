"""NamedLoss: a loss with its name, needs, formula and source, as recipes and `exitsearch list recipes` know it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from exitsearch.errors import InputError
from exitsearch.learn.recipes.outputs import NEEDS

# (outputs, targets, teacher's logits or None, step, options as keywords) -> named terms; their sum is minimised.
Loss = Callable[..., dict[str, Tensor]]
LossT = TypeVar("LossT", bound=Loss)


@dataclass(frozen=True, kw_only=True)
class NamedLoss:
    """A loss and what is said of it.

    Attributes:
        name: what stages call it.
        function: `(outputs, targets, teacher, step, **options) -> {term: tensor}`; the sum of the terms is minimised.
            `targets` are class indices [batch], shares of classes [batch, classes], or regression targets; `teacher` is
            a teacher's logits [batch, num_outputs], or None, which means the model's own final exit; `step` counts
            optimiser steps from 0.
        needs: what it reads of ExitOutputs beside the logits.
        formula: in one line.
        source: paper, or "own".
    """

    name: str
    function: Loss
    needs: frozenset[str]
    formula: str
    source: str

    @property
    def options(self) -> dict[str, Any]:
        """Keywords that the function takes, with their defaults."""
        parameters = inspect.signature(self.function).parameters.values()
        return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}


LOSSES: dict[str, NamedLoss] = {}


def register(name: str, *, formula: str, source: str, needs: Iterable[str] = ()) -> Callable[[LossT], LossT]:
    """Make a function known as a loss, for stages of one's own too.

    Raises:
        InputError: when the name is taken, or a need has no such name.
    """
    asked = frozenset(needs)
    if unknown := asked - NEEDS:
        raise InputError(
            f"a loss may need {', '.join(sorted(NEEDS))}, found {', '.join(sorted(unknown))}; declare these alone"
        )

    def keep(function: LossT) -> LossT:
        if name in LOSSES and LOSSES[name].function is not function:
            raise InputError(f"there is a loss of the name {name!r} already; take another name")
        LOSSES[name] = NamedLoss(name=name, function=function, needs=asked, formula=formula, source=source)
        return function

    return keep
