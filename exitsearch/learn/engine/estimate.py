"""What a training by a recipe will take, from a few real steps of each of its stages; writes nothing."""

from __future__ import annotations

import copy
import itertools
import os
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from exitsearch.learn.data import DataSplits, batches, check_data, in_order
from exitsearch.learn.engine.batches.unlabelled import with_unlabelled
from exitsearch.learn.engine.devices import MixedPrecision, accelerated
from exitsearch.learn.engine.folder.state import optimizer_parts
from exitsearch.learn.engine.judge import default_judge
from exitsearch.learn.engine.legs.learner import Learner
from exitsearch.learn.engine.legs.leg import Leg, check_given, legs_of, with_teacher
from exitsearch.learn.engine.setting import Setting
from exitsearch.learn.engine.units import scale_of
from exitsearch.learn.estimate import Estimate, estimate_training, read_some
from exitsearch.learn.memory import peak_bytes, watch_peak
from exitsearch.learn.recipes.check import check_recipe
from exitsearch.learn.recipes.outputs import exit_facts
from exitsearch.learn.recipes.recipe import Recipe, get_recipe
from exitsearch.learn.targets import TargetScale
from exitsearch.models.inputs import batch_size
from exitsearch.models.multi_exit import MultiExitModel

# Steps that are timed; the median counts. One goes before them: the first allocates what all others use again.
STEPS = 3


@dataclass(frozen=True)
class StageEstimate:
    """What a stage will take.

    Attributes:
        name: of the stage.
        trains: what, as the stage says.
        parameters: that are trained at once.
        exits: how often it is run: once, or once for each exit.
        epochs: of each run.
        steps: of an epoch.
        batch_size: inputs of a step.
        step_seconds: of one step over a batch that is there.
        loading_seconds: from one batch to the next when nothing but reading goes on.
        answers_seconds: of judging the model on the choice split, once an epoch.
        overlaps: whether batches are read while it trains.
        checkpoint_bytes: on disk while it runs: where it stands, and the best weights.
    """

    name: str
    trains: str
    parameters: int
    exits: int
    epochs: int
    steps: int
    batch_size: int
    step_seconds: float
    loading_seconds: float
    answers_seconds: float
    overlaps: bool
    checkpoint_bytes: int

    @property
    def epoch_seconds(self) -> float:
        """Of an epoch, the model being judged at its end."""
        together = max if self.overlaps else sum
        return self.steps * together((self.step_seconds, self.loading_seconds)) + self.answers_seconds

    @property
    def total_seconds(self) -> float:
        """Of all runs of the stage."""
        return self.exits * self.epochs * self.epoch_seconds


@dataclass(frozen=True)
class ModelEstimate:
    """What a training by a recipe will take.

    Attributes:
        recipe: its name.
        heads: what the heads take that are trained first over the frozen backbone; None where none are.
        stages: in order.
        model_bytes: of the weights that are written at the end.
        memory_bytes: at the most: model, gradients, moments, moving average, activations; None where the system does
            not tell.
    """

    recipe: str
    heads: Estimate | None
    stages: tuple[StageEstimate, ...]
    model_bytes: int
    memory_bytes: int | None

    @property
    def steps(self) -> int:
        """Of the optimiser in all stages."""
        return sum(stage.exits * stage.epochs * stage.steps for stage in self.stages)

    @property
    def total_seconds(self) -> float:
        """Of everything."""
        before = 0.0 if self.heads is None else self.heads.total_seconds
        return before + sum(stage.total_seconds for stage in self.stages)


def estimate_model_training(
    model: MultiExitModel,
    data: DataSplits,
    *,
    recipe: str | Recipe,
    seed: int = 0,
    warm: bool = False,
    teacher: nn.Module | None = None,
    chances: Sequence[float] | None = None,
    mixed_precision: MixedPrecision = "no",
    accumulate: int = 1,
    device: torch.device | str = "cpu",
    steps: int = STEPS,
) -> ModelEstimate:
    """Take a few real steps of every stage with a copy of the model that is then thrown away; write nothing.

    Args:
        steps: that are timed in each stage, at least 1.

    The other arguments are those of `train_model`, and its errors too.
    """
    recipe, device = get_recipe(recipe), torch.device(device)
    check_data(model.backbone, data)
    check_given(recipe, teacher=teacher, warm=warm or recipe.heads is not None, order=None, samples=len(data.heads))
    recipe = recipe if teacher is None else with_teacher(recipe)
    facts = exit_facts(model, chances=chances)
    check_recipe(recipe, facts=facts)
    heads = None
    if recipe.head_recipe is not None and not (warm and recipe.stages):
        exits = [(exit_.placement, str(exit_.choice)) for exit_ in model.config.exits]
        backbone = copy.deepcopy(model.backbone)
        heads = estimate_training(
            backbone, data, exits=exits, recipe=recipe.head_recipe, seed=seed, device=device, steps=steps
        )
    model_bytes, before = _bytes(model.state_dict().values()), watch_peak(device)
    with accelerated(device, mixed_precision=mixed_precision) as accelerator:
        tried = copy.deepcopy(model)
        setting = Setting(
            data=data,
            samples=with_unlabelled(data.heads, None),
            legs=legs_of(recipe, exits=len(model.heads)),
            facts=facts,
            accelerator=accelerator,
            judge=default_judge(data.task),
            identity={},
            out=Path(),
            seed=seed,
            scale=scale_of(tried, TargetScale.for_task(data.heads.labels, task=data.task)),
            teacher=teacher,
            difficulty=torch.arange(len(data.heads)).double(),
            accumulate=accumulate,
            adapter_rank=recipe.adapter_rank,
            own={name: parameter.requires_grad for name, parameter in model.named_parameters()},
        )
        by_stage = [list(legs) for _, legs in itertools.groupby(setting.legs, key=lambda leg: leg.stage.name)]
        stages = tuple(_stage(tried, legs, setting, steps=steps) for legs in by_stage)
    peak = peak_bytes(device)
    memory = None if peak is None or before is None else model_bytes + max(0, peak - before)
    return ModelEstimate(recipe.name, heads, stages, model_bytes, memory if stages else None)


def _stage(model: MultiExitModel, legs: list[Leg], setting: Setting, *, steps: int) -> StageEstimate:
    """Time the first leg of a stage: the others are as long."""
    leg, stage, device = legs[0], legs[0].stage, setting.accelerator.device
    split = setting.split(leg)
    loading, held = read_some(split, batch_size=stage.batch_size, seed=setting.seed, steps=steps + 1, device=device)
    model.to(device)
    learner = Learner(model, leg, setting)
    learner.set_modes()
    times = [time.perf_counter()]
    for step, (inputs, labels) in enumerate(batches(held, order=in_order(len(held), stage.batch_size), device=device)):
        # Its terms are read as numbers, which waits for the device.
        learner.step_over(inputs, labels, epoch=0, step=step, whole=batch_size(inputs))
        times.append(time.perf_counter())
    seconds = [after - earlier for earlier, after in itertools.pairwise(times)]
    weights = _bytes(model.state_dict().values())
    moments = _bytes(optimizer_parts(learner.own_optimizer)[0].values())
    answers = _answer_seconds(learner, setting)
    parameters = sum(parameter.numel() for parameter in learner.trained)
    average = weights if learner.average is not None else 0
    learner.finish()
    workers = split.workers.count if split.workers else 0
    return StageEstimate(
        name=stage.name,
        trains=stage.trains,
        parameters=parameters,
        exits=len(legs),
        epochs=stage.epochs,
        steps=setting.steps(leg),
        batch_size=stage.batch_size,
        step_seconds=statistics.median(seconds[1:] or seconds),
        loading_seconds=loading,
        answers_seconds=answers,
        overlaps=workers > 0 and (device.type != "cpu" or torch.get_num_threads() + workers <= (os.cpu_count() or 1)),
        checkpoint_bytes=2 * weights + average + moments,
    )


def _answer_seconds(learner: Learner, setting: Setting) -> float:
    """Seconds for the choice split to be answered, from one batch of it."""
    choice, size = setting.data.choice, learner.leg.stage.batch_size
    inputs, _ = next(batches(choice, order=in_order(len(choice), size)[:1], device=setting.accelerator.device))
    model = learner.judged().eval()
    begun = time.perf_counter()
    with torch.no_grad():
        # Asking for a number waits for the device.
        float(sum(outputs.sum() for outputs in model(inputs)))
    return (time.perf_counter() - begun) / batch_size(inputs) * len(choice)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
