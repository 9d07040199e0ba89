"""NamedLoss: a loss with its name, needs, formula and source, as recipes and `exitsearch list recipes` know it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from exitsearch.errors import InputError, one_of, shown
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
        return {name: one.default for name, one in self._keywords.items()}

    @property
    def _keywords(self) -> dict[str, inspect.Parameter]:
        parameters = inspect.signature(self.function).parameters
        return {name: one for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY}

    def check_option(self, option: str, value: object) -> None:
        """Refuse an option that the loss does not take, or of another kind; its range is the loss's own to check.

        Raises:
            InputError: there is no such option, or it is a number (or numbers) and the value is none.
        """
        keywords = self._keywords
        if option not in keywords:
            if not keywords:
                raise InputError(f"the loss {self.name} takes no options, found {option}; leave it out")
            raise one_of(f"option of the loss {self.name}", option, keywords)
        kind = inspect.formatannotation(keywords[option].annotation).strip("'")
        several = isinstance(value, Sequence) and not isinstance(value, str) and all(map(_is_number, value))
        if kind == "float" and not _is_number(value):
            raise InputError(f"the option {option} of the loss {self.name} is a number, found {shown(value)}; give one")
        if kind == "float | Sequence[float]" and not (_is_number(value) or several):
            raise InputError(
                f"the option {option} of the loss {self.name} is a number, or one for each exit as 1,2,3, found "
                f"{shown(value)}; write it in that form"
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
