"""What a split of a data set is, and the three of them together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from exitsearch.errors import InputError, UnsupportedError
from exitsearch.learn.data.workers import Workers
from exitsearch.models.backbone import Backbone
from exitsearch.specs.backbone import Task

SPLITS = ("heads", "choice", "report")


class Split(Dataset[tuple[Tensor, Tensor]]):
    """Samples and their labels; an ordinary torch data set. A kind of data is a subclass that can `read`.

    Attributes:
        labels: class indices or targets [samples].
        groups: the picture that each sample is a tile of [samples] (`tiles.py`); None where all are whole.
        workers: processes that read ahead; None reads in this one.
        device: where batches are wanted unless a caller says otherwise.
        is_quick: whether handing samples from process to process would cost more than reading them.
    """

    groups: Tensor | None = None
    workers: Workers | None = None
    device = torch.device("cpu")
    is_quick = False

    def __init__(self, labels: Tensor) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: list[int]) -> Tensor:
        """Samples [batch, ...] in the form in which one process hands them to another.

        Raises:
            InputError: when a sample cannot be read.
        """
        raise NotImplementedError

    def finish(self, samples: Tensor) -> Tensor:
        """What `read` gave, on any device, as the backbone's inputs [batch, channels, height, width] there."""
        return samples

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = self.batch([index])
        return images[0], labels[0]

    def batch(self, indices: list[int]) -> tuple[Tensor, Tensor]:
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

    def __init__(self, samples: Tensor, labels: Tensor, *, finish: Callable[[Tensor], Tensor]) -> None:
        super().__init__(labels)
        self.samples, self._finish = samples, finish

    def read(self, indices: list[int]) -> Tensor:
        """As they are held."""
        return self.samples[indices]

    def finish(self, samples: Tensor) -> Tensor:
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
        UnsupportedError: when task or outputs differ.
        InputError: class indices beyond the outputs, or targets that are not finite; says how many and the first.
    """
    facts = backbone.facts
    if facts.task != data.task or facts.num_outputs != data.num_outputs:
        raise UnsupportedError(
            f"the data {data.name} needs {data.num_outputs} outputs ({data.task}), the backbone {facts.name} has "
            f"{facts.num_outputs} ({facts.task}); make it with --num-outputs {data.num_outputs} and the same task"
        )
    for key in SPLITS:
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
