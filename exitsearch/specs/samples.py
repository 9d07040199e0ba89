"""Samples: labels and raw outputs of every exit on one split, as a safetensors file holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitsearch.errors import FileError, MismatchError
from exitsearch.specs.document import check_readable


@dataclass(frozen=True)
class Samples:
    """Per-sample answers on one split.

    Attributes:
        labels: class indices or targets [samples].
        outputs: raw outputs [samples, num_outputs] of every (placement, head).
        final: raw outputs [samples, num_outputs] of the final exit.
    """

    labels: NDArray[Any]
    outputs: dict[tuple[int, str], NDArray[np.float32]]
    final: NDArray[np.float32]


def read_samples(path: Path, keys: Sequence[tuple[int, str]], *, classes: bool) -> Samples:
    """Labels and raw outputs of a samples file.

    Args:
        keys: (placement, head) of the outputs that are wanted.
        classes: whether labels are classes; otherwise they are targets.

    Raises:
        FileError: it cannot be read, is no safetensors file, or lacks a tensor or holds one of another kind.
        MismatchError: there are not as many labels as rows of outputs.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    names = {key: f"{key[0]}/{key[1]}" for key in keys}
    # safetensors calls whatever it may not open a missing file.
    check_readable(path, missing="no such file; make the outcomes again with exitsearch train-heads")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, KeyError, TypeError) as error:  # the last two of a dtype that numpy lacks
        raise FileError(path, f"not a valid safetensors file: {error}") from None
    missing = [name for name in ("labels", *names.values(), "final") if name not in tensors]
    if missing:
        raise FileError(path, f"the tensor {missing[0]!r} is missing; make the outcomes again")
    samples = Samples(tensors["labels"], {key: tensors[name] for key, name in names.items()}, tensors["final"])
    _check(samples, path, classes=classes)
    return samples


def _check(samples: Samples, path: Path, *, classes: bool) -> None:
    """Whether there is a row of outputs for every label, and an output for every class among the labels."""
    labels, final = samples.labels, samples.final
    if final.ndim != 2 or not final.size or final.dtype.kind != "f":
        raise FileError(path, f"final must be decimal numbers [samples, num_outputs], found {_kind(final)}")
    count, width = final.shape
    for (placement, head), outputs in samples.outputs.items():
        if outputs.shape != final.shape or outputs.dtype.kind != "f":
            rule = f"decimal numbers {list(final.shape)}, as final is"
            raise FileError(path, f"{placement}/{head} must be {rule}, found {_kind(outputs)}")
    if labels.ndim == 0 or len(labels) != count:
        found = f"{len(labels)} labels" if labels.ndim else "one label alone"
        raise MismatchError(
            f"{path}: a label is needed for each of {count} rows of outputs, found {found}; make the outcomes again "
            "with exitsearch train-heads"
        )
    if not classes:
        if labels.size not in (count, final.size) or labels.dtype.kind not in "iuf":
            raise FileError(path, f"labels must be one target a row of outputs or {width}, found {_kind(labels)}")
        return
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise FileError(path, f"labels must be whole numbers [{count}], one a row of outputs, found {_kind(labels)}")
    outside = labels[(labels < 0) | (labels >= width)]
    if len(outside):
        raise FileError(path, f"labels must be from 0 to {width - 1}, as many as outputs, found {int(outside[0])}")


def _kind(array: NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"
