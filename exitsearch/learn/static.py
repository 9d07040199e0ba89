"""train_static: an ordinary model trained by a plain supervised loop, to stand beside a multi-exit one.

AdamW with a linear warm-up over the first 5% of the steps and a cosine to 0 after it, weight decay 0.05, gradients
clipped at norm 1: what most papers of today train a small model with. The rate is 1e-3 where weights are drawn at
random and 1e-4 where they were trained before. Nothing is selected by the choice split: what stands at the end counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from exitsearch.errors import ExitSearchError, InputError
from exitsearch.learn.augment import augment
from exitsearch.learn.bank.denormals import denormals_flushed
from exitsearch.learn.bank.recipe import get_head_recipe
from exitsearch.learn.bank.trainer import HeadTrainer
from exitsearch.learn.data import DataSplits, batches, check_data, shuffled
from exitsearch.learn.losses import task_loss
from exitsearch.learn.scored import scored
from exitsearch.learn.targets import TargetScale, can_answer_in, fold, start_at_centre
from exitsearch.models.backbone import Backbone

FRESH_RATE, TRAINED_RATE = 1e-3, 1e-4
_WARM_UP, _DECAY, _CLIP = 0.05, 0.05, 1.0

# (share that is done, words)
Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True)
class StaticTraining:
    """How a static model is trained.

    Attributes:
        epochs: passes over the training split, from 1.
        batch_size: inputs of a step, from 2: a batch norm cannot learn from one.
        learning_rate: at its peak, above 0; None takes the one that suits its weights.
        augment: names of changes of training inputs.
        seed: of order and changes.
    """

    epochs: int
    batch_size: int = 64
    learning_rate: float | None = None
    augment: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        rate = self.learning_rate
        if self.epochs < 1 or self.batch_size < 2 or not (rate is None or 0 < rate < math.inf):
            raise InputError(
                "a static model is trained for at least 1 epoch, with at least 2 inputs a step and a learning rate "
                f"above 0, found {self.epochs}, {self.batch_size} and {rate}; "
                "give numbers in these ranges"
            )

    def rate(self, step: int, steps: int, *, weights: str) -> float:
        """Learning rate of a step, from 0, of so many.

        Args:
            weights: where those of the model come from.
        """
        peak = self.learning_rate or (FRESH_RATE if weights.startswith("random") else TRAINED_RATE)
        warm_up = max(1, round(_WARM_UP * steps))
        if step < warm_up:
            return peak * (step + 1) / warm_up
        return peak * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))) / 2


@denormals_flushed()
def train_static(
    backbone: Backbone,
    data: DataSplits,
    *,
    training: StaticTraining,
    progress: Progress | None = None,
) -> None:
    """Train a whole model where it is; in eval mode at the end, answering in the targets' own unit.

    Args:
        backbone: whose weights are trained, all of them.
        data: made by `load_data` for it.
        training: how.
        progress: called after every step with the share that is done and words.

    Raises:
        UnsupportedError: the data are of another task or number of outputs.
        ExitSearchError: a loss that is not finite.
    """
    check_data(backbone, data)
    device = next(backbone.parameters()).device
    # Without a bias it cannot be brought back into the targets' own unit.
    classifier = nn.ModuleList(backbone.final_classifier())
    scale = TargetScale.for_task(data.heads.labels, task=data.task) if can_answer_in(classifier) else None
    if scale is not None:
        start_at_centre(classifier)
    optimizer = torch.optim.AdamW(backbone.requires_grad_(True).parameters(), lr=1.0, weight_decay=_DECAY)
    orders = [
        shuffled(len(data.heads), training.batch_size, seed=training.seed, epoch=epoch)
        for epoch in range(training.epochs)
    ]
    steps, step = sum(map(len, orders)), 0
    backbone.train()
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(training.seed)
        for epoch, order in enumerate(orders):
            for number, (images, labels) in enumerate(batches(data.heads, order=order, device=device)):
                for group in optimizer.param_groups:
                    group["lr"] = training.rate(step, steps, weights=backbone.weights)
                images = augment(images, training.augment, seed=training.seed, epoch=epoch, step=number)
                targets = labels if scale is None else scale.standardise(labels)
                optimizer.zero_grad(set_to_none=True)
                loss = task_loss(backbone(images), targets, task=data.task)
                if not bool(loss.isfinite()):
                    raise ExitSearchError(
                        f"the loss of {backbone.facts.name} became {float(loss.detach())} in epoch {epoch + 1}; train "
                        "it with a lower learning rate"
                    )
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(backbone.parameters(), _CLIP)
                optimizer.step()
                step += 1
                if progress is not None:
                    progress(step / steps, f"epoch {epoch + 1} of {training.epochs}")
    backbone.eval()
    backbone.final_is_trained = True
    if scale is not None:
        fold(classifier, scale)


def static_scores(backbone: Backbone, data: DataSplits) -> dict[str, float]:
    """The metric of a model on `choice` and `report`, as exits are scored.

    Raises:
        ExitSearchError: an answer that is not finite.
    """
    device = next(backbone.parameters()).device
    learn = [(parameter, parameter.requires_grad) for parameter in backbone.parameters()]
    try:
        # The recipe only says how many samples answer at once.
        trainer = HeadTrainer(backbone, {}, get_head_recipe("frozen"), seed=0, device=device, train_final=False)
        return dict(scored(trainer, data).final.scores)
    finally:
        for parameter, needed in learn:
            parameter.requires_grad_(needed)
