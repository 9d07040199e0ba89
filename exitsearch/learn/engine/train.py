"""train_model: run the stages of a recipe over a multi-exit model, and keep the best weights.

    OUT/model.safetensors, OUT/chosen.json      what `load_model` reads
    OUT/training.json                           recipe, seed, versions, history, and which weights were kept
    OUT/log.csv                                 a row for every epoch, and for every 100 steps within one
    OUT/tensorboard/                            the same as events, where they are asked for
    OUT/training/                               while it runs: where it stands, and the best weights so far

A killed run goes on from its last checkpoint: weights, moments, moving average, order, dropout and mixing are those
that an uninterrupted run has there. On the CPU, with one version of torch, one number of threads and of processes, both
end bit for bit the same. On CUDA that is not promised, as `bank/train.py` says.

Started by torchrun or `accelerate launch`, several processes share every batch of the recipe, so its rates hold for any
number of them: the gradients are averaged by torch's DistributedDataParallel, and the first process alone writes. Each
process's batch norms learn from its own share, and the first one's running statistics are kept.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from exitsearch.allocator import keep_freed_memory
from exitsearch.errors import InputError
from exitsearch.learn.bank.denormals import denormals_flushed
from exitsearch.learn.bank.epochs import CHECKPOINT_MINUTES
from exitsearch.learn.data import DataSplits, Split, check_data
from exitsearch.learn.engine.call import Call
from exitsearch.learn.engine.devices import MixedPrecision, accelerated
from exitsearch.learn.engine.folder.record import KeptWeights
from exitsearch.learn.engine.judge import Judge as Judge
from exitsearch.learn.engine.legs.leg import check_given, with_teacher
from exitsearch.learn.engine.setting import Progress
from exitsearch.learn.recipes.check import check_recipe, model_family
from exitsearch.learn.recipes.outputs import exit_facts
from exitsearch.learn.recipes.recipe import Recipe, get_recipe
from exitsearch.models.multi_exit import MultiExitModel

# A sentence that a person should know.
Note = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """What was trained.

    Attributes:
        folder: holds the model; read it with `load_model`.
        model: the same, in memory, in eval mode.
        recipe: that it was trained by.
        finished: whether the recipe came to its end; otherwise the model stands where it stopped, and nothing but
            checkpoints is written.
        scores: per split, the metric of every chosen exit in order and last of the final exit; of a training that
            stopped early those on the choice split.
        kept: which weights these are; None where a recipe has no stages.
        history: a row for every epoch.
        criterion: what the weights are the best by, in words.
    """

    folder: Path
    model: MultiExitModel
    recipe: Recipe
    finished: bool
    scores: dict[str, list[float]]
    kept: KeptWeights | None
    history: list[dict[str, Any]]
    criterion: str


def train_model(
    model: MultiExitModel,
    data: DataSplits,
    *,
    recipe: str | Recipe,
    out: Path | str,
    seed: int = 0,
    warm: bool = False,
    teacher: nn.Module | None = None,
    unlabelled: Split | None = None,
    chances: Sequence[float] | None = None,
    judge: Judge | None = None,
    order: Tensor | None = None,
    mixed_precision: MixedPrecision = "no",
    accumulate: int = 1,
    device: torch.device | str = "cpu",
    restart: bool = False,
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
    until: int | None = None,
    tensorboard: bool = False,
    progress: Progress | None = None,
    note: Note | None = None,
) -> TrainedModel:
    """Train a multi-exit model by a recipe, in place, and write it.

    Args:
        model: as it is to start; of several processes in each the same.
        data: made for its backbone.
        recipe: how to train, or its name.
        out: the folder to write, or to go on in.
        seed: of order, dropout and mixing.
        warm: whether the model's heads have learnt already. A recipe that would train them first over the frozen
            backbone leaves that out, and those of a regression are taken to answer in the targets' own unit.
        teacher: a model from the data's inputs to logits [batch, num_outputs]: takes the place of the model's own final
            exit in stages that learn from that.
        unlabelled: further samples, prepared for the backbone, for stages that do not look at labels.
        chances: of each chosen exit and last of the final one, that its answer is the one in hand when the budget
            strikes; for losses that ask for them.
        judge: from the metric of every exit on the choice split, the final one last, to what is kept the best of
            among the epochs of the last stage; None: their mean, for a regression minus the mean error.
        order: numbers of the samples of the training split, easy ones first, for stages of a curriculum; None asks the
            trained heads (`sample_difficulty`).
        mixed_precision: `bf16` or `fp16` (on a GPU) for forward and backward passes, or `no`.
        accumulate: parts, at least 1, in which a process computes its share of a batch: as many times less memory for
            activations, and the same steps but for batch norms.
        device: where to train.
        restart: throw away what stands in `out`.
        checkpoint_minutes: where the training stands is written at the end of every epoch, and after so many minutes
            (0: after every step) within one.
        until: stop after so many epochs of the whole recipe, to go on when asked again; None trains to the end.
        tensorboard: write events to `OUT/tensorboard`.
        progress: called after every step with the share that is done and words; what it raises ends the run.
        note: called with a sentence about what a person should know; None gives a warning of Python's.

    Raises:
        InputError: a recipe that lacks what it needs, or a number that is out of range.
        MismatchError: `out` holds a training of something else; says what differs.
        UnsupportedError: data for other outputs than the model's.
        UnavailableError: TensorBoard is asked for and not installed.
        FileError: a checkpoint that is broken.
        ExitSearchError: a loss or answers that are not finite, or a full disk.
    """
    keep_freed_memory()
    recipe = get_recipe(recipe)
    check_data(model.backbone, data)
    if accumulate < 1:
        raise InputError(
            f"a batch is computed in at least 1 part, found accumulate {accumulate}; give a whole number from 1"
        )
    if not checkpoint_minutes >= 0:
        raise InputError(f"checkpoint_minutes must be at least 0, found {checkpoint_minutes}; give minutes from 0")
    if until is not None and until < 1:
        raise InputError(
            f"a training stops after at least 1 epoch, found until {until}; give a whole number from 1, or leave it out"
        )
    if warm and recipe.stages:
        recipe = dataclasses.replace(recipe, heads=None)
    check_given(recipe, teacher=teacher, warm=warm or recipe.heads is not None, order=order, samples=len(data.heads))
    if teacher is not None:
        recipe = with_teacher(recipe)
    note = note or (lambda sentence: warnings.warn(sentence, stacklevel=2))
    for sentence in check_recipe(recipe, facts=exit_facts(model, chances=chances), family=model_family(model)):
        note(sentence)
    own = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    try:
        with accelerated(torch.device(device), mixed_precision=mixed_precision) as accelerator, denormals_flushed():
            call = Call(
                model=model,
                data=data,
                recipe=recipe,
                out=Path(out),
                seed=seed,
                warm=warm,
                teacher=teacher,
                unlabelled=unlabelled,
                chances=chances,
                judge=judge,
                order=order,
                accumulate=accumulate,
                accelerator=accelerator,
                checkpoint_minutes=checkpoint_minutes,
                until=until,
                tensorboard=tensorboard,
                own=own,
                progress=progress,
                note=note,
            )
            record = call.train(restart=restart)
    finally:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(own.get(name, True))
        model.eval()
    return TrainedModel(
        folder=Path(out),
        model=model,
        recipe=recipe,
        finished=record.finished,
        scores=record.scores,
        kept=record.kept,
        history=record.history,
        criterion=record.criterion,
    )
