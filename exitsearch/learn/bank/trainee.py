"""Trainee: one exit head in training, or the backbone's final classifier, and how far it has come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from exitsearch.errors import ExitSearchError
from exitsearch.learn.bank.recipe import HeadRecipe
from exitsearch.learn.targets import TargetScale, fold
from exitsearch.models.backbone import State

FINAL = "final"


class NotFiniteError(ExitSearchError):
    """A loss or an output is not finite.

    Attributes:
        key: of the trainee; `final` also for the final exit of a backbone whose classifier is not trained.
    """

    def __init__(self, message: str, *, key: str) -> None:
        self.key = key
        super().__init__(message)


def head_key(placement: int, head: str) -> str:
    """The key of a head among trainees: `<placement>/<head>`."""
    return f"{placement}/{head}"


def split_key(key: str) -> tuple[int, str]:
    """(placement, head) of a key; not for `final`."""
    placement, _, head = key.partition("/")
    return int(placement), head


def key_words(key: str) -> str:
    """A trainee for messages: `vit_ee at placement 3`."""
    placement, _, head = key.partition("/")
    return f"{head} at placement {placement}" if head else "the final classifier"


@dataclass
class Trainee:
    """One head in training, or the backbone's final classifier.

    Attributes:
        key: `<placement>/<head>`, or `final`.
        placement: whose features it reads; for `final` the last placement.
        module: the head, or the final classifier's layers.
        run: from the state at its placement, and the batch's side inputs by name, to outputs [batch, num_outputs].
        scale: of the regression targets that it learns on, until its answers are brought into the targets' own unit;
            None: it learns on, and answers in, the targets as they are.
        factor: of the learning rate, lowered on a plateau.
        best: lowest loss on the choice split so far; None before the first look.
        waited: epochs since `best`.
        waited_for_rate: epochs since `best` or since the rate was last lowered.
        stopped: whether early stopping ended its training.
        steps: of the recipe that are behind it.
        saved_steps: of its checkpoint; None where there is none.
        dropped: why its training ended without a result, a clause; None where it has not.
    """

    key: str
    placement: int
    module: nn.Module
    run: Callable[[State, Mapping[str, Tensor]], Tensor]
    scale: TargetScale | None = None
    factor: float = 1.0
    best: float | None = None
    waited: int = 0
    waited_for_rate: int = 0
    stopped: bool = False
    steps: int = 0
    saved_steps: int | None = None
    dropped: str | None = None

    @property
    def words(self) -> str:
        """For messages: `vit_ee at placement 3`."""
        return key_words(self.key)

    def answer(self, state: State, side: Mapping[str, Tensor]) -> Tensor:
        """Outputs [batch, num_outputs] in the targets' own unit, however far it has learnt."""
        outputs = self.run(state, side)
        return outputs if self.scale is None else self.scale.restore(outputs)

    def finish(self) -> None:
        """Bring its weights into the targets' own unit, once, before they are written; it learns no more."""
        if self.scale is not None:
            fold(self.module, self.scale)
            self.scale = None

    def learn_from(self, loss: float, recipe: HeadRecipe) -> None:
        """Lower the rate, or stop, by the loss on the choice split after an epoch."""
        if self.best is None or loss < self.best:
            self.best, self.waited, self.waited_for_rate = loss, 0, 0
            return
        self.waited += 1
        self.waited_for_rate += 1
        if self.waited_for_rate >= recipe.plateau_patience:
            self.factor, self.waited_for_rate = self.factor * recipe.plateau_factor, 0
        self.stopped = recipe.stop_patience is not None and self.waited >= recipe.stop_patience

    _PROGRESS = ("factor", "best", "waited", "waited_for_rate", "stopped", "steps")

    @property
    def progress(self) -> dict[str, Any]:
        """What a checkpoint keeps beside weights and moments."""
        return {name: getattr(self, name) for name in self._PROGRESS}

    def restore(self, progress: dict[str, Any]) -> None:
        """Take over `progress` of an earlier run.

        Raises:
            KeyError: something is missing in it.
        """
        for name in self._PROGRESS:
            setattr(self, name, progress[name])
