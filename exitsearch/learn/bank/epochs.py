"""Training epoch by epoch, with checkpoints at the end of each and every few minutes within."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeVar

from exitsearch.learn.bank.trainee import FINAL, NotFiniteError, Trainee
from exitsearch.learn.bank.trainer import HeadTrainer
from exitsearch.learn.data import DataSplits, shuffled

# (share of all steps that is done, words for where it stands)
Progress = Callable[[float, str], None]

CHECKPOINT_MINUTES = 10.0

T = TypeVar("T")


def steps_per_epoch(trainer: HeadTrainer, data: DataSplits) -> int:
    """Batches of one pass over the training split."""
    return len(shuffled(len(data.heads), trainer.recipe.batch_size, seed=trainer.seed, epoch=0))


def train_epochs(
    trainer: HeadTrainer,
    data: DataSplits,
    *,
    save: Callable[[int], None],
    until: int | None = None,
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
    progress: Progress | None = None,
) -> None:
    """Train every head from where it stands to the end of an epoch, or of the recipe.

    Args:
        trainer: with heads that stand at any step.
        data: is trained on; its `choice` split decides about plateaus.
        save: is to keep where the heads stand; is told how many epochs are finished.
        until: the last epoch, counted from 1; None is the recipe's. Heads that are further stay as they are.
        checkpoint_minutes: at most so long passes between two calls of `save`, but for the time of a step.
        progress: called after every step.

    Raises:
        NotFiniteError: of the final classifier or exit.
    """
    recipe = trainer.recipe
    count = steps_per_epoch(trainer, data)
    loss, saved = math.nan, time.monotonic()
    for epoch in range(recipe.epochs if until is None else min(until, recipe.epochs)):
        learning = [trainee for trainee in trainer.learning if trainee.steps < (epoch + 1) * count]
        if not learning:
            continue
        words = f"epoch {epoch + 1}/{recipe.epochs}" + ("" if math.isnan(loss) else f", loss {loss:.3f}")

        def after_step(step: int, epoch: int = epoch, words: str = words) -> None:
            nonlocal saved
            # At the end of an epoch it is saved below, after plateaus have been looked for.
            if step < count and time.monotonic() - saved >= 60 * checkpoint_minutes:
                save(epoch)
                saved = time.monotonic()
            if progress is not None:
                progress((epoch * count + step) / (recipe.epochs * count), words)

        order = shuffled(len(data.heads), recipe.batch_size, seed=trainer.seed, epoch=epoch)
        loss = trainer.train_epoch(data.heads, epoch=epoch, order=order, after_step=after_step)
        if recipe.schedule == "plateau":
            _look(trainer, data, learning, epoch)
        save(epoch + 1)
        saved = time.monotonic()


def at_end(trainer: HeadTrainer, trainee: Trainee, data: DataSplits) -> bool:
    """Whether nothing of the recipe is left for a head."""
    ended = trainee.stopped or trainee.dropped is not None
    return ended or trainee.steps >= trainer.recipe.epochs * steps_per_epoch(trainer, data)


def _look(trainer: HeadTrainer, data: DataSplits, learning: list[Trainee], epoch: int) -> None:
    """Let heads that have trained in an epoch learn from their loss on the choice split."""
    losses = trainer.losses(data.choice)
    for trainee in learning:
        if trainee.dropped is not None:
            continue
        loss = losses[trainee.key]
        if math.isfinite(loss):
            trainee.learn_from(loss, trainer.recipe)
        else:
            trainer.drop(trainee, f"its loss on the choice split became {loss} after epoch {epoch + 1}")


def without_dropped(trainer: HeadTrainer, answer: Callable[[], T]) -> T:
    """What heads answer, once those whose answers are not finite are dropped.

    Args:
        trainer: whose heads answer.
        answer: raises for the first of these; is asked again without it.

    Raises:
        NotFiniteError: of the final exit.
    """
    while True:
        try:
            return answer()
        except NotFiniteError as error:
            found = [trainee for trainee in trainer.trainees if trainee.key == error.key != FINAL]
            if not found or found[0].dropped is not None:
                raise
            trainer.drop(found[0], "its answers are not finite")
