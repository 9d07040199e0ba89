"""lgvit: LGViT's second stage, the heads learn from labels, from the final exit, and from one another's features."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from exitsearch.learn.losses import task_loss
from exitsearch.learn.recipes.losses.registry import register
from exitsearch.learn.recipes.losses.terms import check_option, exit_losses, soft_divergence, teacher_logits
from exitsearch.learn.recipes.outputs import ExitFacts, ExitOutputs
from exitsearch.models.features import to_map

LOCAL = "lph"
GLOBAL = "gah"


@register(
    "lgvit",
    formula="sum of 0.7 CE_k + 0.3 KD_k over the chosen exits + 0.01 heterogeneous + 0.01 homogeneous terms",
    source="LGViT (2023, arXiv 2308.00255), stage 2",
    needs=("bodies", "final_tokens"),
)
def lgvit(
    outputs: ExitOutputs,
    targets: Tensor,
    teacher: Tensor | None,
    step: int,
    *,
    share: float = 0.3,
    temperature: float = 2.0,
    heterogeneous: float = 0.01,
    homogeneous: float = 0.01,
) -> dict[str, Tensor]:
    """sum_k (0.7 CE_k + 0.3 KD_k) + 0.01 sum of heterogeneous + 0.01 sum of homogeneous terms over the chosen exits.

    KD_k = T^2 KL(teacher_T || exit_T), summed and divided by batch x classes, as in the authors' code. Heterogeneous:
    KL over channels, per input, of the final patch tokens from the body of the first and last `lph` and the first and
    last `gah`; for a `gah` the final tokens are thinned by its stride. Homogeneous: mean squared difference of each
    `lph` body from the last one's, and of the Gram matrices (channels x channels) of each `gah` body from the last
    one's. Neither side of these is detached. The final exit has no term.

    Bodies are compared where they have one size: in a Swin those of one stage with one another, and with the final
    tokens those of the last stage. Heads of other types have labels and teacher alone; without any `lph` or `gah` that
    is all that there is. For a regression CE is the absolute error and KD that to the teacher's answers. Source: LGViT
    (2023, arXiv 2308.00255) and the authors' code.

    Args:
        outputs: of the model, with bodies and final tokens.
        targets: class indices [batch], shares of classes [batch, classes], or regression targets.
        teacher: logits [batch, num_outputs]; None takes the model's own final exit.
        step: not looked at.
        share: of KD, 0 to 1; CE has the rest.
        temperature: T, above 0.
        heterogeneous: weight, 0 or more.
        homogeneous: weight, 0 or more.

    Returns:
        `labels`, `teacher`, and where there are such terms `heterogeneous` and `homogeneous`.

    Raises:
        InputError: an option out of its range, or a teacher with another number of outputs.
    """
    check_option(share, 0 <= share <= 1, loss="lgvit", rule="share is a number from 0 to 1")
    check_option(temperature, temperature > 0, loss="lgvit", rule="a temperature is a finite number above 0")
    for weight in (heterogeneous, homogeneous):
        check_option(weight, weight >= 0, loss="lgvit", rule="a weight is a finite number from 0")
    answers = teacher_logits(outputs, teacher)
    nothing = outputs.logits[-1].new_zeros(())
    taught = [_from_teacher(outputs, logits, answers, temperature) for logits in outputs.logits[:-1]]
    terms = {
        "labels": (1 - share) * sum(exit_losses(outputs, targets)[:-1], nothing),
        "teacher": share * sum(taught, nothing),
    }
    if across := heterogeneous_terms(outputs):
        terms["heterogeneous"] = heterogeneous * sum(across, nothing)
    if within := homogeneous_terms(outputs):
        terms["homogeneous"] = homogeneous * sum(within, nothing)
    return terms


def heterogeneous_terms(outputs: ExitOutputs) -> list[Tensor]:
    """KL over channels of the first and last body of each kind against the final tokens, as far as sizes agree."""
    facts, tokens = outputs.facts, outputs.final_tokens
    assert tokens is not None
    assert len(outputs.bodies) == len(facts.heads)
    found = []
    for kind in (LOCAL, GLOBAL):
        of_kind = [exit_ for exit_, head in enumerate(facts.heads) if head == kind]
        # A kind with one exit alone has one term: its first is its last.
        for exit_ in dict.fromkeys([*of_kind[:1], *of_kind[-1:]]):
            body = outputs.bodies[exit_]
            if body is None:
                continue
            target = _thinned(tokens, facts, exit_)
            if body.shape == target.shape:
                mine, final = F.log_softmax(body, dim=-1), F.log_softmax(target, dim=-1)
                found.append(F.kl_div(mine, final, reduction="batchmean", log_target=True))
    return found


def homogeneous_terms(outputs: ExitOutputs) -> list[Tensor]:
    """Mean squared difference of each body from the last of its kind and size; of Gram matrices for `gah`."""
    rows: dict[object, list[Tensor]] = {}
    for head, body in zip(outputs.facts.heads, outputs.bodies, strict=True):
        if head in (LOCAL, GLOBAL) and body is not None:
            compared = body if head == LOCAL else body.transpose(1, 2) @ body  # [batch, channels, channels]
            rows.setdefault((head, compared.shape), []).append(compared)
    return [F.mse_loss(one, row[-1]) for row in rows.values() for one in row[:-1]]


def _thinned(tokens: Tensor, facts: ExitFacts, exit_: int) -> Tensor:
    """Every `stride`-th of the final tokens [batch, tokens, channels] in both directions of their grid."""
    stride = facts.strides[exit_]
    if stride == 1:
        return tokens
    return to_map(tokens, facts.grid)[:, :, ::stride, ::stride].flatten(2).transpose(1, 2)


def _from_teacher(outputs: ExitOutputs, logits: Tensor, answers: Tensor, temperature: float) -> Tensor:
    if outputs.facts.task == "regression":
        return task_loss(logits, answers, task="regression")
    # By batch x classes, as the authors' code does, not by batch alone.
    return soft_divergence(logits, answers, temperature=temperature) / logits.numel()
