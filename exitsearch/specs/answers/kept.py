"""Answers: what is kept of each exit's outputs, one small file an exit and split.

    answers/<split>/labels.safetensors                  `labels` [samples]
    answers/<split>/<placement>__<head>.safetensors     of one head, as below
    answers/<split>/final.safetensors                   of the final exit

Of a classification a file holds a number each for every sample: `prediction`, the class; `raw_confidence`, the largest
probability; and at the exit's temperature `confidence`, the same, `entropy`, of the probabilities in nats, and
`margin`, the largest less the second largest. Its facts are the `temperature` and the number of `classes`. Where it was
asked for, `outputs` [samples, classes] stand there too, in float16. Of a regression it holds `prediction` [samples,
targets], which are the outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, unquote

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import DTypeLike, NDArray

from exitsearch.errors import FileError, InputError
from exitsearch.specs.answers.confidence import Floats, certainty, largest_probability, sureness
from exitsearch.specs.answers.tensor_file import TensorFile
from exitsearch.specs.document import check_readable

ANSWERS_FOLDER = "answers"
LABELS_FILE = "labels.safetensors"
FINAL_FILE = "final.safetensors"

_NUMBERS = ("raw_confidence", "confidence", "entropy", "margin")
_COLUMNS = ("prediction", *_NUMBERS)
_MISSING = "no such file; make the outcomes again with exitsearch train-heads"


class NotKeptError(InputError):
    """Outputs are asked for of which only the answers were kept."""


@dataclass(frozen=True, eq=False)
class KeptOutputs(NDArrayOperatorsMixin):
    """What is kept of the outputs of one exit of a classification.

    It stands where raw outputs [samples, classes] may stand. Like them it has a length, a shape and `argmax(axis=1)`,
    and can be cut by samples; whatever asks it for the outputs themselves is told that they were not kept.

    Attributes:
        prediction: the class [samples].
        raw_confidence: largest probability, at temperature 1 [samples].
        confidence: largest probability at the temperature [samples].
        entropy: of the probabilities at the temperature, in nats [samples].
        margin: largest less second largest probability at the temperature [samples].
        temperature: by which outputs were divided.
        classes: how many.
        load: reads the outputs [samples, classes]; None where they were not kept.
    """

    prediction: NDArray[Any]
    raw_confidence: Floats
    confidence: Floats
    entropy: Floats
    margin: Floats
    temperature: float
    classes: int
    load: Callable[[], Floats] | None = None

    @classmethod
    def of(cls, outputs: Floats, *, temperature: float) -> KeptOutputs:
        """What is kept of outputs [samples, classes]."""
        sure, classes = sureness(outputs, temperature=temperature), outputs.shape[1]
        return cls(
            prediction=outputs.argmax(axis=1).astype(_prediction_dtype(classes)),
            raw_confidence=largest_probability(outputs),
            confidence=sure.largest,
            entropy=sure.entropy,
            margin=sure.margin,
            temperature=temperature,
            classes=classes,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(samples, classes), as of the outputs."""
        return len(self.prediction), self.classes

    @property
    def ndim(self) -> int:
        """As of the outputs."""
        return 2

    @property
    def size(self) -> int:
        """As of the outputs."""
        return len(self) * self.classes

    @classmethod
    def joined(cls, parts: Sequence[KeptOutputs]) -> KeptOutputs:
        """One exit's answers on several splits, one after the other; full outputs are left out."""
        assert len({(part.temperature, part.classes) for part in parts}) == 1, "of one exit"
        numbers: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
        return replace(parts[0], **numbers | {"load": None})

    def argmax(self, axis: int | None = None, out: None = None) -> NDArray[Any]:
        """The class of every sample [samples]; `axis` must be that of the classes."""
        if axis not in (1, -1) or out is not None:
            _not_kept()
        return self.prediction

    def score(self, name: str) -> Floats:
        """How sure the exit is at its temperature [samples]: `softmax`, `entropy` (1 less its share) or `margin`."""
        if name == "entropy":
            return certainty(self.entropy, classes=self.classes)
        return {"softmax": self.confidence, "margin": self.margin}[name]

    def full(self) -> Floats | None:
        """The outputs [samples, classes] in float32, where they were kept."""
        return None if self.load is None else self.load()

    def __len__(self) -> int:
        return len(self.prediction)

    def __getitem__(self, rows: Any) -> KeptOutputs:
        if not isinstance(rows, slice) and (not isinstance(rows, np.ndarray) or rows.ndim != 1):
            _not_kept()  # an element, or columns
        cut: dict[str, Any] = {name: getattr(self, name)[rows] for name in _COLUMNS}
        if load := self.load:
            cut["load"] = lambda: load()[rows]
        return replace(self, **cut)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _not_kept()

    def __array__(self, *_: Any, **__: Any) -> NDArray[Any]:
        _not_kept()

    def __array_ufunc__(self, *_: Any, **__: Any) -> Any:
        _not_kept()


ExitOutputs = NDArray[np.float32] | KeptOutputs


def _not_kept() -> NoReturn:
    raise NotKeptError(
        "of each answer its class and how sure it is were kept, not the outputs; make them again with "
        "exitsearch train-heads --keep-logits"
    )


def _prediction_dtype(classes: int) -> DTypeLike:
    return np.int16 if classes <= np.iinfo(np.int16).max else np.int32


def exit_file(placement: int, head: str) -> str:
    """Name of the file of one (placement, head): of its weights, and of its answers."""
    return f"{placement}__{quote(head, safe='(),=')}.safetensors"


def parse_exit_file(name: str) -> tuple[int, str] | None:
    """The (placement, head) of a file's name; None of any other name."""
    placement, line, head = name.removesuffix(".safetensors").partition("__")
    return (int(placement), unquote(head)) if line and placement.isdecimal() else None


def new_classes_file(
    path: Path, *, samples: int, classes: int, temperature: float, keep_outputs: bool = False
) -> TensorFile:
    """A file of answers of a classification, to be written in blocks of `classes_rows`."""
    tensors: dict[str, tuple[DTypeLike, tuple[int, ...]]] = {"prediction": (_prediction_dtype(classes), (samples,))}
    tensors |= dict.fromkeys(_NUMBERS, (np.float32, (samples,)))
    if keep_outputs:
        tensors["outputs"] = (np.float16, (samples, classes))
    return TensorFile(path, tensors, facts={"temperature": repr(temperature), "classes": str(classes)})


def classes_rows(kept: KeptOutputs, outputs: Floats | None = None) -> dict[str, NDArray[Any]]:
    """A block of rows for `new_classes_file`; with the outputs [rows, classes] where they are kept."""
    rows: dict[str, NDArray[Any]] = {name: getattr(kept, name) for name in _COLUMNS}
    if outputs is not None:
        # Beyond float16's range they are as sure as can be.
        most = np.finfo(np.float16).max
        rows["outputs"] = outputs.clip(-most, most)
    return rows


def new_targets_file(path: Path, *, samples: int, targets: int) -> TensorFile:
    """A file of answers of a regression, to be written in blocks of `prediction` [rows, targets]."""
    return TensorFile(path, {"prediction": (np.float32, (samples, targets))}, facts={})


def write_kept(path: Path, kept: KeptOutputs) -> None:
    """Write answers of a classification that are at hand, without outputs.

    Raises:
        FileError: the file cannot be written.
    """
    file = new_classes_file(path, samples=len(kept), classes=kept.classes, temperature=kept.temperature)
    file.write(0, classes_rows(kept))
    file.finish()


def read_labels(path: Path) -> NDArray[Any]:
    """The labels of a split.

    Raises:
        FileError: the file is missing, or is not one of labels.
    """
    with _opened(path) as file:
        labels: NDArray[Any] = _tensor(file, "labels", path)
    return labels


def read_targets(path: Path) -> NDArray[np.float32]:
    """The outputs [samples, targets] of one exit of a regression.

    Raises:
        FileError: the file is missing, or is not one of such answers.
    """
    with _opened(path) as file:
        found = _tensor(file, "prediction", path)
    if found.ndim != 2 or found.dtype != np.float32 or not np.isfinite(found).all():
        raise FileError(path, f"prediction must be finite float32 [samples, targets], found {_kind(found)}")
    return found


def read_kept(path: Path) -> KeptOutputs:
    """What is kept of the outputs of one exit of a classification.

    Raises:
        FileError: the file is missing, or is not one of such answers.
    """
    with _opened(path) as file:
        facts = file.metadata() or {}
        tensors = {name: _tensor(file, name, path) for name in _COLUMNS}
        full = "outputs" in file.keys()  # noqa: SIM118 (safetensors' own object, which is no dict)
    try:
        temperature, classes = float(facts["temperature"]), int(facts["classes"])
    except (KeyError, ValueError):
        raise FileError(path, "its facts must hold temperature and classes", remedy="make the outcomes again") from None
    prediction = tensors["prediction"]
    if prediction.ndim != 1 or prediction.dtype.kind != "i" or not len(prediction):
        raise FileError(path, f"prediction must be whole numbers [samples], found {_kind(prediction)}")
    if not 0 <= prediction.min() <= prediction.max() < classes:
        raise FileError(path, f"prediction must be from 0 to {classes - 1}, found {_outside(prediction, classes)}")
    for name in _NUMBERS:
        found = tensors[name]
        if found.shape != prediction.shape or found.dtype != np.float32 or not np.isfinite(found).all():
            raise FileError(path, f"{name} must be finite float32 {list(prediction.shape)}, found {_kind(found)}")
    if not (np.isfinite(temperature) and temperature > 0 and classes >= 2):
        raise FileError(path, f"temperature must be above 0, and classes at least 2; found {temperature}, {classes}")
    load = (lambda: _load_outputs(path, (len(prediction), classes))) if full else None
    return KeptOutputs(**tensors, temperature=temperature, classes=classes, load=load)


def _load_outputs(path: Path, shape: tuple[int, int]) -> Floats:
    with _opened(path) as file:
        found = _tensor(file, "outputs", path)
    if found.shape != shape or found.dtype != np.float16:
        raise FileError(path, f"outputs must be float16 {list(shape)}, found {_kind(found)}")
    return found.astype(np.float32)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An open safetensors file, whose errors are ours."""
    from safetensors import SafetensorError, safe_open

    # safetensors calls whatever it may not open a missing file.
    check_readable(path, missing=_MISSING)
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError, TypeError, KeyError) as error:  # the last two of a dtype that numpy lacks
        raise FileError(path, f"not a valid safetensors file: {error}") from None


def _tensor(file: Any, name: str, path: Path) -> NDArray[Any]:
    if name not in file.keys():  # noqa: SIM118 (safetensors' own object, which is no dict)
        raise FileError(path, f"the tensor {name!r} is missing", remedy="make the outcomes again")
    found: NDArray[Any] = file.get_tensor(name)
    return found


def _outside(prediction: NDArray[Any], classes: int) -> int:
    return int(prediction[(prediction < 0) | (prediction >= classes)][0])


def _kind(array: NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"
