"""Outcomes: what every candidate exit head answered, as a value per (placement, head) and per sample where known.

A folder written by `exitsearch train-heads` holds

    outcomes.json         this document
    answers/<split>/...   what every exit answered to every sample (`answers.py`)
    heads/...             weights of the trained heads

One from before holds every exit's raw outputs instead of `answers/`, in `<split>.safetensors` (`samples.py`).

A values table (`placement,head,value`, last row `final,,VALUE`) that a user brings, or a published one, has one split
called `given` and no samples.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, SerializerFunctionWrapHandler, model_serializer, model_validator

from exitsearch.errors import FileError, InputError
from exitsearch.specs.answers.calibration import FITTED_ON, Calibration
from exitsearch.specs.answers.confidence import fit_temperature
from exitsearch.specs.answers.kept import ExitOutputs, KeptOutputs
from exitsearch.specs.answers.samples import Samples as Samples
from exitsearch.specs.answers.samples import load_samples, samples_frame, samples_path
from exitsearch.specs.backbone import BackboneFacts
from exitsearch.specs.document import Document, Part, read_text
from exitsearch.specs.frames.frame import Frame
from exitsearch.specs.frames.outcomes import OUTCOMES
from exitsearch.specs.table import cell_head, cell_number, cell_placement, read_table

if TYPE_CHECKING:
    import pandas as pd

Metric = Literal["accuracy", "mae"]
Scalar = str | int | float | bool | None
Score = Annotated[float, Field(ge=-1e12, le=1e12)]

VALUES_COLUMNS = ("placement", "head", "value")
DOCUMENT_NAME = "outcomes.json"

# Scores are written in full; one that was rounded to four digits by hand still stands for its samples. Of an accuracy
# this is a difference, of an error a share.
SCORE_TOLERANCE = 1e-4


class _ExitOutcome(Part):
    """What outcomes of heads and of the final exit have in common."""

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Outcomes from before this key keep their identity.
        data: dict[str, Any] = handler(self)
        if data["calibration"] is None:
            del data["calibration"]
        return data


class HeadOutcome(_ExitOutcome):
    """Scores of one head at one placement: the metric's own sign, per split.

    Attributes:
        placement: number of the placement, from 0 in execution order.
        module: name of the module behind which it lies; None where it is not known.
        head: head type, with options where they differ from the defaults: `gah(stride=2)`.
        scores: by split, in the outcomes' metric.
        calibration: of its confidence; None where it is not known. Written only where it is.
    """

    placement: int = Field(ge=0)
    module: str | None = None
    head: str
    scores: dict[str, Score]
    calibration: Calibration | None = None


class FinalOutcome(_ExitOutcome):
    """The same of the backbone's own final exit.

    Attributes:
        scores: by split, in the outcomes' metric.
        calibration: of its confidence; None where it is not known. Written only where it is.
    """

    scores: dict[str, Score]
    calibration: Calibration | None = None


class DroppedHead(Part):
    """A candidate head that has no outcome.

    Attributes:
        placement: number of its placement.
        head: its head type, with options.
        reason: why, as the end of a sentence: `its loss became nan in epoch 2, step 5`.
    """

    placement: int = Field(ge=0)
    head: str
    reason: str

    def __str__(self) -> str:
        return f"{self.head} at placement {self.placement} was dropped: {self.reason}"


class Outcomes(Document):
    """Value of every candidate head, from training or from a table.

    Attributes:
        created: when, in ISO 8601, UTC.
        backbone: that the heads read.
        heads: scores of every trained head.
        final: of the backbone's own final exit.
        metric: `accuracy` (0..1, higher is better) or `mae` (lower is better) in a document; scores keep its sign.
        fallback: score of having no answer in time; None where it is not known.
        splits: number of samples of each split; 0 where unknown.
        source: where the scores come from, for people.
        training: recipe, seed, data and weights of the backbone they were trained over.
        dropped: candidate heads that came to nothing. Written only where there are any.
        constant_errors: per split, the error of the best constant answer to a regression: the median of the targets
            that heads were trained on. Written only where it is known.
    """

    kind: ClassVar[str] = "outcomes document"
    frame: ClassVar[Frame] = OUTCOMES
    created: str = ""
    backbone: BackboneFacts
    metric: Metric
    fallback: Score | None = None
    splits: dict[str, int] = Field(min_length=1)
    source: str = ""
    training: dict[str, Scalar] = {}
    heads: list[HeadOutcome]
    final: FinalOutcome
    dropped: list[DroppedHead] = []
    constant_errors: dict[str, Score] = {}
    _folder: Path | None = PrivateAttr(default=None)
    _checked: set[str] = PrivateAttr(default_factory=set)

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Outcomes from before this key keep their identity.
        data: dict[str, Any] = handler(self)
        for name in ("dropped", "constant_errors"):
            if not data[name]:
                del data[name]
        return data

    @model_validator(mode="after")
    def _check_scores(self) -> Outcomes:
        if self.fallback is not None:
            check_score(self.fallback, self.metric, "fallback")
        for split, error in self.constant_errors.items():
            check_score(error, "mae", f"constant_errors, split {split}")
        seen: set[tuple[int, str]] = set()
        parts: list[tuple[str, dict[str, float]]] = [("final", self.final.scores)]
        for outcome in self.heads:
            key = (outcome.placement, outcome.head)
            if key in seen:
                raise ValueError(f"{outcome.head} at placement {outcome.placement} stands there twice")
            seen.add(key)
            parts.append((f"{outcome.head} at placement {outcome.placement}", outcome.scores))
        for what, scores in parts:
            if set(scores) != set(self.splits):
                found = ", ".join(scores) or "none"
                raise ValueError(f"{what} needs scores for {', '.join(self.splits)}, found {found}")
            for split, score in scores.items():
                check_score(score, self.metric, f"{what}, split {split}")
        return self

    @property
    def choice_split(self) -> str:
        """The split that a search chooses on."""
        return "choice" if "choice" in self.splits else next(iter(self.splits))

    @property
    def report_split(self) -> str | None:
        """The split that the choice is judged on, or None when there is only one."""
        return "report" if "report" in self.splits else None

    def values(self, split: str | None = None) -> dict[tuple[int, str], float]:
        """Value (higher is better: accuracy, or minus the error) of every (placement, head) on one split."""
        split = split or self.choice_split
        return {(o.placement, o.head): as_value(o.scores[split], self.metric) for o in self.heads}

    def final_value(self, split: str | None = None) -> float:
        """Value of the final exit on one split."""
        return as_value(self.final.scores[split or self.choice_split], self.metric)

    def relative_error(self, score: float, split: str | None = None) -> float | None:
        """A mean absolute error over that of the best constant answer, on one split; None where that is not known."""
        constant = self.constant_errors.get(split or self.choice_split)
        return score / constant if constant else None

    @property
    def document(self) -> Outcomes:
        """What was read: itself."""
        return self

    @property
    def utility_name(self) -> str | None:
        """What answers are worth instead of the metric, in words; None: the metric."""
        return None

    @property
    def holds_classes(self) -> bool:
        """Whether the outputs are those of a classification."""
        return self.metric == "accuracy"

    def each_value(self, outputs: ExitOutputs, labels: NDArray[Any]) -> NDArray[Any]:
        """What each sample's answer is worth [samples]: whether it is right, or minus the absolute error.

        Args:
            outputs: raw outputs [samples, num_outputs], or what is kept of them.
            labels: class indices or targets [samples].
        """
        if self.metric == "accuracy":
            return np.asarray(outputs.argmax(axis=1) == labels)
        assert isinstance(outputs, np.ndarray), "outputs of a regression are kept as they are"
        # One target a sample, or as many as outputs.
        answers = outputs.astype(np.float64) if labels.size == outputs.size else outputs[:, :1].astype(np.float64)
        return np.asarray(-np.abs(answers - labels.reshape(answers.shape)).mean(axis=1))

    def sample_weights(self, labels: NDArray[Any]) -> NDArray[np.float64] | None:
        """How much each sample counts [samples], 1 on the average; None: all alike.

        `each_value` has been multiplied by it.
        """
        return None

    @property
    def folder(self) -> Path | None:
        """The folder with the samples and the heads; None where only scores are known."""
        return self._folder

    def samples(self, split: str) -> Samples | None:
        """Per-sample answers on one split, or None when only scores are known.

        Raises:
            FileError: when the samples file is missing or does not fit the document.
            MismatchError: when its labels and outputs do not fit together.
        """
        if self._folder is None:
            return None
        keys = [(o.placement, o.head) for o in self.heads]
        return load_samples(self._folder, split, keys, classes=self.holds_classes)

    def samples_frame(self, split: str | None = None) -> pd.DataFrame:
        """Every answer to every sample of a split, for pandas; its columns are told at `samples.samples_frame`.

        Args:
            split: None takes the one that a search chooses on.

        Raises:
            InputError: only scores are known, or there is no such split.
            FileError: the samples are missing or do not fit the document.
        """
        split = split or self.choice_split
        if split not in self.splits:
            raise InputError(
                f"these outcomes have the splits {', '.join(self.splits)}, found {split!r}; name one of them"
            )
        samples = self.samples(split)
        if samples is None:
            raise InputError(
                f"{self.source or 'these outcomes'} hold only scores, and no sample's answers; "
                "make them with exitsearch train-heads"
            )
        temperatures: dict[tuple[int, str] | None, float] = {}
        if self.holds_classes and not isinstance(samples.final, KeptOutputs):
            fitted = self.samples(FITTED_ON) if FITTED_ON in self.splits else samples
            assert fitted is not None
            for key, outputs in [*fitted.outputs.items(), (None, fitted.final)]:
                assert isinstance(outputs, np.ndarray)
                temperatures[key] = fit_temperature(outputs, fitted.labels)
        return samples_frame(samples, temperatures=temperatures)

    def check_samples(self) -> None:
        """Compare the scores of every split with its samples, once, where there is a file of them.

        Raises:
            FileError: one that cannot be read, does not fit the document, or holds other scores than it.
            MismatchError: labels and outputs of a split do not fit together.
        """
        for split in self.splits:
            if self._folder is None or split in self._checked:
                continue
            path = samples_path(self._folder, split)
            if not path.exists():
                continue
            samples = self.samples(split)
            assert samples is not None
            self._compare(samples, split, path)
            self._checked.add(split)

    def _compare(self, samples: Samples, split: str, path: Path) -> None:
        """Whether the document's own scores are those of the samples, within `SCORE_TOLERANCE`."""
        parts = [("final", self.final.scores[split], samples.final)]
        for o in self.heads:
            parts.append((f"{o.placement}/{o.head}", o.scores[split], samples.outputs[o.placement, o.head]))
        for name, stated, outputs in parts:
            found = as_value(float(self.each_value(outputs, samples.labels).mean()), self.metric)
            unit = 1.0 if self.metric == "accuracy" else max(stated, found)
            if abs(found - stated) > SCORE_TOLERANCE * unit:
                raise FileError(
                    path,
                    f"the samples of {name} have {self.metric} {found:.6g}, {DOCUMENT_NAME} says {stated:.6g} for "
                    f"the split {split}",
                    remedy="make the outcomes again with exitsearch train-heads",
                )

    @classmethod
    def load(cls, path: Path | str) -> Outcomes:
        """Read an outcomes folder, or the `outcomes.json` in it."""
        path = Path(path)
        file = path / DOCUMENT_NAME if os.path.isdir(path) else path
        outcomes = cls.read(file)
        outcomes._folder = file.parent
        if file.name.startswith("outcomes-"):  # scores after an early epoch: the samples beside them are of the end
            outcomes._checked.update(outcomes.splits)
        return outcomes

    @classmethod
    def from_values_csv(cls, path: Path | str, *, metric: Metric = "accuracy", backbone: str | None = None) -> Outcomes:
        """Read a values table: `placement,head,value`, with a last row `final,,VALUE`.

        Raises:
            FileError: when a column is missing or a row breaks a rule.
        """
        return cls.parse_values_csv(
            read_text(path), path, metric=metric, facts=BackboneFacts(name=backbone), source=str(path)
        )

    @classmethod
    def parse_values_csv(
        cls, text: str, path: Path | str, *, metric: Metric, facts: BackboneFacts, source: str
    ) -> Outcomes:
        """Like `from_values_csv`, for text already read; `path` names it in errors."""
        heads: list[dict[str, Any]] = []
        final: float | None = None
        for line, row in read_table(text, path, VALUES_COLUMNS):
            score = cell_number(row, "value", path, line)
            try:
                check_score(score, metric, f"row {line}")
            except ValueError as error:
                raise FileError(path, str(error)) from None
            if row["placement"] == "final":
                if final is not None:
                    raise FileError(path, f"row {line}: final stands there twice")
                final = score
            else:
                placement, head = cell_placement(row, path, line), cell_head(row, path, line)
                heads.append({"placement": placement, "head": head, "scores": {"given": score}})
        if final is None:
            raise FileError(path, "no row `final,,VALUE`, the value of the backbone's own last exit")
        document = {
            "schema_version": cls.current_version,
            "backbone": facts.model_dump(),
            "metric": metric,
            "fallback": 0.0 if metric == "accuracy" else None,
            "splits": {"given": 0},
            "source": source,
            "heads": heads,
            "final": {"scores": {"given": final}},
        }
        return cls.parse(document, path)


def check_score(score: float, metric: str, what: str) -> None:
    """Raise ValueError when a score is outside its metric's range."""
    if not np.isfinite(score):
        raise ValueError(f"{what}: a finite number is needed, found {score:g}")
    if metric == "accuracy" and not 0 <= score <= 1:
        raise ValueError(f"{what}: an accuracy is in 0..1, found {score:g}")
    if metric == "mae" and score < 0:
        raise ValueError(f"{what}: a mean absolute error is at least 0, found {score:g}")


def as_value(score: float, metric: str) -> float:
    """Turn a score into a value, where higher is better. Its own inverse."""
    return -score if metric == "mae" else score
