"""copycat: the exits take the backbone's answers for labels; true labels are not needed."""

from __future__ import annotations

from torch import Tensor

from exitsearch.learn.losses import task_loss
from exitsearch.learn.recipes.losses.registry import register
from exitsearch.learn.recipes.losses.terms import teacher_logits
from exitsearch.learn.recipes.outputs import ExitOutputs


@register(
    "copycat",
    formula="sum of CE_k(the teacher's answer) over the chosen exits; labels are not looked at",
    source="in the spirit of Single-Layer Vision Transformers (arXiv 2105.09121), their copycat fine-tuning",
)
def copycat(outputs: ExitOutputs, targets: Tensor, teacher: Tensor | None, step: int) -> dict[str, Tensor]:
    """sum_k CE_k with the teacher's most likely class as the label; the final exit is not trained.

    For a regression the absolute error to the teacher's answers. Since no label is looked at, unlabelled inputs serve
    as well. Source: Single-Layer Vision Transformers for More Accurate Early Exits with Less Overhead (arXiv
    2105.09121), whose exits are fine-tuned on the backbone's own answers.

    Args:
        outputs: of the model.
        targets: not looked at; whatever stands there.
        teacher: logits [batch, num_outputs]; None takes the model's own final exit.
        step: not looked at.

    Raises:
        InputError: a teacher with another number of outputs.
    """
    facts = outputs.facts
    answers = teacher_logits(outputs, teacher)
    labels = answers if facts.task == "regression" else answers.argmax(1)
    return {
        name: task_loss(logits, labels, task=facts.task)
        for name, logits in zip(facts.exits[:-1], outputs.logits[:-1], strict=True)
    }
