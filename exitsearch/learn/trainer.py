"""HeadTrainer: many exit heads over one frozen backbone, each as if it were trained alone.

One pass of the backbone per batch feeds every head. Placement by placement the heads' losses are summed, one backward
pass follows, and the memory is free again before the backbone goes on. No head sees the others: the gradient of a sum
splits, Adam works element by element, and each head's dropout is drawn from a seed of its own. So a head trained alone
ends as it ends among a hundred others.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from exitsearch.errors import ExitSearchError
from exitsearch.learn.augment import augment
from exitsearch.learn.data import Split, batches
from exitsearch.learn.data.tiles import picture_count, picture_labels, sum_batch, whole_batches
from exitsearch.learn.losses import decay_penalty, task_loss
from exitsearch.learn.recipes import Recipe
from exitsearch.learn.targets import TargetScale, can_answer_in, fold, start_at_centre
from exitsearch.models.backbone import Backbone, State
from exitsearch.models.multi_exit import final_parameters

FINAL = "final"

# No gradients, so several training batches fit where one did.
_EVALUATION_BATCHES = 4


@dataclass
class Trainee:
    """One head in training, or the backbone's final classifier.

    Attributes:
        key: `<placement>/<head>`, or `final`.
        placement: whose features it reads; for `final` the last placement.
        module: the head, or the final classifier's layers.
        run: from the state at its placement to outputs [batch, num_outputs].
        scale: of the regression targets that it learns on, until its answers are brought into the targets' own unit;
            None: it learns on, and answers in, the targets as they are.
        factor: of the learning rate, lowered on a plateau.
        best: lowest loss on the choice split so far; None before the first look.
        waited: epochs since `best`.
        waited_for_rate: epochs since `best` or since the rate was last lowered.
        stopped: whether early stopping ended its training.
    """

    key: str
    placement: int
    module: nn.Module
    run: Callable[[State], Tensor]
    scale: TargetScale | None = None
    factor: float = 1.0
    best: float | None = None
    waited: int = 0
    waited_for_rate: int = 0
    stopped: bool = False

    @property
    def words(self) -> str:
        """For messages: `vit_ee at placement 3`."""
        placement, _, head = self.key.partition("/")
        return f"{head} at placement {placement}" if head else "the final classifier"

    def answer(self, state: State) -> Tensor:
        """Outputs [batch, num_outputs] in the targets' own unit, however far it has learnt."""
        outputs = self.run(state)
        return outputs if self.scale is None else self.scale.restore(outputs)

    def finish(self) -> None:
        """Bring its weights into the targets' own unit, once, before they are written; it learns no more."""
        if self.scale is not None:
            fold(self.module, self.scale)
            self.scale = None

    def learn_from(self, loss: float, recipe: Recipe) -> None:
        """Lower the rate, or stop, by the loss on the choice split after an epoch."""
        if self.best is None or loss < self.best:
            self.best, self.waited, self.waited_for_rate = loss, 0, 0
            return
        self.waited += 1
        self.waited_for_rate += 1
        if self.waited_for_rate >= recipe.plateau_patience:
            self.factor, self.waited_for_rate = self.factor * recipe.plateau_factor, 0
        self.stopped = recipe.stop_patience is not None and self.waited >= recipe.stop_patience

    _PROGRESS = ("factor", "best", "waited", "waited_for_rate", "stopped")

    @property
    def progress(self) -> dict[str, Any]:
        """What a checkpoint keeps beside weights and moments."""
        return {name: getattr(self, name) for name in self._PROGRESS}

    def restore(self, progress: dict[str, Any]) -> None:
        """Take over `progress` of an earlier run."""
        for name in self._PROGRESS:
            setattr(self, name, progress[name])


@dataclass
class HeadTrainer:
    """Trains heads at their placements, and the final classifier where the backbone's is new.

    Attributes:
        backbone: frozen and in eval mode throughout; only a new final classifier learns.
        heads: module of every (placement, head text).
        recipe: how.
        seed: of dropout.
        device: where it all runs.
        scale: of regression targets, where heads are to learn on standardised ones; None for classification, and for
            heads that have been trained and only answer.
    """

    backbone: Backbone
    heads: dict[tuple[int, str], nn.Module]
    recipe: Recipe
    seed: int
    device: torch.device
    scale: TargetScale | None = None
    trainees: list[Trainee] = field(init=False)
    optimizer: torch.optim.Adam | None = field(init=False)

    def __post_init__(self) -> None:
        last = len(self.backbone.placements) - 1
        self.backbone.to(self.device).eval().requires_grad_(False)
        self.trainees = [
            Trainee(f"{placement}/{head}", placement, module.to(self.device), _reader(module))
            for (placement, head), module in sorted(self.heads.items(), key=lambda item: item[0])
        ]
        final = {} if self.backbone.final_is_trained else final_parameters(self.backbone)
        if final:
            for parameter in final.values():
                parameter.requires_grad_(True)
            layers = nn.ModuleList(self.backbone.final_classifier())
            self.trainees.append(Trainee(FINAL, last, layers, self.backbone.final))
        for trainee in self.trainees if self.scale is not None else ():
            if can_answer_in(trainee.module):
                trainee.scale = self.scale
                start_at_centre(trainee.module)
        groups = [
            {"params": [p for p in trainee.module.parameters() if p.requires_grad], "trainee": number}
            for number, trainee in enumerate(self.trainees)
        ]
        # The fused kernel walks through each tensor once: a few times faster over thousands of small ones.
        fused = self.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.Adam(groups, lr=self.recipe.learning_rate, fused=fused) if groups else None

    @property
    def learning(self) -> list[Trainee]:
        """Those that early stopping has not ended."""
        return [trainee for trainee in self.trainees if not trainee.stopped]

    def train_epoch(
        self, split: Split, *, epoch: int, order: list[list[int]], after_step: Callable[[int], None] | None = None
    ) -> float:
        """Train every head for one pass over a split.

        Args:
            split: the training split.
            epoch: from 0; seeds dropout.
            order: sample numbers by batch.
            after_step: called with the number of finished steps of this epoch.

        Returns:
            Mean loss over heads and steps.

        Raises:
            ExitSearchError: when a loss is not finite; names the head.
        """
        assert self.optimizer is not None
        learning, total = self.learning, 0.0
        for trainee in learning:
            trainee.module.train()
        try:
            for step, (images, labels) in enumerate(batches(split, order=order)):
                done = (epoch + step / len(order)) / self.recipe.epochs
                for group in self.optimizer.param_groups:
                    group["lr"] = self.recipe.rate(done) * self.trainees[group["trainee"]].factor
                losses = self._step(images.to(self.device), labels.to(self.device), learning, epoch, step)
                for trainee, loss in zip(learning, losses, strict=True):
                    if not np.isfinite(loss):
                        raise ExitSearchError(
                            f"the loss of {trainee.words} became {loss} in epoch {epoch + 1}, step {step + 1}; train "
                            "it with a lower learning rate, or leave it out with --heads"
                        )
                total += float(np.mean(losses))
                if after_step is not None:
                    after_step(step + 1)
        finally:
            for trainee in learning:
                trainee.module.eval()
        return total / len(order)

    def _step(self, images: Tensor, labels: Tensor, learning: list[Trainee], epoch: int, step: int) -> list[float]:
        """One batch through backbone and heads, and one step of Adam; returns each head's loss."""
        assert self.optimizer is not None
        self.optimizer.zero_grad(set_to_none=True)
        losses: list[Tensor] = []
        images = augment(images, self.recipe.augment, seed=self.seed, epoch=epoch, step=step)
        standard = labels if self.scale is None else self.scale.standardise(labels)
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            for here, state in self._states(images, learning):
                objective = torch.zeros((), device=self.device)
                for trainee in here:
                    torch.manual_seed(zlib.crc32(f"{self.seed}/{trainee.key}/{epoch}/{step}".encode()))
                    targets = labels if trainee.scale is None else standard
                    loss = task_loss(trainee.run(state), targets, task=self.backbone.facts.task)
                    losses.append(loss.detach())
                    objective = objective + loss
                    penalty = decay_penalty(trainee.module) if self.recipe.weight_decay else None
                    if penalty is not None:
                        objective = objective + self.recipe.weight_decay * penalty
                objective.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        # One transfer from the device a step, not one a head.
        found: list[float] = torch.stack(losses).tolist()
        return found

    def _states(self, images: Tensor, wanted: list[Trainee]) -> Iterator[tuple[list[Trainee], State]]:
        """Yield who reads at a placement with the backbone's state there, and stop after the last one who reads."""
        left = len(wanted)
        states = self.backbone.states(images)
        for placement in range(len(self.backbone.placements)):
            if not left:
                return
            # Only around the backbone: a no_grad held open across a yield would reach into the caller's heads.
            with torch.no_grad():
                state = next(states)
            here = [trainee for trainee in wanted if trainee.placement == placement]
            left -= len(here)
            if here:
                yield here, state

    def finish(self) -> None:
        """Bring every head's weights into the targets' own unit, before they are written."""
        for trainee in self.trainees:
            trainee.finish()

    def _final(self, state: State) -> Tensor:
        """What the final exit answers, from the last state."""
        trained = [trainee for trainee in self.trainees if trainee.key == FINAL]
        return trained[0].answer(state) if trained else self.backbone.final(state)

    @torch.inference_mode()
    def answers(self, split: Split) -> tuple[dict[str, Tensor], Tensor]:
        """What every head and the final exit answer on a split, in eval mode and in the backbone's dtype.

        Returns:
            Raw outputs [samples, num_outputs] in float32 on the CPU by key, `final` always among them; and the labels.
            Where samples are tiles of pictures, both are of pictures.

        Raises:
            ExitSearchError: when an output is not finite; names the head.
        """
        readers = {trainee.key: trainee for trainee in self.trainees if trainee.key != FINAL}
        shape = (picture_count(split), self.backbone.num_outputs)
        outputs = {key: torch.empty(shape) for key in [*readers, FINAL]}
        dtype, start = next(self.backbone.parameters()).dtype, 0
        for trainee in self.trainees:
            # Heads that were restored and trained no further are still as they were made, in training mode.
            trainee.module.eval()
        order = whole_batches(split, _EVALUATION_BATCHES * self.recipe.batch_size)
        for batch, (images, _) in zip(order, batches(split, order=order), strict=True):
            state: State = ()
            for placement, state in enumerate(self.backbone.states(images.to(self.device, dtype))):
                for key, trainee in readers.items():
                    if trainee.placement == placement:
                        answers = sum_batch(trainee.answer(state).float().cpu(), split, batch)
                        outputs[key][start : start + len(answers)] = answers
            answers = sum_batch(self._final(state).float().cpu(), split, batch)
            outputs[FINAL][start : start + len(answers)] = answers
            start += len(answers)
        for key, found in outputs.items():
            if not bool(found.isfinite().all()):
                words = readers[key].words if key in readers else "the final exit"
                raise ExitSearchError(
                    f"{words} answers with numbers that are not finite; train it again or leave it out"
                )
        return outputs, picture_labels(split)


def _reader(head: nn.Module) -> Callable[[State], Tensor]:
    def run(state: State) -> Tensor:
        outputs: Tensor = head(state[0])
        return outputs

    return run
