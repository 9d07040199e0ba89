"""Estimate: what a training will take, from a few real steps over real data; writes nothing."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from exitsearch.learn.bank.recipe import HeadRecipe
from exitsearch.learn.bank.trainer import FINAL, HeadTrainer
from exitsearch.learn.data import SPLITS, DataSplits, Split, batches, check_data, in_order, shuffled
from exitsearch.learn.data.splits import HeldSplit
from exitsearch.learn.memory import peak_bytes, watch_peak
from exitsearch.models.backbone import Backbone
from exitsearch.models.heads import create_head
from exitsearch.models.inputs import Batch, joined_inputs, side_inputs
from exitsearch.models.multi_exit import exit_seed
from exitsearch.specs.head import HeadChoice
from exitsearch.specs.question.candidates import Pair

# Steps that are timed; the median counts. One goes before them: the first allocates what all others use again.
STEPS = 3
# Batches that are read to know how fast they come, for each process that reads, and the most seconds for it.
_BATCHES_EACH = 4
_MOST_SECONDS = 30.0
# Kept of an answer: a class and four numbers (`specs/outcomes.py`); of a regression the outputs.
_ANSWER_BYTES = 18


@dataclass(frozen=True)
class Estimate:
    """What a training will take.

    Attributes:
        heads: how many are trained.
        placements: how many of them have a head.
        parameters: that are trained, those of a new final classifier among them.
        outputs: of every head.
        samples: by split.
        epochs: most passes over `heads`.
        batch_size: inputs of a step.
        looks: whether the `choice` split is answered after each epoch.
        step_seconds: of one step over a batch that is there.
        loading_seconds: from one batch to the next when nothing but reading goes on.
        answer_seconds: for one sample to be answered by all heads.
        workers: processes that read, beside the one that trains.
        overlaps: whether they read while it trains.
        backbone_bytes: weights of the backbone.
        weight_bytes: weights of the heads.
        other_bytes: what else was held at the peak of a step: activations, batches, buffers of libraries; None where
            the system does not tell.
    """

    heads: int
    placements: int
    parameters: int
    outputs: int
    samples: dict[str, int]
    epochs: int
    batch_size: int
    looks: bool
    step_seconds: float
    loading_seconds: float
    answer_seconds: float
    workers: int
    overlaps: bool
    backbone_bytes: int
    weight_bytes: int
    other_bytes: int | None

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return -(-self.samples["heads"] // self.batch_size)

    @property
    def epoch_seconds(self) -> float:
        """Of one pass over `heads`, and over `choice` where the recipe looks at it."""
        together = max if self.overlaps else sum
        found = self.steps * together((self.step_seconds, self.loading_seconds))
        return found + (self._answers("choice") if self.looks else 0.0)

    @property
    def answers_seconds(self) -> float:
        """Of answering both held-out splits at the end."""
        return self._answers("choice") + self._answers("report")

    @property
    def total_seconds(self) -> float:
        """Of all epochs and the answers."""
        return self.epochs * self.epoch_seconds + self.answers_seconds

    def _answers(self, split: str) -> float:
        together = max if self.overlaps else sum
        return self.samples[split] * together((self.answer_seconds, self.loading_seconds / self.batch_size))

    @property
    def gradient_bytes(self) -> int:
        """Of the trained parameters."""
        return self.weight_bytes

    @property
    def moment_bytes(self) -> int:
        """Adam's two."""
        return 2 * self.weight_bytes

    @property
    def memory_bytes(self) -> int:
        """All of it."""
        return self.backbone_bytes + 4 * self.weight_bytes + (self.other_bytes or 0)

    @property
    def checkpoint_bytes(self) -> int:
        """On disk while it runs: weights and moments."""
        return 3 * self.weight_bytes

    @property
    def answer_bytes(self) -> int:
        """On disk at the end: what is kept of each answer on the held-out splits."""
        held_out = self.samples["choice"] + self.samples["report"]
        return (self.heads + 1) * held_out * _ANSWER_BYTES


def estimate_training(
    backbone: Backbone,
    data: DataSplits,
    *,
    exits: Iterable[Pair],
    recipe: HeadRecipe,
    seed: int = 0,
    device: torch.device | str = "cpu",
    steps: int = STEPS,
) -> Estimate:
    """Read a few batches, take a few steps with heads that are then thrown away, answer once; write nothing.

    Args:
        backbone: is moved to `device`; a new final classifier changes in it.
        data: made for it.
        exits: (placement, head) pairs.
        recipe: how they would be trained.
        seed: of weights and order.
        device: where to compute.
        steps: that are timed, at least 1.

    Raises:
        InputError: data that do not belong to the backbone, or that cannot be read.
        ExitSearchError: a loss that is not finite.
    """
    check_data(backbone, data)
    device, pairs = torch.device(device), sorted(set(exits))
    backbone.to(device)
    before = watch_peak(device)
    loading, held = read_some(data.heads, batch_size=recipe.batch_size, seed=seed, steps=steps + 1, device=device)
    heads = {(placement, head): _head(backbone, placement, head, seed) for placement, head in pairs}
    flags = [(parameter, parameter.requires_grad) for parameter in backbone.parameters()]
    try:
        trainer = HeadTrainer(backbone, heads, recipe, seed, device)
        trained = [p for trainee in trainer.trainees for p in trainee.module.parameters() if p.requires_grad]
        weight_bytes = sum(_bytes(p) for p in trained)
        step_seconds = _time_steps(trainer, held, recipe)
        answer_seconds = _time_answers(trainer, held, recipe)
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
    peak = peak_bytes(device)
    other = None if peak is None or before is None else max(0, peak - before - 4 * weight_bytes)
    workers = data.heads.workers.count if data.heads.workers else 0
    return Estimate(
        heads=len(pairs),
        placements=len({placement for placement, _ in pairs}),
        parameters=sum(p.numel() for p in trained),
        outputs=backbone.num_outputs,
        samples={key: len(data.split(key)) for key in SPLITS},
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        looks=recipe.schedule == "plateau",
        step_seconds=step_seconds,
        loading_seconds=loading,
        answer_seconds=answer_seconds,
        workers=workers,
        overlaps=workers > 0 and (device.type != "cpu" or torch.get_num_threads() + workers <= (os.cpu_count() or 1)),
        backbone_bytes=sum(map(_bytes, (*backbone.parameters(), *backbone.buffers()))),
        weight_bytes=weight_bytes,
        other_bytes=other,
    )


def _head(backbone: Backbone, placement: int, head: str, seed: int) -> nn.Module:
    text = str(HeadChoice.parse(head))
    return create_head(
        text,
        placement=backbone.placements[placement],
        num_outputs=backbone.num_outputs,
        seed=exit_seed(seed, placement, text),
    )


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def read_some(split: Split, *, batch_size: int, seed: int, steps: int, device: torch.device) -> tuple[float, HeldSplit]:
    """Seconds from one batch to the next, and the first ones as a split of their own."""
    order = shuffled(len(split), batch_size, seed=seed, epoch=0)
    workers = split.workers.count if split.workers else 0
    order = (order * steps)[: max(steps, _BATCHES_EACH * max(1, workers))]
    # Until the first batch of each process is there, they start up.
    warm = min(max(1, workers), len(order) - 1)
    images: list[Batch] = []
    labels: list[Tensor] = []
    begun = last = time.perf_counter()
    timed = 0
    for number, (batch, those) in enumerate(batches(split, order=order, device=device)):
        last = time.perf_counter()
        if number < steps:
            images.append(batch)
            labels.append(those)
        if number < warm:
            begun = last
        else:
            timed += 1
        if number + 1 >= steps and last - begun > _MOST_SECONDS:
            break
    found = (last - begun) / max(1, timed)
    return found, HeldSplit(joined_inputs(images), torch.cat(labels), finish=lambda samples: samples)


def _time_steps(trainer: HeadTrainer, held: HeldSplit, recipe: HeadRecipe) -> float:
    """Median seconds of a step; the first is not counted."""
    if not trainer.trainees:
        return 0.0
    times = [time.perf_counter()]
    trainer.train_epoch(
        held,
        epoch=0,
        order=in_order(len(held), recipe.batch_size),
        after_step=lambda step: times.append(time.perf_counter()),
    )
    seconds = [after - before for before, after in itertools.pairwise(times)]
    return statistics.median(seconds[1:] or seconds)


@torch.inference_mode()
def _time_answers(trainer: HeadTrainer, held: HeldSplit, recipe: HeadRecipe) -> float:
    """Seconds for a sample to be answered by all heads."""
    seconds: list[float] = []
    for indices in in_order(len(held), recipe.batch_size)[:2]:
        images, _ = held.batch(indices)
        begun = time.perf_counter()
        outputs: list[Tensor] = []
        state: tuple[Tensor, ...] = ()
        for placement, state in enumerate(trainer.backbone.states(images)):
            here = (trainee for trainee in trainer.trainees if trainee.placement == placement and trainee.key != FINAL)
            outputs += [trainee.run(state, side_inputs(images)) for trainee in here]
        # Asking for a number waits for the device.
        float(trainer.backbone.final(state).sum())
        seconds.append((time.perf_counter() - begun) / len(indices))
    return seconds[-1]
