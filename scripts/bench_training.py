"""What a step of training heads costs over the work that nothing can avoid: at most 1.15 times as much.

    python scripts/bench_training.py --threads 1 [--heads linear,mlp,mlp_ee] [--placements 0-11] [--json FILE]

The whole step is that of `train-heads`: a batch read and prepared, the frozen backbone, every head's loss, the backward
passes, Adam, the check of every loss. The unavoidable work is one pass of the backbone up to the last placement with a
head, and for each head by itself its forward and backward pass and a step of its own Adam, on batches that are ready.
Both flush denormal numbers to zero, begin with the same weights, and take turns of a few steps, so that both meet the
same machine; of each turn the ratio is taken, and of the ratios the median. Exit status 1 when it is above 1.15.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import statistics
import sys
import time
from collections.abc import Sequence

import figures
import torch
from torch import Tensor, nn

from exitsearch.errors import InputError
from exitsearch.learn.bank.denormals import denormals_flushed
from exitsearch.learn.bank.recipe import get_head_recipe
from exitsearch.learn.bank.trainer import HeadTrainer
from exitsearch.learn.data import DataSplits, batches, load_data, shuffled
from exitsearch.learn.losses import decay_penalty, task_loss
from exitsearch.models.backbone import Backbone, create_backbone
from exitsearch.models.heads import create_head, fitting_exits
from exitsearch.models.inputs import Batch
from exitsearch.models.multi_exit import exit_seed
from exitsearch.specs.backbone import EMBEDDED_NAME
from exitsearch.specs.question.candidates import Candidates

MUST_NOT_EXCEED = 1.15

Heads = dict[tuple[int, str], nn.Module]


class Unavoidable:
    """One pass of the backbone, and of each head by itself the passes and a step of Adam."""

    def __init__(self, trainer: HeadTrainer) -> None:
        self._backbone, self._recipe = trainer.backbone, trainer.recipe
        self._heads: dict[int, list[tuple[nn.Module, torch.optim.Adam]]] = {}
        for (placement, _), head in trainer.heads.items():
            own = copy.deepcopy(head).train()
            adam = torch.optim.Adam(own.parameters(), lr=trainer.recipe.learning_rate, fused=True)
            self._heads.setdefault(placement, []).append((own, adam))

    @denormals_flushed()
    def train(self, ready: Sequence[tuple[Batch, Tensor]]) -> float:
        """Seconds of some steps."""
        start = time.perf_counter()
        for images, labels in ready:
            states = self._backbone.states(images)
            for placement in range(max(self._heads) + 1):
                with torch.no_grad():
                    state = next(states)
                for head, adam in self._heads.get(placement, []):
                    adam.zero_grad(set_to_none=True)
                    loss = task_loss(head(state[0]), labels, task=self._backbone.facts.task)
                    penalty = decay_penalty(head) if self._recipe.weight_decay else None
                    if penalty is not None:
                        loss = loss + self._recipe.weight_decay * penalty
                    loss.backward()  # type: ignore[no-untyped-call]
                    adam.step()
        return time.perf_counter() - start


def compare(trainer: HeadTrainer, data: DataSplits, *, steps: int, turns: int, seed: int) -> list[tuple[float, float]]:
    """Seconds of the whole steps and of the unavoidable work, turn by turn; the first, which warms up, left out."""
    unavoidable = Unavoidable(trainer)
    found: list[tuple[float, float]] = []
    for turn in range(turns + 1):
        order = shuffled(len(data.heads), trainer.recipe.batch_size, seed=seed, epoch=turn)[:steps]
        ready = list(batches(data.heads, order=order))

        def whole(turn: int = turn, order: list[list[int]] = order) -> float:
            start = time.perf_counter()
            trainer.train_epoch(data.heads, epoch=turn, order=order)
            return time.perf_counter() - start

        # Who goes first takes turns too.
        if turn % 2:
            first = whole()
            found.append((first, unavoidable.train(ready)))
        else:
            second = unavoidable.train(ready)
            found.append((whole(), second))
    return found[1:]


def make_trainer(backbone: Backbone, options: argparse.Namespace) -> HeadTrainer:
    pairs = fitting_exits(backbone.placements, Candidates.of(heads=options.heads, placements=options.placements))
    heads: Heads = {
        (placement, head): create_head(
            head,
            placement=backbone.placements[placement],
            num_outputs=backbone.num_outputs,
            seed=exit_seed(options.seed, placement, head),
        )
        for placement, head in pairs
    }
    # Every turn is an epoch of the recipe, so that its rates are those of a training from start to end.
    recipe = dataclasses.replace(get_head_recipe("frozen"), epochs=options.turns + 1, batch_size=options.batch_size)
    return HeadTrainer(backbone, heads, recipe, options.seed, torch.device("cpu"))


def work(options: argparse.Namespace) -> int:
    if min(options.steps, options.turns) < 1:
        raise InputError(f"--steps and --turns must be 1 or more, found {options.steps} and {options.turns}")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    backbone = create_backbone(options.model)
    data = load_data("digits", backbone=backbone)
    trainer = make_trainer(backbone, options)
    found = compare(trainer, data, steps=options.steps, turns=options.turns, seed=options.seed)
    ratios = [whole / unavoidable for whole, unavoidable in found]
    row = {
        "heads": len(trainer.heads),
        "step_ms": 1000 * statistics.median(whole for whole, _ in found) / options.steps,
        "unavoidable_ms": 1000 * statistics.median(unavoidable for _, unavoidable in found) / options.steps,
        "ratio": statistics.median(ratios),
        "lowest_ratio": min(ratios),
        "highest_ratio": max(ratios),
    }
    table = figures.Table(
        {"heads": "6d", "step ms": "10.2f", "unavoidable ms": "15.2f", "ratio": "7.3f", "lowest": "7.3f",
         "highest": "8.3f"}
    )  # fmt: skip
    table.row(*row.values())
    figures.write(options, {"turns": options.turns, "steps": options.steps, **row, "ratios": ratios})
    return 1 if row["ratio"] > MUST_NOT_EXCEED else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    figures.add_option(parser, "--model", default=EMBEDDED_NAME)
    figures.add_options(parser, "--heads", "--threads", "--seed")
    figures.add_option(parser, "--batch-size", default=get_head_recipe("frozen").batch_size)
    parser.add_argument("--placements", metavar="P", help="as 0,2,4-8 (default: all)")
    parser.add_argument("--steps", type=int, default=2, metavar="N", help="of a turn, 1 or more (default: 2)")
    parser.add_argument("--turns", type=int, default=12, metavar="N", help="of each, 1 or more (default: 12)")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
