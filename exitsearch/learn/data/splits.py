"""What a split of a data set is, and the three of them together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from exitsearch.errors import InputError, UnsupportedError
from exitsearch.learn.data.workers import Workers
from exitsearch.models.backbone import Backbone
from exitsearch.models.inputs import Batch, rows
from exitsearch.specs.backbone import Task
from exitsearch.specs.side import Size, side_text

SPLITS = ("heads", "choice", "report")


class Split(Dataset[tuple[Batch, Tensor]]):
    """Samples and their labels; an ordinary torch data set. A kind of data is a subclass that can `read`.

    A sample is a tensor; where there are side inputs, `Inputs`: the backbone's input as `x`, and each of them by name.

    Attributes:
        labels: class indices or targets [samples].
        groups: the picture that each sample is a tile of [samples] (`tiles.py`); None where all are whole.
        workers: processes that read ahead; None reads in this one.
        device: where batches are wanted unless a caller says otherwise.
        is_quick: whether handing samples from process to process would cost more than reading them.
        side_inputs: (channels, height, width) of each side input that comes with the samples, by name.
    """

    groups: Tensor | None = None
    workers: Workers | None = None
    device = torch.device("cpu")
    is_quick = False
    side_inputs: Mapping[str, Size] = MappingProxyType({})

    def __init__(self, labels: Tensor) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: list[int]) -> Batch:
        """Samples [batch, ...] in the form in which one process hands them to another.

        Raises:
            InputError: when a sample cannot be read.
        """
        raise NotImplementedError

    def finish(self, samples: Any) -> Batch:
        """What `read` gave, on any device, as the backbone's inputs [batch, channels, height, width] there."""
        found: Batch = samples
        return found

    def __getitem__(self, index: int) -> tuple[Batch, Tensor]:
        images, labels = self.batch([index])
        return rows(images, 0), labels[0]

    def batch(self, indices: list[int]) -> tuple[Batch, Tensor]:
        """Images [batch, channels, height, width] and labels [batch].

        Raises:
            InputError: when a sample cannot be read.
        """
        return self.finish(self.read(indices)), self.labels[indices]


class TensorsSplit(Split):
    """A split held in memory as raw images, prepared for the backbone when asked for."""

    is_quick = True

    def __init__(self, images: Tensor, labels: Tensor, *, prepare: Callable[[Tensor], Tensor]) -> None:
        super().__init__(labels)
        self.images, self.prepare = images, prepare

    def read(self, indices: list[int]) -> Tensor:
        """Images [batch, channels, height, width]."""
        return self.prepare(self.images[indices])


class HeldSplit(Split):
    """A split of samples that were read already.

    Args:
        samples: as `read` of another split gave them [samples, ...].
        labels: class indices or targets [samples].
        finish: of that split.
    """

    is_quick = True

    def __init__(self, samples: Batch, labels: Tensor, *, finish: Callable[[Any], Batch]) -> None:
        super().__init__(labels)
        self.samples, self._finish = samples, finish

    def read(self, indices: list[int]) -> Batch:
        """As they are held."""
        return rows(self.samples, indices)

    def finish(self, samples: Any) -> Batch:
        """As the other split does."""
        return self._finish(samples)


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

    @property
    def side_inputs(self) -> Mapping[str, Size]:
        """(channels, height, width) of each side input that comes with the samples, by name."""
        return self.heads.side_inputs

    def split(self, name: str) -> Split:
        """A split by its name."""
        assert name in SPLITS
        found: Split = getattr(self, name)
        return found

    def read_by(self, count: int, *, device: torch.device | str = "cpu") -> None:
        """Let so many processes read for a device, one pool for all three splits; 0 reads in this process."""
        parts = [self.split(name) for name in SPLITS]
        workers = Workers(parts, count=count) if count else None
        for part in parts:
            part.workers, part.device = workers, torch.device(device)

    def close(self) -> None:
        """End the processes that read; they start again when they are needed."""
        if self.heads.workers is not None:
            self.heads.workers.close()


def labels_tensor(labels: Sequence[int | float], task: Task) -> Tensor:
    """Class indices or targets [samples]."""
    return torch.tensor(labels, dtype=torch.float32 if task == "regression" else torch.int64)


def identity_of(*facts: object) -> str:
    """16 hexadecimal digits that stand for facts by what they print."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def check_data(backbone: Backbone, data: DataSplits) -> None:
    """Refuse a backbone and data that do not belong together, and labels that nobody can learn.

    Raises:
        UnsupportedError: when task, outputs or side inputs differ.
        InputError: class indices beyond the outputs, or targets that are not finite; says how many and the first.
    """
    facts = backbone.facts
    if facts.task != data.task or facts.num_outputs != data.num_outputs:
        raise UnsupportedError(
            f"the data {data.name} needs {data.num_outputs} outputs ({data.task}), the backbone {facts.name} has "
            f"{facts.num_outputs} ({facts.task}); make it with --num-outputs {data.num_outputs} and the same task"
        )
    for key in SPLITS:
        if dict(data.split(key).side_inputs) != backbone.side_inputs:
            raise UnsupportedError(
                f"the backbone {facts.name} has the side inputs {side_text(backbone.side_inputs)}, the split {key} of "
                f"{data.name} comes with {side_text(data.split(key).side_inputs)}; declare what there is with --side, "
                "or take data that have them"
            )
        labels = data.split(key).labels
        if data.task == "regression":
            rule, wrong = "targets must be finite numbers", ~labels.isfinite()
        else:
            rule, wrong = (
                f"labels must be from 0 to {data.num_outputs - 1}",
                (labels < 0) | (labels >= data.num_outputs),
            )
        places = wrong.reshape(len(labels), -1).any(1).nonzero()[:, 0]
        if len(places):
            first = int(places[0])
            raise InputError(
                f"{data.name}: {rule}, {len(places):,} of the {len(labels):,} of the split {key} are not, the first is "
                f"{labels[first].tolist()} (sample {first}); correct them or leave these samples out"
            )
