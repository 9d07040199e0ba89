"""Probes: how much the features at every placement tell a linear map, in closed form, before any head is trained.

One pass over the `heads` split sums up the pooled features of every placement: their products and, by class,
themselves. From these sums follow both a ridge regression (on one-hot classes or on targets) and a linear discriminant
analysis. A pass over the `choice` split scores them. No head is trained for it, and no sample is seen twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from exitsearch.errors import InputError
from exitsearch.learn.data import DataSplits, Split, batches, check_data, in_order
from exitsearch.learn.losses import score_sum
from exitsearch.models import features
from exitsearch.models.backbone import Backbone, State
from exitsearch.models.inputs import batch_size as size_of
from exitsearch.specs.backbone import Task
from exitsearch.specs.placement import Placement

Method = Literal["lda", "ridge"]
Progress = Callable[[float, str], None]

# Share of the mean variance that every direction gets: it steadies directions that few samples know. The same for few
# samples and for many, since it stands beside a mean and not a sum.
SHRINKAGE = 0.01


@dataclass(frozen=True)
class Probe:
    """What a closed-form probe scores.

    Attributes:
        placement: None is the backbone's own final exit, for comparison.
        module: the backbone's module whose output the features are; empty for the final exit.
        score: on the `choice` split, in the metric's own sign.
    """

    placement: int | None
    module: str
    score: float


@dataclass(frozen=True)
class LinearMap:
    """Outputs are features times `weights` plus `bias`.

    Attributes:
        weights: [features, outputs], float64.
        bias: [outputs], float64.
    """

    weights: Tensor
    bias: Tensor

    def __call__(self, pooled: Tensor) -> Tensor:
        """Outputs [batch, outputs] of pooled features [batch, features]."""
        outputs: Tensor = pooled @ self.weights + self.bias
        return outputs


class Moments:
    """Sums over samples from which a linear map follows, in float64.

    Args:
        task: what the labels mean.
        num_outputs: classes, or targets.
    """

    def __init__(self, *, task: Task, num_outputs: int) -> None:
        self.task, self.num_outputs = task, num_outputs
        self.count = 0
        self._sums: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def add(self, pooled: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            pooled: features [batch, features].
            labels: class indices [batch], or targets [batch] or [batch, num_outputs].
        """
        x = pooled.double()
        if self._sums is None:
            sizes = [(x.shape[1],), (x.shape[1],) * 2, (x.shape[1], self.num_outputs), (self.num_outputs,)]
            zero, squares, products, answers = (x.new_zeros(size) for size in sizes)
            self._sums = zero, squares, products, answers
        total, gram, cross, of_labels = self._sums
        if self.task == "classification":
            cross.index_add_(1, labels, x.T)
            of_labels += torch.bincount(labels, minlength=self.num_outputs)
        else:
            targets = labels.double().reshape(len(x), -1)
            cross += x.T @ targets
            of_labels += targets.sum(0)
        total += x.sum(0)
        gram += x.T @ x
        self.count += len(x)

    def fit(self, method: Method, *, shrinkage: float = SHRINKAGE) -> LinearMap:
        """The linear map of all samples that were added, at least one.

        Args:
            method: `lda`, of classes alone, or `ridge`.
            shrinkage: share of the mean variance over all directions that each of them gets, from 0 below 1.

        Raises:
            InputError: a shrinkage out of range, or LDA of targets.
        """
        if not 0 <= shrinkage < 1:
            raise InputError(f"the shrinkage of a probe is from 0 below 1, found {shrinkage:g}; give one such as 0.1")
        if method == "lda" and self.task != "classification":
            raise InputError("a probe by LDA needs classes; take ridge for targets")
        return self._lda(shrinkage) if method == "lda" else self._ridge(shrinkage)

    def _ridge(self, shrinkage: float) -> LinearMap:
        """Least squares with a penalty: (C + s tr(C)/d I) W = covariance of features and labels."""
        total, gram, cross, of_labels = self._of_samples()
        mean, mean_label = total / self.count, of_labels / self.count
        covariance = gram / self.count - torch.outer(mean, mean)
        weights = _solve(covariance, cross / self.count - torch.outer(mean, mean_label), shrinkage, keep=1.0)
        return LinearMap(weights, mean_label - mean @ weights)

    def _lda(self, shrinkage: float) -> LinearMap:
        """Log posterior of normal classes with one covariance S between them (Hastie et al., ESL, 4.10).

        S is the pooled covariance within classes, (1 - s) S + s tr(S)/d I. A class without samples is never answered.
        """
        _, gram, cross, counts = self._of_samples()
        means = cross / counts.clamp(min=1)  # [features, classes]
        shares = counts / self.count
        within = gram / self.count - (means * shares) @ means.T
        weights = _solve(within, means, shrinkage, keep=1 - shrinkage)
        return LinearMap(weights, shares.log() - (means * weights).sum(0) / 2)

    def _of_samples(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        assert self._sums is not None, "no samples were added"
        return self._sums


def _solve(covariance: Tensor, right: Tensor, shrinkage: float, *, keep: float) -> Tensor:
    """Solve (keep C + s tr(C)/d I) W = right."""
    size = len(covariance)
    even = torch.eye(size, dtype=covariance.dtype, device=covariance.device)
    spread = covariance.trace() / size
    whole = keep * covariance + shrinkage * spread * even
    factor, failed = torch.linalg.cholesky_ex(whole)
    # Where it fails, features say the same, or nothing: the shortest weights of those that fit best.
    solved: Tensor = (
        torch.linalg.pinv(whole, hermitian=True) @ right if int(failed) else torch.cholesky_solve(right, factor)
    )
    return solved


def method_for(task: Task) -> Method:
    """LDA of classes, ridge of targets."""
    return "lda" if task == "classification" else "ridge"


def pooled_features(x: Tensor, placement: Placement) -> Tensor:
    """The mean over the patch tokens or the map and, where there is one, the class token [batch, features].

    Args:
        x: features in the placement's layout.
        placement: where they come from.
    """
    parts = [features.mean_token(x, placement)] if placement.patch_count else []
    if placement.class_token or not parts:
        parts.append(features.class_token(x, placement))
    return torch.cat(parts, dim=1)


@torch.inference_mode()
def probe_placements(
    backbone: Backbone,
    data: DataSplits,
    *,
    method: Method | None = None,
    placements: Sequence[int] | None = None,
    shrinkage: float = SHRINKAGE,
    batch_size: int = 128,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> list[Probe]:
    """Score a linear probe of every placement, in order, and last the final exit where it is trained.

    Args:
        backbone: is moved to `device`; its weights stay as they are.
        data: made by `load_data` for this backbone.
        method: `lda`, `ridge`; None takes LDA of classes and ridge of targets.
        placements: None takes all.
        shrinkage: as for `Moments.fit`.
        batch_size: samples that go through the backbone at once.
        device: where to compute; it must know float64.
        progress: called after every batch with the share that is done and words.

    Raises:
        InputError: a placement that does not exist, or a method that does not fit the data.
        UnsupportedError: data for other outputs.
    """
    check_data(backbone, data)
    every = range(len(backbone.placements))
    wanted = sorted(set(every if placements is None else placements))
    for placement in wanted:
        if placement not in every:
            raise InputError(
                f"placements of {backbone.facts.name} run from 0 to {every.stop - 1}, found {placement}; "
                "name placements among these"
            )
    task, device = data.task, torch.device(device)
    method = method or method_for(task)
    backbone.to(device).eval()
    tell = _Teller(progress, len(data.heads) + len(data.choice))
    moments = {placement: Moments(task=task, num_outputs=backbone.num_outputs) for placement in wanted}
    for where, x, labels in _features(backbone, data.heads, wanted, batch_size, device, tell):
        assert where is not None
        moments[where].add(x, labels)
    maps = {placement: sums.fit(method, shrinkage=shrinkage) for placement, sums in moments.items()}
    totals: dict[int | None, float] = dict.fromkeys(wanted, 0.0)
    final = [None] if backbone.final_is_trained else []
    for where, x, labels in _features(backbone, data.choice, [*wanted, *final], batch_size, device, tell):
        outputs = x if where is None else maps[where](x.double())
        totals[where] = totals.get(where, 0.0) + score_sum(outputs, labels, task=task)
    return [
        Probe(where, "" if where is None else backbone.placements[where].module, total / len(data.choice))
        for where, total in totals.items()
    ]


def _features(
    backbone: Backbone,
    split: Split,
    wanted: Sequence[int | None],
    batch_size: int,
    device: torch.device,
    tell: _Teller,
) -> Iterator[tuple[int | None, Tensor, Tensor]]:
    """Yield (placement, pooled features [batch, features], labels) and, under None, the final exit's outputs."""
    dtype = next(backbone.parameters()).dtype
    last = max((placement for placement in wanted if placement is not None), default=-1)
    for images, labels in batches(split, order=in_order(len(split), batch_size)):
        labels = labels.to(device)
        state: State = ()
        for placement, state in enumerate(backbone.states(images.to(device, dtype))):
            if placement in wanted:
                yield placement, pooled_features(state[0], backbone.placements[placement]), labels
            if placement == last and None not in wanted:
                break
        if None in wanted:
            yield None, backbone.final(state), labels
        tell(size_of(images))


class _Teller:
    """Tells how much is done."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self, samples: int) -> None:
        self._done += samples
        if self._progress is not None:
            self._progress(self._done / self._total, "linear probes")
