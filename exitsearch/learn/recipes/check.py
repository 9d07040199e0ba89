"""check_recipe: whether a recipe can train a model, and what its user should know before."""

from __future__ import annotations

import torch

from exitsearch.errors import InputError
from exitsearch.learn.recipes.losses.budget import known_chances
from exitsearch.learn.recipes.losses.lgvit import GLOBAL, LOCAL
from exitsearch.learn.recipes.outputs import ExitFacts, ExitOutputs
from exitsearch.learn.recipes.recipe import Recipe, Stage
from exitsearch.models.multi_exit import MultiExitModel


def model_family(model: MultiExitModel) -> str:
    """timm's family of the backbone (`vision_transformer`): the file that its class is from."""
    return type(model.backbone.module).__module__.rpartition(".")[2]


def check_recipe(recipe: Recipe, *, facts: ExitFacts, family: str | None = None) -> list[str]:
    """Refuse what cannot work, before anything is trained.

    Args:
        recipe: to train by.
        facts: of the model.
        family: timm's family of the backbone, see `model_family`; None where it is not known.

    Returns:
        Sentences of what works otherwise than its user may think; usually none.

    Raises:
        InputError: there are no heads for a stage that trains them alone; or a stage weighs exits by chances that are
            not known, mixes or smooths labels of a regression, or has an option of its loss out of range.
    """
    notes = []
    if recipe.families and family is not None and family not in recipe.families:
        notes.append(
            f"{recipe.name} was made for {', '.join(recipe.families)}; the backbone is of {family}, and is trained by "
            "the same losses as far as they apply"
        )
    for stage in recipe.stages:
        if stage.trains == "heads" and not facts.placements:
            raise InputError(
                f"the stage {stage.name!r} of {recipe.name} trains exit heads alone, and the configuration has none; "
                "take a recipe that trains the backbone (joint), or search for budgets below the full model's latency"
            )
        if facts.task == "regression":
            _check_regression(stage)
        _try_options(stage, facts)
        if stage.loss == "budget":
            notes += _idle_exits(stage, facts)
        if stage.loss == "lgvit" and not {LOCAL, GLOBAL} & set(facts.heads):
            notes.append(
                f"the stage {stage.name} compares features of {LOCAL} and {GLOBAL} heads, and no exit has one: its "
                "heads learn from labels and the final exit alone"
            )
    return notes


def _check_regression(stage: Stage) -> None:
    for attribute in ("mixup", "cutmix", "label_smoothing"):
        if getattr(stage, attribute):
            raise InputError(
                f"{attribute} mixes classes, and the task is a regression; set {attribute} to 0 in the stage "
                f"{stage.name!r}"
            )


def _try_options(stage: Stage, facts: ExitFacts) -> None:
    """Let a loss refuse its options over outputs of zeros, and not at the first step of a second stage, after hours.

    A loss of somebody's own may want what zeros do not have, and is left to its first step.
    """
    loss = stage.named_loss
    if not loss.function.__module__.startswith("exitsearch."):
        return
    classes = facts.task == "classification"
    outputs = ExitOutputs(
        facts=facts,
        logits=tuple(torch.zeros(2, 2 if classes else 1) for _ in facts.exits),
        bodies=(None,) * len(facts.placements),
        final_tokens=torch.zeros(2, 1, 1),
    )
    targets = torch.zeros(2, dtype=torch.int64 if classes else torch.float32)
    loss.function(outputs, targets, None, 1, **stage.options)


def _idle_exits(stage: Stage, facts: ExitFacts) -> list[str]:
    """A sentence for the exits whose weight under the budget is 0."""
    if stage.options.get("least", 0) > 0:
        return []
    places = (*(f"placement {placement}" for placement in facts.placements), "the final exit")
    idle = [place for place, chance in zip(places, known_chances(facts), strict=True) if chance == 0]
    if not idle:
        return []
    return [
        f"under the budget the answer of {', '.join(idle)} is never the one in hand (chance 0), so the stage "
        f"{stage.name} gives it no weight and trains no head for it; its option least gives every exit some"
    ]
