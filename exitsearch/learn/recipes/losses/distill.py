"""distill: the exits learn from labels and from a teacher's probabilities."""

from __future__ import annotations

from torch import Tensor

from exitsearch.learn.losses import task_loss
from exitsearch.learn.recipes.losses.registry import register
from exitsearch.learn.recipes.losses.terms import check_option, exit_losses, soft_divergence, teacher_logits
from exitsearch.learn.recipes.outputs import ExitOutputs


@register(
    "distill",
    formula="sum of (1 - a) CE_k + a KD_k over the chosen exits, + CE_final + a KD_final; KD = T^2 KL / batch",
    source="Distillation-Based Training for Multi-Exit Architectures (ICCV 2019); KD of arXiv 1503.02531",
)
def distill(
    outputs: ExitOutputs,
    targets: Tensor,
    teacher: Tensor | None,
    step: int,
    *,
    share: float = 0.5,
    temperature: float = 2.0,
) -> dict[str, Tensor]:
    """sum_k ((1 - a) CE_k + a KD_k) + CE_final + a KD_final, with KD = T^2 KL(teacher_T || exit_T) / batch.

    Where the teacher is the model's own final exit, KD_final is 0 and so is its gradient: the final exit then learns
    from the labels alone, and the exits from both. Gradients never reach the teacher. For a regression CE is the
    absolute error to the targets and KD the absolute error to the teacher's answers. Sources: Phuong and Lampert,
    Distillation-Based Training for Multi-Exit Architectures (ICCV 2019), for exits that learn from the final one;
    Distilling the Knowledge in a Neural Network (2015) for KD.

    Args:
        outputs: of the model.
        targets: class indices [batch], shares of classes [batch, classes], or regression targets.
        teacher: logits [batch, num_outputs]; None takes the model's own final exit.
        step: not looked at.
        share: a, of what an exit learns from the teacher, 0 to 1.
        temperature: T, above 0.

    Returns:
        `labels` and `teacher`, the two sums.

    Raises:
        InputError: an option out of its range, or a teacher with another number of outputs.
    """
    check_option(share, 0 <= share <= 1, loss="distill", rule="share is a number from 0 to 1")
    check_option(temperature, temperature > 0, loss="distill", rule="a temperature is a finite number above 0")
    answers = teacher_logits(outputs, teacher)
    *early, last = exit_losses(outputs, targets)
    taught = [_from_teacher(outputs, logits, answers, temperature) for logits in outputs.logits]
    return {
        "labels": (1 - share) * sum(early, last.new_zeros(())) + last,
        "teacher": share * sum(taught[1:], taught[0]),
    }


def _from_teacher(outputs: ExitOutputs, logits: Tensor, answers: Tensor, temperature: float) -> Tensor:
    if outputs.facts.task == "regression":
        return task_loss(logits, answers, task="regression")
    return soft_divergence(logits, answers, temperature=temperature) / len(logits)
