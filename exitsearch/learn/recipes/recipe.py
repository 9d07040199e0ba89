"""Recipe: how a multi-exit model is trained, as plain data: stages, each with its loss and what it trains."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from exitsearch.errors import InputError, one_of
from exitsearch.learn.augment import read_augmentations
from exitsearch.learn.bank.recipe import HEAD_RECIPES, HeadRecipe, get_head_recipe
from exitsearch.learn.recipes.losses import LOSSES, NamedLoss

Trains = Literal["heads", "all", "adapters"]
Teacher = Literal["final", "given"]
Order = Literal["shuffled", "curriculum"]

_CHOICES = {
    "trains": ("heads", "all", "adapters"),
    "teacher": (None, "final", "given"),
    "order": ("shuffled", "curriculum"),
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a recipe. What it does not train keeps its weights and buffers, and is in eval mode.

    Attributes:
        name: of the stage, for people.
        loss: name of a loss, see `LOSSES`.
        options: keywords of the loss.
        trains: `heads` (of the chosen exits; the final classifier stands still), `all`, or `adapters` (small low-rank
            adapters of the backbone, and the heads of the chosen exits).
        each_exit: whether the stage is run once for every exit in order, training that exit's head alone; only with
            `trains="heads"`.
        teacher: whose logits the loss is given: `final` (the model's own final exit, detached), `given` (another
            model), or None: nobody's, for losses that do not look at a teacher.
        labels: False when the loss does not look at labels: unlabelled samples are welcome.
        order: of the samples in an epoch: `shuffled`, or `curriculum` (easy ones first).
        epochs: passes over the training split, at least 1.
        batch_size: inputs of a step, at least 1.
        optimizer: timm's name.
        learning_rate: the highest, above 0.
        weight_decay: 0 or more.
        schedule: timm's name of a schedule of the learning rate, or `constant`.
        warmup_epochs: in which the rate rises to its highest, 0 or more; may be a fraction.
        clip_grad: largest norm of all gradients together, above 0; None does not clip.
        ema: decay of a moving average of the weights, which is then what is kept; above 0, below 1; None: none.
        mixup: alpha of mixup, 0 or more; 0 is off.
        cutmix: alpha of cutmix, 0 or more; 0 is off.
        label_smoothing: share of a label that is spread over all classes, 0 to below 1.
        rand_augment: timm's text of a RandAugment (`rand-m9-mstd0.5`); None: none.
        augment: names of changes of training inputs, see `exitsearch.learn.augment`.

    Raises:
        InputError: a value out of its range, a loss that there is not, or an option that it does not take.
    """

    name: str
    loss: str
    options: Mapping[str, Any] = field(default_factory=dict)
    trains: Trains = "heads"
    each_exit: bool = False
    teacher: Teacher | None = None
    labels: bool = True
    order: Order = "shuffled"
    epochs: int
    batch_size: int
    optimizer: str = "adamw"
    learning_rate: float
    weight_decay: float = 0.0
    schedule: str = "cosine"
    warmup_epochs: float = 0
    clip_grad: float | None = None
    ema: float | None = None
    mixup: float = 0
    cutmix: float = 0
    label_smoothing: float = 0
    rand_augment: str | None = None
    augment: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", dict(self.options))
        if self.loss not in LOSSES:
            raise one_of("loss", self.loss, LOSSES)
        for option, value in self.options.items():
            self.named_loss.check_option(option, value)
        for attribute, allowed in _CHOICES.items():
            if getattr(self, attribute) not in allowed:
                raise one_of(f"{attribute} of a stage", getattr(self, attribute), allowed)
        if self.each_exit and self.trains != "heads":
            raise InputError(
                f"a stage that is run for each exit trains that exit's head alone, found trains={self.trains!r} in the "
                f'stage {self.name!r}; set trains="heads"'
            )
        _check_numbers(self)
        object.__setattr__(self, "augment", read_augmentations(self.augment))

    @property
    def named_loss(self) -> NamedLoss:
        """The loss with what is known of it."""
        return LOSSES[self.loss]


# Attribute to (what it is, in words; whether a value is allowed). None is allowed where the default is None.
_NUMBERS: dict[str, tuple[str, Any]] = {
    "epochs": ("a recipe has at least 1 epoch", lambda n: n >= 1 and n == int(n)),
    "batch_size": ("a recipe has at least 1 input a step", lambda n: n >= 1 and n == int(n)),
    "learning_rate": ("a learning rate is a finite number above 0", lambda n: n > 0),
    "weight_decay": ("a weight decay is a finite number from 0", lambda n: n >= 0),
    "warmup_epochs": ("warm-up takes a finite number of epochs from 0", lambda n: n >= 0),
    "clip_grad": ("gradients are clipped to a finite norm above 0", lambda n: n > 0),
    "ema": ("the decay of a moving average of weights lies above 0 and below 1", lambda n: 0 < n < 1),
    "mixup": ("the alpha of mixup is a finite number from 0 (0: off)", lambda n: n >= 0),
    "cutmix": ("the alpha of cutmix is a finite number from 0 (0: off)", lambda n: n >= 0),
    "label_smoothing": ("label smoothing is a share from 0 to below 1", lambda n: 0 <= n < 1),
}


def _check_numbers(stage: Stage) -> None:
    for attribute, (rule, allowed) in _NUMBERS.items():
        value = getattr(stage, attribute)
        if value is not None and not (math.isfinite(value) and allowed(value)):
            raise InputError(
                f"{rule}, found {attribute} {value} in the stage {stage.name!r}; give a number in that range"
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a multi-exit model is trained.

    Attributes:
        name: what `--recipe` calls it.
        description: one line for people.
        source: paper, or "own".
        stages: in order; each goes on from the weights that the one before left.
        heads: a recipe that trains the heads over the frozen backbone before the stages, or its name; None: heads are
            taken as they are. A recipe without stages is that and no more.
        adapter_rank: rank of the low-rank adapters of the backbone; None where no stage trains adapters.
        families: timm's families of models that it was made for; empty: any.

    Raises:
        InputError: a recipe that trains nothing, a head recipe that there is not, or adapters without a rank.
    """

    name: str
    description: str
    source: str
    stages: tuple[Stage, ...] = ()
    heads: str | HeadRecipe | None = None
    adapter_rank: int | None = None
    families: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.stages and self.heads is None:
            raise InputError(
                f"a recipe has stages, or names a recipe for the heads; {self.name!r} has neither; give it stages"
            )
        if isinstance(self.heads, str):
            get_head_recipe(self.heads)
        with_adapters = any(stage.trains == "adapters" for stage in self.stages)
        if with_adapters != (self.adapter_rank is not None):
            raise InputError(
                f"adapter_rank is for recipes with a stage that trains adapters, and needed there; {self.name!r} has "
                f"{'one' if with_adapters else 'none'} and adapter_rank {self.adapter_rank}; "
                "set both, or leave both out"
            )
        if self.adapter_rank is not None and self.adapter_rank < 1:
            raise InputError(
                f"adapters have a rank of at least 1, found adapter_rank {self.adapter_rank}; "
                "give a whole number from 1"
            )

    @property
    def head_recipe(self) -> HeadRecipe | None:
        """The recipe that trains the heads before the stages; None where there is none."""
        return None if self.heads is None else get_head_recipe(self.heads)


_MEVIT = "Multi-Exit Vision Transformer for Dynamic Inference (BMVC 2021, arXiv 2106.15183)"
_LGVIT = "LGViT (2023, arXiv 2308.00255)"


def _whole(name: str, loss: str, **more: Any) -> Stage:
    """A stage that trains backbone and heads together, on the numbers that the recipes of this kind share."""
    numbers: dict[str, Any] = {
        "epochs": 10,
        "batch_size": 64,
        # A usual rate for fine-tuning a pretrained backbone; heads that start from `train-heads` need no higher one.
        "learning_rate": 1e-4,
        "weight_decay": 0.05,
        "warmup_epochs": 1,
        "clip_grad": 1.0,
    }
    return Stage(name=name, loss=loss, **({"trains": "all"} | numbers | more))


def _lgvit(name: str, loss: str, **more: Any) -> Stage:
    """A stage on the numbers of LGViT's public scripts; the falling rate is a cosine here and a line there."""
    return Stage(name=name, loss=loss, epochs=50, batch_size=64, learning_rate=5e-5, clip_grad=1.0, **more)


def _heads(name: str, loss: str, **more: Any) -> Stage:
    """A stage that trains heads alone. Gradients are not clipped: one norm for all would let heads act on another."""
    return Stage(name=name, loss=loss, epochs=5, batch_size=32, learning_rate=2e-3, warmup_epochs=1, **more)


_NAMED = (
    Recipe(name="frozen", description=HEAD_RECIPES["frozen"].description, source="own", heads="frozen"),
    Recipe(name="mevit", description=HEAD_RECIPES["mevit"].description, source=_MEVIT, heads="mevit"),
    Recipe(
        name="layerwise",
        description="one exit after the other over the frozen backbone, each head alone",
        source=f"classifier-wise training, as in {_MEVIT}",
        stages=(_heads("each", "separate", each_exit=True),),
    ),
    Recipe(
        name="joint",
        description="backbone and heads together: the sum of the exits' losses + 2 times the final one's",
        source=_MEVIT,
        stages=(_whole("joint", "joint"),),
    ),
    Recipe(
        name="budget",
        description="backbone and heads together, each exit weighted by the chance that its answer is in hand",
        source="own: the search's expected value as the objective",
        stages=(_whole("budget", "budget"),),
    ),
    Recipe(
        name="alternating",
        description="backbone and heads: the final exit and all exits, weighted by depth, take turns",
        source=f"{_LGVIT}, stage 1",
        stages=(_lgvit("alternating", "alternating", trains="all"),),
    ),
    Recipe(
        name="lgvit",
        description="alternating, then the heads over the frozen backbone from labels, final exit and features",
        source=_LGVIT,
        stages=(
            _lgvit("alternating", "alternating", trains="all"),
            _lgvit("features", "lgvit", teacher="final"),
        ),
        families=("vision_transformer", "deit", "swin_transformer"),
    ),
    Recipe(
        name="distill",
        description="heads, then backbone and heads together: from labels, and the final exit or a given teacher",
        source="Distillation-Based Training for Multi-Exit Architectures (ICCV 2019); arXiv 1503.02531",
        # Heads that were trained on labels are far surer than a teacher at T = 2. Left to pull at the backbone in that
        # state they spoil it: on the digits the final exit fell from 0.978 to 0.90 in five epochs of the second stage
        # alone, and rose to 0.983 behind three of the first (choice split, 2026-11-21).
        stages=(
            _heads("heads", "distill", teacher="final"),
            _whole("distill", "distill", teacher="final"),
        ),
    ),
    Recipe(
        name="copycat",
        description="heads over the frozen backbone learn its answers; labels are not needed",
        source="in the spirit of Single-Layer Vision Transformers (2021, arXiv 2105.09121)",
        stages=(_heads("copycat", "copycat", teacher="final", labels=False),),
    ),
    Recipe(
        name="adapters",
        description="small low-rank adapters of the backbone, shared by the exits, and the heads; merged at the end",
        source="in the spirit of Multiple-Exit Tuning (2024, arXiv 2409.13999); LoRA, arXiv 2106.09685",
        stages=(_whole("adapters", "joint", trains="adapters", learning_rate=1e-3, weight_decay=0.0),),
        adapter_rank=8,
    ),
    Recipe(
        name="curriculum",
        description="joint, with easy samples first: those that the exits already answer",
        source="On the Power of Curriculum Learning in Training Deep Networks (2019, arXiv 1904.03626)",
        stages=(_whole("curriculum", "joint", order="curriculum"),),
    ),
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _NAMED}


def get_recipe(
    recipe: str | Recipe,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    augment: str | Iterable[str] | None = None,
    loss_options: Mapping[str, Any] | None = None,
    **more: Any,
) -> Recipe:
    """A recipe by its name, or the recipe itself, with what was asked for instead of its own numbers.

    Changes are those of every stage; of a recipe without stages those of its head recipe.

    Args:
        recipe: its name, or a recipe of your own.
        epochs: of each stage, at least 1; None keeps the recipe's.
        batch_size: at least 1; None keeps the recipe's.
        learning_rate: finite and above 0; None keeps the recipe's.
        augment: names of augmentations, as `flip,specaugment` or one by one; None keeps the recipe's.
        loss_options: options of losses by name, each for every stage whose loss takes it, beside the recipe's own.
        more: further attributes of a `Stage` (`weight_decay`, `mixup`, `ema`, ...); None keeps the recipe's.

    Raises:
        InputError: when no recipe has that name, a value is out of its range, or no loss takes an option.
    """
    if not isinstance(recipe, Recipe):
        if recipe not in RECIPES:
            raise one_of("recipe", recipe, RECIPES)
        recipe = RECIPES[recipe]
    names = {one.name for one in dataclasses.fields(Stage)} - {"name", "loss"}
    for name in more:
        if name not in names:
            raise one_of("attribute of a stage", name, names)
    common: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "augment": None if augment is None else read_augmentations(augment),
    }
    common = {name: value for name, value in common.items() if value is not None}
    more = {name: value for name, value in more.items() if value is not None}
    if not recipe.stages:
        if more or loss_options:
            found = sorted([*more, *(["loss_options"] if loss_options else [])])
            raise InputError(
                f"{recipe.name} trains the heads alone and takes epochs, batch_size, learning_rate and augment, found "
                f"{', '.join(found)}; leave it out, or take a recipe with stages (joint)"
            )
        return dataclasses.replace(recipe, heads=get_head_recipe(recipe.heads or "", **common))
    changes = common | more
    if changes:
        stages = tuple(dataclasses.replace(stage, **changes) for stage in recipe.stages)
        recipe = dataclasses.replace(recipe, stages=stages)
    return _with_loss_options(recipe, loss_options) if loss_options else recipe


def _with_loss_options(recipe: Recipe, given: Mapping[str, Any]) -> Recipe:
    """A recipe with options of its losses, each where a loss takes it."""
    taken = {option for stage in recipe.stages for option in stage.named_loss.options}
    for option in given:
        if option not in taken:
            losses = ", ".join(dict.fromkeys(stage.loss for stage in recipe.stages))
            if not taken:
                raise InputError(f"the loss of {recipe.name} ({losses}) takes no options, found {option}; leave it out")
            raise one_of(f"option of the losses of {recipe.name} ({losses})", option, taken)

    def changed(stage: Stage) -> Stage:
        mine = {option: value for option, value in given.items() if option in stage.named_loss.options}
        return dataclasses.replace(stage, options={**stage.options, **mine})

    return dataclasses.replace(recipe, stages=tuple(map(changed, recipe.stages)))
