"""HeadTrainer: many exit heads over one frozen backbone, each as if it were trained alone.

One pass of the backbone per batch feeds every head. Placement by placement the heads' losses are summed, one backward
pass follows, and the memory is free again before the backbone goes on. No head sees the others: the gradient of a sum
splits, Adam works element by element, and each head's dropout is drawn from a seed of its own. So a head trained alone
ends as it ends among a hundred others, and one whose loss is no longer finite is dropped without a trace in theirs.

Heads need not stand at the same step, where some come from a checkpoint and others are new: those that are further wait
until the others have caught up.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from exitsearch.learn.augment import augment
from exitsearch.learn.bank.denormals import denormals_flushed
from exitsearch.learn.bank.recipe import HeadRecipe
from exitsearch.learn.bank.trainee import FINAL as FINAL
from exitsearch.learn.bank.trainee import NotFiniteError, head_key, split_key
from exitsearch.learn.bank.trainee import Trainee as Trainee
from exitsearch.learn.data import Split, batches, in_order
from exitsearch.learn.data.tiles import picture_labels, sum_batch, whole_batches
from exitsearch.learn.losses import decay_penalty, task_loss
from exitsearch.learn.targets import TargetScale, can_answer_in
from exitsearch.models.backbone import Backbone, State
from exitsearch.models.inputs import Batch, run_head, side_inputs
from exitsearch.models.multi_exit import final_parameters

# No gradients, so several training batches fit where one did.
_EVALUATION_BATCHES = 4


@dataclass
class HeadTrainer:
    """Trains heads at their placements, and the final classifier where the backbone's is new.

    Attributes:
        backbone: frozen and in eval mode throughout; only a new final classifier learns.
        heads: module of every (placement, head text) but those that are dropped.
        recipe: how.
        seed: of dropout.
        device: where it all runs.
        scale: of regression targets, where heads are to learn on standardised ones; None for classification, and for
            heads that have been trained and only answer.
        train_final: whether a new final classifier learns along; False where it has learnt already, or does elsewhere.
        on_drop: called with each head that is dropped.
    """

    backbone: Backbone
    heads: dict[tuple[int, str], nn.Module]
    recipe: HeadRecipe
    seed: int
    device: torch.device
    scale: TargetScale | None = None
    train_final: bool = True
    on_drop: Callable[[Trainee], None] | None = None
    trainees: list[Trainee] = field(init=False)
    optimizer: torch.optim.Adam | None = field(init=False)

    def __post_init__(self) -> None:
        last = len(self.backbone.placements) - 1
        self.heads = dict(self.heads)
        self.backbone.to(self.device).eval().requires_grad_(False)
        self.trainees = [
            Trainee(head_key(placement, head), placement, module.to(self.device), _reader(module))
            for (placement, head), module in sorted(self.heads.items(), key=lambda item: item[0])
        ]
        learns = self.train_final and not self.backbone.final_is_trained
        final = final_parameters(self.backbone) if learns else {}
        if final:
            for parameter in final.values():
                parameter.requires_grad_(True)
            layers = nn.ModuleList(self.backbone.final_classifier())
            self.trainees.append(Trainee(FINAL, last, layers, lambda state, side: self.backbone.final(state)))
        for trainee in self.trainees if self.scale is not None else ():
            if can_answer_in(trainee.module):
                trainee.scale = self.scale
        groups = [
            {"params": [p for p in trainee.module.parameters() if p.requires_grad], "trainee": number}
            for number, trainee in enumerate(self.trainees)
        ]
        # The fused kernel walks through each tensor once: a few times faster over thousands of small ones.
        fused = self.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.Adam(groups, lr=self.recipe.learning_rate, fused=fused) if groups else None

    @property
    def learning(self) -> list[Trainee]:
        """Those that neither early stopping nor a loss that is not finite has ended."""
        return [trainee for trainee in self.trainees if not trainee.stopped and trainee.dropped is None]

    @denormals_flushed()
    def train_epoch(
        self,
        split: Split,
        *,
        epoch: int,
        order: list[list[int]],
        after_step: Callable[[int], None] | None = None,
    ) -> float:
        """Train every head for one pass over a split, or for what is left of it.

        A head whose loss is not finite is dropped: it learns no more, and the others do as if it had not been there.

        Args:
            split: the training split.
            epoch: from 0; seeds dropout.
            order: sample numbers by batch; of all epochs as many batches.
            after_step: called with the number of finished steps of this epoch.

        Returns:
            Mean loss over heads and steps, those that are not finite left out; NaN where there were none.

        Raises:
            NotFiniteError: the loss of the final classifier, without which there are no outcomes.
        """
        behind = epoch * len(order)
        learning = [trainee for trainee in self.learning if trainee.steps < behind + len(order)]
        first = max(min((trainee.steps for trainee in learning), default=behind) - behind, 0)
        means: list[float] = []
        for trainee in learning:
            trainee.module.train()
        try:
            for step, (images, labels) in enumerate(batches(split, order=order[first:]), first):
                left = [trainee for trainee in learning if trainee.dropped is None]
                # Those that were further when this run began wait for the others.
                here = [trainee for trainee in left if trainee.steps <= behind + step]
                if not left:
                    break
                if not here:
                    continue
                self._set_rates((epoch + step / len(order)) / self.recipe.epochs)
                losses = self._step(images.to(self.device), labels.to(self.device), here, epoch, step)
                for trainee, loss in zip(here, losses, strict=True):
                    trainee.steps = behind + step + 1
                    if not np.isfinite(loss):
                        self.drop(trainee, f"its loss became {loss} in epoch {epoch + 1}, step {step + 1}")
                if finite := [loss for loss in losses if np.isfinite(loss)]:
                    means.append(float(np.mean(finite)))
                if after_step is not None:
                    after_step(step + 1)
        finally:
            for trainee in learning:
                trainee.module.eval()
        return float(np.mean(means)) if means else float("nan")

    def drop(self, trainee: Trainee, reason: str) -> None:
        """End a head's training without a result.

        Args:
            reason: a clause, as `its loss became nan in epoch 1, step 1`.

        Raises:
            NotFiniteError: it is the final classifier.
        """
        if trainee.key == FINAL:
            raise NotFiniteError(
                f"the final classifier cannot be trained: {reason}; train with a lower learning rate", key=FINAL
            )
        trainee.dropped = reason
        del self.heads[split_key(trainee.key)]
        if self.on_drop is not None:
            self.on_drop(trainee)

    def _set_rates(self, done: float) -> None:
        """Give each one its learning rate when a share `done` (0..1) of all steps is behind."""
        assert self.optimizer is not None
        rate = self.recipe.rate(done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * self.trainees[group["trainee"]].factor

    def _step(self, images: Batch, labels: Tensor, learning: list[Trainee], epoch: int, step: int) -> list[float]:
        """One batch through backbone and heads, and one step of Adam; returns each head's loss."""
        assert self.optimizer is not None
        self.optimizer.zero_grad(set_to_none=True)
        losses: list[Tensor] = []
        images = augment(images, self.recipe.augment, seed=self.seed, epoch=epoch, step=step)
        side = side_inputs(images)
        standard = labels if self.scale is None else self.scale.standardise(labels)
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            for here, state in self._states(images, learning):
                objective = torch.zeros((), device=self.device)
                for trainee in here:
                    self._seed_dropout(zlib.crc32(f"{self.seed}/{trainee.key}/{epoch}/{step}".encode()))
                    targets = labels if trainee.scale is None else standard
                    loss = task_loss(trainee.run(state, side), targets, task=self.backbone.facts.task)
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

    def _seed_dropout(self, seed: int) -> None:
        # Not torch.manual_seed: for each kind of device that is not in use it writes down the whole stack of calls,
        # which once a head and step takes as long as a small head.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):
                torch.cuda.manual_seed(seed)

    def _states(self, images: Batch, wanted: list[Trainee]) -> Iterator[tuple[list[Trainee], State]]:
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
        return trained[0].answer(state, {}) if trained else self.backbone.final(state)

    @torch.inference_mode()
    def stream_answers(
        self, split: Split, *, keys: Iterable[str] | None = None, rows: Sequence[int] | None = None
    ) -> Iterator[tuple[slice, str, Tensor]]:
        """Yield what heads and the final exit answer on a split, block by block, in eval mode and the backbone's dtype.

        One pass of the backbone feeds all of them, and no more than one head's answers to one block are held. Where
        samples are tiles of pictures, answers are of pictures.

        Args:
            split: the samples.
            keys: which heads; None takes all that are not dropped, and the final exit.
            rows: which samples, in order, where all are whole; None takes all.

        Yields:
            Numbers of the samples (or pictures), counted within `rows`; the key; raw outputs [block, num_outputs] in
            float32 on the CPU.
        """
        standing = {trainee.key for trainee in self.trainees if trainee.dropped is None} | {FINAL}
        wanted = standing if keys is None else set(keys)
        if not wanted:
            return
        readers = [trainee for trainee in self.trainees if trainee.key in wanted - {FINAL}]
        last = max((trainee.placement for trainee in readers), default=-1)
        dtype = next(self.backbone.parameters()).dtype
        for trainee in self.trainees:
            # Heads that were restored and trained no further are still as they were made, in training mode.
            trainee.module.eval()
        size = _EVALUATION_BATCHES * self.recipe.batch_size
        order = whole_batches(split, size)
        if rows is not None:
            assert split.groups is None, "only whole samples are chosen from"
            order = [[rows[number] for number in batch] for batch in in_order(len(rows), size)]
        start = 0
        for batch, (images, _) in zip(order, batches(split, order=order), strict=True):

            def told(answers: Tensor, batch: list[int] = batch, start: int = start) -> tuple[slice, Tensor]:
                summed = sum_batch(answers.float().cpu(), split, batch)
                return slice(start, start + len(summed)), summed

            state: State = ()
            block = slice(start, start)
            here = images.to(self.device, dtype)
            side = side_inputs(here)
            for placement, state in enumerate(self.backbone.states(here)):
                for trainee in readers:
                    if trainee.placement == placement:
                        block, answers = told(trainee.answer(state, side))
                        yield block, trainee.key, answers
                if placement == last and FINAL not in wanted:
                    break
            if FINAL in wanted:
                block, answers = told(self._final(state))
                yield block, FINAL, answers
            start = block.stop

    @denormals_flushed()
    def losses(self, split: Split) -> dict[str, float]:
        """Mean loss on a split of every trainee that learns, in eval mode; of pictures where samples are tiles."""
        sums = dict.fromkeys((trainee.key for trainee in self.learning), 0.0)
        labels = picture_labels(split)
        for block, key, outputs in self.stream_answers(split, keys=sums):
            loss = task_loss(outputs, labels[block], task=self.backbone.facts.task)
            sums[key] += float(loss) * len(outputs)
        return {key: total / len(labels) for key, total in sums.items()}


def _reader(head: nn.Module) -> Callable[[State, Mapping[str, Tensor]], Tensor]:
    return lambda state, side: run_head(head, state[0], side)
