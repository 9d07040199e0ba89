"""budget: each exit weighs as much as its answer is used under the configuration's own budgets."""

from __future__ import annotations

from torch import Tensor

from exitsearch.errors import InputError
from exitsearch.learn.recipes.losses.registry import register
from exitsearch.learn.recipes.losses.terms import check_option, exit_losses
from exitsearch.learn.recipes.outputs import ExitFacts, ExitOutputs


@register(
    "budget",
    formula="sum of c_k CE_k / sum of c_k over all exits, c_k the chance that exit k's answer is in hand",
    source="own: the expected value that the search maximises, with CE in place of accuracy",
)
def budget(
    outputs: ExitOutputs,
    targets: Tensor,
    teacher: Tensor | None,
    step: int,
    *,
    least: float = 0.0,
) -> dict[str, Tensor]:
    """sum_k c_k CE_k / sum_k c_k over all exits, the final one included; for a regression the absolute error.

    c_k is the chance that exit k's answer is the one in hand when the budget strikes (`ExitFacts.chances`). The
    expected value of a choice is sum_k c_k a_k + (chance of no answer) a_0, with a_k the value of exit k: this is that
    objective with the loss in place of the value, divided by the chance of any answer, so that it reads as the loss of
    an answer.

    An exit of chance 0 has weight 0: its head is left as it is, and the backbone goes where the others pull it. An
    exit that is never in hand only because it is no better than the one before cannot become better so; `least` gives
    every exit a weight whatever its chance.

    Args:
        outputs: of the model.
        targets: class indices [batch], shares of classes [batch, classes], or regression targets.
        teacher: not looked at.
        step: not looked at.
        least: smallest weight of an exit before the division, 0 to 1.

    Raises:
        InputError: chances that are not known or all 0, or a `least` out of its range.
    """
    check_option(least, 0 <= least <= 1, loss="budget", rule="least is a weight from 0 to 1")
    weights = [max(chance, least) for chance in known_chances(outputs.facts)]
    total = sum(weights)
    if total <= 0:
        raise InputError(
            "under this budget no exit's answer is ever in hand (every chance is 0), so there is nothing to weigh; set "
            "the option least of the loss budget above 0, or take the recipe joint"
        )
    losses = exit_losses(outputs, targets)
    names = outputs.facts.exits
    return {name: weight / total * loss for name, weight, loss in zip(names, weights, losses, strict=True)}


def known_chances(facts: ExitFacts) -> tuple[float, ...]:
    """The chances of every exit, the final one last.

    Raises:
        InputError: where they are not known.
    """
    if facts.chances is None:
        raise InputError(
            "the loss budget weighs each exit by the chance that its answer is the one in hand, and no chances were "
            f"given; give chances, one number for each of the {len(facts.exits)} exits (the final one last), or take "
            "the recipe joint"
        )
    return facts.chances
