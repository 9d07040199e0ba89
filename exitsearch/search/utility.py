"""What an answer is worth when being wrong is not always equally bad: class weights, or a function of one's own.

A utility is a number for every sample's answer. Its mean over a split stands where the accuracy (or minus the error)
stood: in the values that are searched, in the replay of thresholds, and on the report split with its interval.

    # my_utility.py
    import numpy as np

    def value(outputs, labels):              # [samples, num_outputs] before the softmax, [samples]
        return np.where(outputs.argmax(axis=1) == labels, 1.0, -0.2)

Where only the answers were kept, `outputs` can say no more than `argmax(axis=1)`; a function that asks for more needs
outcomes that were made with --keep-logits.
"""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitsearch.errors import FileError, InputError, shown
from exitsearch.specs.answers.kept import ExitOutputs, KeptOutputs, NotKeptError
from exitsearch.specs.document import check_readable, read_text
from exitsearch.specs.table import cell_number, read_table, whole_number

Array = NDArray[np.float64]
Each = Callable[[Any, NDArray[Any]], Any]


@dataclass(frozen=True)
class Utility:
    """What answers are worth.

    Attributes:
        name: for people and documents.
        each: from outputs [samples, num_outputs] and labels [samples] to a number for every sample [samples], higher is
            better.
        fallback: utility of having no answer in time.
        of_classes: whether only a classification has it.
        weights: from labels [samples] to how much each sample counts [samples], 1 on the average; what `each` returns
            has been multiplied by it. None: all count alike.
    """

    name: str
    each: Each
    fallback: float = 0.0
    of_classes: bool = False
    weights: Callable[[NDArray[Any]], Array] | None = None

    def __call__(self, outputs: ExitOutputs, labels: NDArray[Any]) -> Array:
        """The utility of every sample's answer [samples].

        Raises:
            InputError: the function raises, returns something else than one finite number a sample, or asks for outputs
                that were not kept.
        """
        given: Any = outputs
        if isinstance(outputs, KeptOutputs) and not self.of_classes:
            full = outputs.full()
            given = outputs if full is None else full
        try:
            found = np.asarray(self.each(given, labels), dtype=np.float64)
        except NotKeptError as error:
            raise InputError(f"{self.name} asks for more than outputs.argmax(axis=1): {error}") from None
        except InputError:
            raise
        except (Exception, SystemExit) as error:  # it is the user's own
            raise InputError(f"{self.name} failed: {type(error).__name__}: {error}; correct the function") from error
        rule = f"{self.name} must return one finite number for each of {len(labels)} samples"
        if found.shape != (len(labels),):
            raise InputError(f"{rule}, found an array of shape {list(found.shape)}; correct the function")
        if not np.isfinite(found).all():
            row = int(np.flatnonzero(~np.isfinite(found))[0])
            raise InputError(f"{rule}, found {found[row]} for sample {row}; correct the function")
        return found


def given_utility(utility: Utility | None, asked: dict[str, Any]) -> Utility | None:
    """The utility of a search's keywords, whose name becomes part of what is asked.

    Args:
        utility: by its own keyword.
        asked: the other keywords, in which it may stand under its former name, `worth`.
    """
    if isinstance(asked.get("worth"), Utility):
        warnings.warn("the keyword worth is called utility now", DeprecationWarning, stacklevel=3)
        utility = asked["worth"]
    asked["worth"] = None if utility is None else utility.name
    return utility


def load_utility(source: str) -> Utility:
    """A function of the user's own.

    Args:
        source: `FILE.py:FUNCTION`. The function takes outputs [samples, num_outputs] before the softmax (for a
            regression the answers) and labels [samples], and returns what each answer is worth [samples]. Having no
            answer is worth 0 unless `--fallback` says otherwise.

    Raises:
        FileError: the file is missing.
        InputError: the file cannot be run, or holds no such function.
    """
    path, colon, name = source.rpartition(":")
    if not colon or not name.isidentifier():
        raise InputError(f"a worth function is written FILE.py:FUNCTION, found {source!r}; write it in that form")
    check_readable(path)
    file = Path(path).resolve()
    # Two files may have the same name in different folders.
    module_name = f"exitsearch_worth_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}_{file.stem}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise FileError(
            path, "a worth function stands in a Python file (.py)", remedy="name one (--worth FILE.py:FUNCTION)"
        )
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"{path} cannot be run: {type(error).__name__}: {error}; correct the file") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise InputError(f"{path} holds no function {name!r}; define it there, or name another one after the colon")
    return Utility(f"{file.name}:{name}", function)


def load_class_weights(path: Path | str) -> Utility:
    """Class-weighted accuracy: the weights of the rightly answered samples over those of all.

    Args:
        path: a CSV table `label,weight`; weights are at least 0, every label that occurs needs one.

    Raises:
        FileError: a column is missing or a row breaks a rule.
    """
    weights: dict[int, float] = {}
    for line, row in read_table(read_text(path), path, ("label", "weight")):
        label, weight = whole_number(row["label"]), cell_number(row, "weight", path, line)
        if label is None:
            raise FileError(path, f"row {line}: label must be a whole number from 0, found {shown(row['label'])}")
        if weight < 0:
            raise FileError(path, f"row {line}: weight must be at least 0, found {weight:g}")
        if label in weights:
            raise FileError(path, f"row {line}: label {label} stands there twice")
        weights[label] = weight
    if not any(weights.values()):
        raise FileError(path, "some weight must be above 0, found none")

    def of_labels(labels: NDArray[Any]) -> Array:
        found = sorted({int(label) for label in np.unique(labels)})
        missing = [label for label in found if label not in weights]
        if missing:
            raise FileError(path, f"label {missing[0]} occurs among the samples and has no weight")
        mine = np.zeros(found[-1] + 1)
        mine[found] = [weights[label] for label in found]
        each_weight = mine[labels.astype(np.int64)]
        if not each_weight.any():
            raise FileError(path, "every label that occurs among the samples has weight 0")
        # Over the mean weight of these samples, so that the mean of all is the weighted accuracy.
        relative: Array = each_weight / each_weight.mean()
        return relative

    def each(outputs: NDArray[np.float32], labels: NDArray[Any]) -> Array:
        weighted: Array = (outputs.argmax(axis=1) == labels) * of_labels(labels)
        return weighted

    return Utility(f"class weights {Path(path).name}", each, of_classes=True, weights=of_labels)
