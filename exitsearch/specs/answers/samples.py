"""Samples: labels, and the outputs of every exit on one split or what is kept of them.

Two layouts are read: one small file an exit (`answers.py`), as exitsearch writes them; and, as it once did, one
safetensors file a split with `labels`, and raw outputs under `<placement>/<head>` and `final`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exitsearch.errors import FileError, MismatchError
from exitsearch.specs.answers.kept import (
    ANSWERS_FOLDER,
    FINAL_FILE,
    LABELS_FILE,
    ExitOutputs,
    KeptOutputs,
    exit_file,
    read_kept,
    read_labels,
    read_targets,
    write_kept,
)
from exitsearch.specs.document import check_readable, write_bytes

if TYPE_CHECKING:
    import pandas as pd

Key = tuple[int, str]


@dataclass(frozen=True)
class Samples:
    """Per-sample answers on one split.

    Attributes:
        labels: class indices or targets [samples].
        outputs: raw outputs [samples, num_outputs] of every (placement, head), or what is kept of them.
        final: the same of the final exit.
    """

    labels: NDArray[Any]
    outputs: dict[Key, ExitOutputs]
    final: ExitOutputs


def samples_path(folder: Path, split: str) -> Path:
    """Where a folder of outcomes has the samples of a split: a folder, or the one file of the older layout."""
    kept = folder / ANSWERS_FOLDER / split
    return kept if kept.is_dir() else folder / f"{split}.safetensors"


def load_samples(folder: Path, split: str, keys: Sequence[Key], *, classes: bool) -> Samples:
    """Labels and answers of a split, in whichever layout a folder of outcomes has them.

    Args:
        keys: (placement, head) of the answers that are wanted.
        classes: whether labels are classes; otherwise they are targets.

    Raises:
        FileError: a file cannot be read, is no safetensors file, or lacks a tensor or holds one of another kind.
        MismatchError: there are not as many labels as answers.
    """
    path = samples_path(folder, split)
    return (read_answers if path.parent != folder else read_samples)(path, keys, classes=classes)


def read_answers(folder: Path, keys: Sequence[Key], *, classes: bool) -> Samples:
    """Labels and answers of a split from its folder; arguments and errors as in `load_samples`."""
    read = read_kept if classes else read_targets
    files = {key: folder / exit_file(*key) for key in keys}
    samples = Samples(
        read_labels(folder / LABELS_FILE), {key: read(file) for key, file in files.items()}, read(folder / FINAL_FILE)
    )
    for key, outputs in samples.outputs.items():
        if outputs.shape != samples.final.shape:
            rule = f"answers must be {list(samples.final.shape)}, as those of the final exit are"
            raise FileError(files[key], f"{rule}, found {list(outputs.shape)}")
    _check_labels(samples, folder / LABELS_FILE, classes=classes)
    return samples


def read_samples(path: Path, keys: Sequence[Key], *, classes: bool) -> Samples:
    """Labels and raw outputs of a split from one file; arguments and errors as in `load_samples`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    names = {key: f"{key[0]}/{key[1]}" for key in keys}
    # safetensors calls whatever it may not open a missing file.
    check_readable(path, remedy="make the outcomes again with exitsearch train-heads")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, KeyError, TypeError) as error:  # the last two of a dtype that numpy lacks
        raise FileError(path, f"not a valid safetensors file: {error}") from None
    missing = [name for name in ("labels", *names.values(), "final") if name not in tensors]
    if missing:
        raise FileError(path, f"the tensor {missing[0]!r} is missing", remedy="make the outcomes again")
    final, outputs = tensors["final"], {key: tensors[name] for key, name in names.items()}
    if final.ndim != 2 or not final.size or final.dtype.kind != "f":
        raise FileError(path, f"final must be decimal numbers [samples, num_outputs], found {_kind(final)}")
    for (placement, head), found in outputs.items():
        if found.shape != final.shape or found.dtype.kind != "f":
            rule = f"decimal numbers {list(final.shape)}, as final is"
            raise FileError(path, f"{placement}/{head} must be {rule}, found {_kind(found)}")
    samples = Samples(tensors["labels"], {**outputs}, final)
    _check_labels(samples, path, classes=classes)
    return samples


def write_samples(folder: Path, split: str, samples: Samples) -> None:
    """Write labels and answers that are at hand into a folder of outcomes.

    What is kept of outputs goes to one file an exit, raw outputs to one file a split.

    Raises:
        FileError: a file cannot be written.
    """
    from safetensors.numpy import save

    if isinstance(samples.final, np.ndarray):
        exits = {f"{placement}/{head}": outputs for (placement, head), outputs in samples.outputs.items()}
        tensors = {"labels": samples.labels, "final": samples.final, **exits}
        write_bytes(
            folder / f"{split}.safetensors", save({name: np.ascontiguousarray(tensors[name]) for name in tensors})
        )
        return
    place = folder / ANSWERS_FOLDER / split
    write_bytes(place / LABELS_FILE, save({"labels": np.ascontiguousarray(samples.labels)}))
    for name, outputs in {FINAL_FILE: samples.final, **{exit_file(*k): o for k, o in samples.outputs.items()}}.items():
        assert isinstance(outputs, KeptOutputs), "all exits are kept alike"
        write_kept(place / name, outputs)


def _check_labels(samples: Samples, path: Path, *, classes: bool) -> None:
    """Whether there is a label for every row of outputs, and an output for every class among them."""
    labels, (count, width) = samples.labels, samples.final.shape
    if labels.ndim == 0 or len(labels) != count:
        found = f"{len(labels)} labels" if labels.ndim else "one label alone"
        raise MismatchError(
            f"{path}: a label is needed for each of {count} rows of outputs, found {found}; make the outcomes again "
            "with exitsearch train-heads"
        )
    if not classes:
        if labels.size not in (count, samples.final.size) or labels.dtype.kind not in "iuf":
            raise FileError(path, f"labels must be one target a row of outputs or {width}, found {_kind(labels)}")
        return
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise FileError(path, f"labels must be whole numbers [{count}], one a row of outputs, found {_kind(labels)}")
    outside = labels[(labels < 0) | (labels >= width)]
    if len(outside):
        raise FileError(path, f"labels must be from 0 to {width - 1}, as many as outputs, found {int(outside[0])}")


def samples_frame(samples: Samples, *, temperatures: Mapping[Key | None, float]) -> pd.DataFrame:
    """One row for every exit and sample: what was answered and how sure the exit was.

    Columns are `placement` (missing for the final exit), `head` (`final` for it), `sample`, `label`, `prediction`; of
    classes also `right`, `confidence`, `entropy`, `margin` (at the exit's temperature) and `raw_confidence`. Several
    targets have a column each, `label_0`, `prediction_0` and so on.

    Args:
        temperatures: of every exit that has raw outputs of classes, the final one under None; empty for targets.
    """
    import pandas as pd

    exits: list[tuple[Key | None, ExitOutputs]] = [*samples.outputs.items(), (None, samples.final)]
    frames = []
    for key, outputs in exits:
        place, head = key or (None, "final")
        rows = len(outputs)
        named: dict[str, Any] = {
            "placement": pd.array([place] * rows, dtype="Int64"),
            "head": pd.Categorical([head] * rows),
            "sample": np.arange(rows, dtype=np.int32),
        }
        if isinstance(outputs, np.ndarray) and temperatures:
            outputs = KeptOutputs.of(outputs, temperature=temperatures[key])
        answers = _class_columns if isinstance(outputs, KeptOutputs) else _target_columns
        frames.append(pd.DataFrame(named | answers(outputs, samples.labels)))
    whole = pd.concat(frames, ignore_index=True)
    # Categories of several frames do not go together by themselves.
    return whole.astype({"head": "category"})


def _class_columns(outputs: Any, labels: NDArray[Any]) -> dict[str, NDArray[Any]]:
    columns = {"label": labels, "prediction": outputs.prediction, "right": outputs.prediction == labels}
    return columns | {name: getattr(outputs, name) for name in ("confidence", "entropy", "margin", "raw_confidence")}


def _target_columns(outputs: Any, labels: NDArray[Any]) -> dict[str, NDArray[Any]]:
    targets = labels.reshape(len(outputs), -1)
    found = {"label": targets, "prediction": outputs}
    if targets.shape[1] == outputs.shape[1] == 1:
        return {name: columns[:, 0] for name, columns in found.items()}
    return {f"{name}_{k}": columns[:, k] for name, columns in found.items() for k in range(columns.shape[1])}


def _kind(array: NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"
