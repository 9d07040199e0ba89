"""Setting: everything that a training is given and that does not change while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn

from exitsearch.learn.data import DataSplits, Split, shuffled
from exitsearch.learn.engine.batches.batch import own_share
from exitsearch.learn.engine.batches.streams import stream_seed
from exitsearch.learn.engine.judge import Judge
from exitsearch.learn.engine.legs.leg import Leg
from exitsearch.learn.recipes.curriculum import epoch_order
from exitsearch.learn.recipes.outputs import ExitFacts
from exitsearch.learn.targets import TargetScale

# (share of all steps that is done, words for where it stands)
Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a training is given.

    Attributes:
        data: splits; `heads` is trained on, `choice` judged on.
        samples: what stages that do not look at labels train on: `heads` and unlabelled samples.
        legs: in the order in which they run.
        facts: of the model.
        accelerator: device, precision and processes.
        judge: what is kept the best of.
        identity: everything that the result depends on.
        out: the folder.
        seed: of order, dropout and mixing.
        scale: that regression targets are learnt in; None: in their own.
        teacher: another model; None where there is none.
        difficulty: of each sample of `heads`, higher is harder; None where no stage asks for it.
        accumulate: parts in which a batch is computed.
        adapter_rank: of the adapters of the backbone.
        own: whether each parameter of the model, by its name, trains at all.
    """

    data: DataSplits
    samples: Split
    legs: tuple[Leg, ...]
    facts: ExitFacts
    accelerator: Accelerator
    judge: Judge
    identity: dict[str, Any]
    out: Path
    seed: int
    scale: TargetScale | None
    teacher: nn.Module | None
    difficulty: Tensor | None
    accumulate: int
    adapter_rank: int | None
    own: Mapping[str, bool]

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return bool(self.accelerator.is_main_process)

    def split(self, leg: Leg) -> Split:
        """What a leg trains on."""
        return self.data.heads if leg.stage.labels else self.samples

    def order(self, leg: Leg, epoch: int) -> list[list[int]]:
        """The samples of an epoch by batch, of all processes together.

        A batch so small that a process would get a single sample of it is left out where there are others: a batch norm
        cannot learn from one.
        """
        stage, count = leg.stage, len(self.split(leg))
        seed = stream_seed(self.seed, leg.name, "order")
        if stage.order == "curriculum":
            assert self.difficulty is not None
            drawn = epoch_order(self.difficulty, epoch=epoch, epochs=stage.epochs, seed=seed).tolist()
            found = [drawn[start : start + stage.batch_size] for start in range(0, count, stage.batch_size)]
        else:
            found = shuffled(count, stage.batch_size, seed=seed, epoch=epoch)
        fewest = 2 * self.accelerator.num_processes
        return found[:-1] if len(found) > 1 and len(found[-1]) < fewest <= stage.batch_size else found

    def steps(self, leg: Leg) -> int:
        """Of each epoch of a leg."""
        return len(self.order(leg, 0))

    def mine(self, order: list[list[int]]) -> list[list[int]]:
        """The share of this process in every batch."""
        rank, count = self.accelerator.process_index, self.accelerator.num_processes
        return [own_share(batch, rank=rank, count=count) for batch in order]
