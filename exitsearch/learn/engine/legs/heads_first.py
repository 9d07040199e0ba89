"""The heads of a multi-exit model trained first, over the frozen backbone: the bank's way, with its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from exitsearch.errors import ExitSearchError
from exitsearch.learn.bank.epochs import CHECKPOINT_MINUTES, Progress
from exitsearch.learn.bank.processes import Processes
from exitsearch.learn.bank.recipe import HeadRecipe
from exitsearch.learn.bank.train import train_bank
from exitsearch.learn.data import DataSplits
from exitsearch.models.multi_exit import MultiExitModel, load_final, load_heads
from exitsearch.specs.outcomes import Outcomes


def train_heads_first(
    model: MultiExitModel,
    data: DataSplits,
    *,
    out: Path,
    recipe: HeadRecipe,
    seed: int,
    device: Any,
    only_final: bool = False,
    restart: bool = False,
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
    processes: Processes | None = None,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> Outcomes:
    """Train the chosen heads, and a new final classifier, and let the first process's model have them.

    With the recipe and seed of `train-heads`, every head lands where it did there.

    Args:
        out: the folder of outcomes to write, or to go on in.
        only_final: train the new final classifier alone.

    The other arguments are those of `train_bank`, and its errors too.

    Raises:
        ExitSearchError: a chosen head whose loss or answers are not finite.
    """
    exits = [] if only_final else [(exit_.placement, str(exit_.choice)) for exit_ in model.config.exits]
    outcomes = train_bank(
        model.backbone,
        data,
        out=out,
        exits=exits,
        recipe=recipe,
        seed=seed,
        device=device,
        restart=restart,
        checkpoint_minutes=checkpoint_minutes,
        processes=processes,
        progress=progress,
        note=note,
    )
    _check_none_dropped(outcomes, exits)
    if processes is None or processes.first:
        if only_final:
            load_final(model.backbone, out)
        else:
            load_heads(model, out)
    model.backbone.final_is_trained = True
    return outcomes


def _check_none_dropped(outcomes: Outcomes, exits: Iterable[tuple[int, str]]) -> None:
    wanted = set(exits)
    if dropped := [head for head in outcomes.dropped if (head.placement, head.head) in wanted]:
        raise ExitSearchError(f"{dropped[0]}; train with a lower learning rate, or choose without it (search --forbid)")
