"""How a chosen model is trained, as it was asked for: what is changed of a recipe, and what it begins with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from exitsearch.specs.document import Part

if TYPE_CHECKING:
    from exitsearch.learn.recipes.recipe import Recipe


class Changes(Part):
    """What was asked for instead of a recipe's own numbers, in every stage; None keeps those. As in `Stage`.

    Attributes:
        epochs, batch_size, learning_rate, augment: of a recipe that trains the heads alone too.
    """

    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    augment: str | None = None
    optimizer: str | None = None
    weight_decay: float | None = None
    schedule: str | None = None
    warmup_epochs: float | None = None
    clip_grad: float | None = None
    ema: float | None = None
    mixup: float | None = None
    cutmix: float | None = None
    label_smoothing: float | None = None
    rand_augment: str | None = None

    def of(self, recipe: str | Recipe) -> Recipe:
        """A recipe with these numbers.

        Raises:
            InputError: no recipe has that name, or a value is out of its range.
        """
        from exitsearch.learn.recipes.recipe import get_recipe

        return get_recipe(recipe, **self.model_dump())


class ModelTraining(Part):
    """How a chosen model is trained, beside recipe and data.

    Attributes:
        changes: of the recipe.
        start: an outcomes folder whose heads it begins with, or `fresh`; None takes one that fits, if it is at hand.
        pretrained, checkpoint: of the backbone, as in `create_backbone`.
        teacher: as in `load_teacher`.
        unlabelled: a folder of images for stages that do not look at labels.
        mixed_precision: `no`, `bf16` or `fp16`.
        accumulate: parts in which a batch is computed.
        tensorboard: write events.
        restart: throw away what stands in the folder.
    """

    changes: Changes = Changes()
    start: str | None = None
    pretrained: bool | None = None
    checkpoint: Path | None = None
    teacher: str | None = None
    unlabelled: Path | None = None
    mixed_precision: str = "no"
    accumulate: int = Field(default=1, ge=1)
    tensorboard: bool = False
    restart: bool = False
