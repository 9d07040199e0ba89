"""What a split of a data set is, and the three of them together."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.utils.data import Dataset

from exitsearch.errors import UnsupportedError
from exitsearch.learn.data.audio import RecordingsSplit
from exitsearch.learn.data.images import ImagesSplit, Prepare
from exitsearch.models.backbone import Backbone
from exitsearch.specs.backbone import Task

SPLITS = ("heads", "choice", "report")


class TensorsSplit(Dataset[tuple[Tensor, Tensor]]):
    """A split held in memory as raw images, prepared for the backbone when asked for; an ordinary torch data set.

    Attributes:
        labels: class indices or targets [samples].
        groups: None: every sample is whole.
    """

    workers = 0
    groups: Tensor | None = None

    def __init__(self, images: Tensor, labels: Tensor, *, prepare: Prepare) -> None:
        self.images, self.labels, self.prepare = images, labels, prepare

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.prepare(self.images[index : index + 1])[0], self.labels[index]

    def batch(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Images [batch, channels, height, width] and labels [batch]."""
        return self.prepare(self.images[indices]), self.labels[indices]


Split = TensorsSplit | ImagesSplit | RecordingsSplit


@dataclass(frozen=True)
class DataSplits:
    """A data set in three disjoint splits, prepared for one backbone.

    Attributes:
        name: what the user called it.
        identity: changes when the files, the labels or the preparation change.
        task: classification or regression.
        num_outputs: classes, or regression targets.
        heads: the training split.
        choice: what a search chooses on.
        report: what the choice is judged on; takes no part in any decision.
        classes: class names in the order of their indices; empty for regression.
    """

    name: str
    identity: str
    task: Task
    num_outputs: int
    heads: Split
    choice: Split
    report: Split
    classes: tuple[str, ...] = ()

    def split(self, name: str) -> Split:
        """A split by its name."""
        assert name in SPLITS
        found: Split = getattr(self, name)
        return found


def check_data(backbone: Backbone, data: DataSplits) -> None:
    """Refuse a backbone and data that do not belong together.

    Raises:
        UnsupportedError: when task or outputs differ.
    """
    facts = backbone.facts
    if facts.task != data.task or facts.num_outputs != data.num_outputs:
        raise UnsupportedError(
            f"the data {data.name} needs {data.num_outputs} outputs ({data.task}), the backbone {facts.name} has "
            f"{facts.num_outputs} ({facts.task}); make it with --num-outputs {data.num_outputs} and the same task"
        )
