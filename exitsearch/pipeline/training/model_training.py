"""How a chosen model is trained, as it was asked for: what is changed of a recipe, and what it begins with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from exitsearch.errors import InputError, shown
from exitsearch.specs.document import Part

if TYPE_CHECKING:
    from exitsearch.learn.recipes.recipe import Recipe


class Changes(Part):
    """What was asked for instead of a recipe's own numbers, in every stage; None keeps those. As in `Stage`.

    Attributes:
        epochs, batch_size, learning_rate, augment: of a recipe that trains the heads alone too.
        loss_options: options of losses by name, or texts `NAME=VALUE` of them: `least=0.1`, `weights=1,1,2`.
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
    loss_options: dict[str, Any] = Field(default={})

    @field_validator("loss_options", mode="before")
    @classmethod
    def _read_loss_options(cls, given: object) -> object:
        if given is None or isinstance(given, Mapping):
            return given or {}
        texts = [given] if isinstance(given, str) else given
        return read_loss_options(texts) if isinstance(texts, Iterable) else given

    def of(self, recipe: str | Recipe) -> Recipe:
        """A recipe with these numbers.

        Raises:
            InputError: no recipe has that name, or a value is out of its range.
        """
        from exitsearch.learn.recipes.recipe import get_recipe

        return get_recipe(recipe, **self.model_dump())


def read_loss_options(texts: Iterable[str]) -> dict[str, Any]:
    """Options of losses from texts `NAME=VALUE`.

    >>> read_loss_options(["least=0.1", "weights=1,1,2", "kind=soft"])
    {'least': 0.1, 'weights': [1.0, 1.0, 2.0], 'kind': 'soft'}

    Args:
        texts: a value is a number, several with commas, or else a word as it is.

    Raises:
        InputError: a text that names no option or gives no value, or an option that is given twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise InputError(
                f"an option of a loss is written NAME=VALUE, as least=0.1, found {shown(text)}; write it in that form"
            )
        if name in found:
            raise InputError(f"the option {name} of a loss is given twice; leave one out")
        found[name] = _value(value)
    return found


def _value(text: str) -> float | list[float] | str:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return text
    return numbers if "," in text else numbers[0]


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
