"""HeadRecipe: how exit heads are trained over a frozen backbone, as plain data, and the named ones."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from exitsearch.errors import InputError, one_of
from exitsearch.learn.augment import read_augmentations

Schedule = Literal["constant", "one_cycle", "plateau"]

# Share of all steps in which a one-cycle rate rises; it falls along a half cosine in the rest.
_RISE = 0.2


@dataclass(frozen=True, kw_only=True)
class HeadRecipe:
    """How exit heads are trained.

    Attributes:
        name: what `--recipe` calls it.
        description: one line for people.
        epochs: most passes over the `heads` split, at least 1.
        batch_size: inputs per step, at least 1.
        learning_rate: Adam's rate; with `one_cycle` the highest one.
        weight_decay: factor of the L2 penalty on the weights that a head names in `decay_parameters()`.
        schedule: `constant`; `one_cycle` (linear rise, then half a cosine to 0); `plateau` (each head's own rate is
            multiplied by `plateau_factor` whenever its loss on the `choice` split has not fallen for
            `plateau_patience` epochs).
        plateau_factor: see `schedule`.
        plateau_patience: see `schedule`; epochs.
        stop_patience: a head stops after this many epochs without a lower loss on the `choice` split, keeping its last
            weights; None trains all epochs. Only with `plateau`.
        augment: changes of training inputs, by their names in `augment.py`; none by default.
    """

    name: str
    description: str
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    plateau_factor: float = 1.0
    plateau_patience: int = 2
    stop_patience: int | None = None
    augment: tuple[str, ...] = ()

    def rate(self, done: float) -> float:
        """The learning rate when a share `done` (0..1) of all steps is behind; a plateau's factors come on top.

        >>> frozen = HEAD_RECIPES["frozen"]
        >>> [round(frozen.rate(done) / frozen.learning_rate, 2) for done in (0.1, 0.2, 0.6, 1.0)]
        [0.5, 1.0, 0.5, 0.0]
        """
        if self.schedule != "one_cycle":
            return self.learning_rate
        if done < _RISE:
            return self.learning_rate * done / _RISE
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - _RISE) / (1 - _RISE)))


HEAD_RECIPES = {
    recipe.name: recipe
    for recipe in (
        HeadRecipe(
            name="frozen",
            description="quick: five epochs of Adam with a one-cycle rate, the backbone frozen",
            # Twelve epochs are worth 0.008 more of expected accuracy on the digits and take more than twice as long;
            # --epochs 12 has them. Small batches, for many steps in few epochs.
            epochs=5,
            batch_size=32,
            # Of 1e-3, 2e-3 and 4e-3 the best on the digits' choice split (heads at placements 1 and 7).
            learning_rate=4e-3,
            weight_decay=1e-4,
            schedule="one_cycle",
        ),
        HeadRecipe(
            name="mevit",
            description="as in Multi-Exit Vision Transformer (2021): Adam, x0.6 on a plateau, early stopping per head",
            epochs=100,
            batch_size=64,
            learning_rate=1e-4,
            # Keras' own strength of an L2 penalty, which the authors' code takes; the paper does not state it.
            weight_decay=1e-2,
            schedule="plateau",
            plateau_factor=0.6,
            plateau_patience=2,
            stop_patience=5,
        ),
    )
}


def get_head_recipe(
    recipe: str | HeadRecipe,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    augment: str | Iterable[str] | None = None,
) -> HeadRecipe:
    """A recipe by its name, or the recipe itself.

    Args:
        recipe: its name, or a recipe of your own.
        epochs: instead of the recipe's, at least 1; None keeps them.
        batch_size: instead of the recipe's, at least 1; None keeps it.
        learning_rate: instead of the recipe's, finite and above 0; None keeps it.
        augment: names of augmentations instead of the recipe's, as `flip,specaugment` or one by one; None keeps them.

    Raises:
        InputError: when no recipe or augmentation has that name, or a number is out of its range.
    """
    if not isinstance(recipe, HeadRecipe):
        if recipe not in HEAD_RECIPES:
            raise one_of("recipe", recipe, HEAD_RECIPES)
        recipe = HEAD_RECIPES[recipe]
    if epochs is not None and epochs < 1:
        raise InputError(f"a recipe has at least 1 epoch, found {epochs}; give a whole number from 1 (--epochs)")
    if batch_size is not None and batch_size < 1:
        raise InputError(
            f"a recipe has at least 1 input a step, found a batch size of {batch_size}; "
            "give a whole number from 1 (--batch-size)"
        )
    if learning_rate is not None and not (math.isfinite(learning_rate) and learning_rate > 0):
        raise InputError(
            f"a learning rate is a finite number above 0, found {learning_rate}; give one such as 1e-3 (--lr)"
        )
    changes = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "augment": None if augment is None else read_augmentations(augment),
    }
    asked = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(recipe, **asked) if asked else recipe  # type: ignore[arg-type]
