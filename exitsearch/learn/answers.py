"""Writing answers: one pass of the backbone over a split feeds every head, and each block goes straight to disk.

Memory does not grow with the samples. What `specs/answers/kept.py` tells of is written as it comes; only a temperature
needs outputs several times over. So the samples that it is fitted on, at most 5,000 of the choice split, answer first;
their outputs stay on disk in float32 until every head has its temperature, and are then removed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.numpy
from torch import Tensor

from exitsearch.errors import ExitSearchError
from exitsearch.learn.bank.denormals import denormals_flushed
from exitsearch.learn.bank.trainer import FINAL, HeadTrainer
from exitsearch.learn.data import DataSplits
from exitsearch.learn.data.tiles import picture_labels
from exitsearch.specs.answers.calibration import FITTED_ON
from exitsearch.specs.answers.confidence import Floats, fit_temperature, fitted_rows
from exitsearch.specs.answers.kept import (
    ANSWERS_FOLDER,
    FINAL_FILE,
    LABELS_FILE,
    KeptOutputs,
    classes_rows,
    exit_file,
    new_classes_file,
    new_targets_file,
    write_kept,
)
from exitsearch.specs.answers.samples import read_samples
from exitsearch.specs.answers.tensor_file import TensorFile
from exitsearch.specs.document import unwritable, write_bytes
from exitsearch.specs.outcomes import DOCUMENT_NAME, DroppedHead, Outcomes

HELD_OUT = ("choice", "report")

# (share that is done, words)
Progress = Callable[[float, str], None]

_FITTING = ".fitting-"


@denormals_flushed()
def write_answers(
    trainer: HeadTrainer,
    data: DataSplits,
    out: Path | str,
    *,
    keys: Iterable[str] | None = None,
    keep_logits: bool = False,
    progress: Progress | None = None,
) -> list[DroppedHead]:
    """Let heads answer the held-out splits and write what is kept of it, a head's files whole or not at all.

    Processes that share `out` may each write some heads; one of them writes `final`.

    Args:
        trainer: whose heads answer, as they stand.
        out: the folder of outcomes.
        keys: `<placement>/<head>` of those that answer, and `final`; None takes all of the trainer's and `final`.
        keep_logits: whether the outputs of a classification are kept too, in float16.
        progress: called after every block with the share that is done and words; what it raises ends the work.

    Returns:
        Heads whose answers are not finite; nothing is written of them.

    Raises:
        FileError: a file cannot be written.
        ExitSearchError: the final exit's answers are not finite; names the first exit of which that holds.
    """
    wanted = [*(trainee.key for trainee in trainer.trainees if trainee.key != FINAL), FINAL] if keys is None else keys
    folder = Path(out) / ANSWERS_FOLDER
    for name in HELD_OUT:
        labels = safetensors.numpy.save({"labels": picture_labels(data.split(name)).numpy()})
        write_bytes(folder / name / LABELS_FILE, labels)
    writing = _Writing(trainer, data, folder, list(dict.fromkeys(wanted)), keep_logits, progress)
    try:
        writing.run()
    except BaseException:
        writing.drop()
        raise
    return writing.dropped


def drop_answers(out: Path | str) -> None:
    """Remove every answer from a folder of outcomes, those of the older layout too."""
    shutil.rmtree(Path(out) / ANSWERS_FOLDER, ignore_errors=True)
    for name in HELD_OUT:
        (Path(out) / f"{name}.safetensors").unlink(missing_ok=True)


def drop_leftovers(out: Path | str) -> None:
    """Remove what runs that were killed left half written. No other process may be writing."""
    folder = Path(out) / ANSWERS_FOLDER
    for path in folder.glob(f"{_FITTING}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob("*/.*.partial"):
        path.unlink(missing_ok=True)


def are_answered(out: Path | str, key: str) -> bool:
    """Whether the answers of an exit stand in a folder of outcomes."""
    return all(answers_file(Path(out) / ANSWERS_FOLDER / name, key).exists() for name in HELD_OUT)


def renew_answers(out: Path | str) -> None:
    """Bring the answers of a folder of outcomes in the older layout, if that is what it has, into today's.

    Raises:
        FileError: they cannot be read or written.
    """
    older = [Path(out) / f"{name}.safetensors" for name in HELD_OUT]
    if not all(path.exists() for path in older) or not (Path(out) / DOCUMENT_NAME).exists():
        return
    outcomes = Outcomes.load(out)
    pairs = [(head.placement, head.head) for head in outcomes.heads]
    samples = {
        name: read_samples(path, pairs, classes=outcomes.holds_classes)
        for name, path in zip(HELD_OUT, older, strict=True)
    }
    fitted, made = samples[FITTED_ON], Path(out) / f".{ANSWERS_FOLDER}.partial"
    shutil.rmtree(made, ignore_errors=True)
    for name, found in samples.items():
        folder = made / name
        write_bytes(folder / LABELS_FILE, safetensors.numpy.save({"labels": np.asarray(found.labels)}))
        exits = [(f"{placement}/{head}", (placement, head)) for placement, head in found.outputs]
        for key, pair in [*exits, (FINAL, None)]:
            outputs = found.final if pair is None else found.outputs[pair]
            assert isinstance(outputs, np.ndarray)
            path = answers_file(folder, key)
            if outcomes.holds_classes:
                known = fitted.final if pair is None else fitted.outputs[pair]
                assert isinstance(known, np.ndarray)
                temperature = fit_temperature(known, fitted.labels)
                write_kept(path, KeptOutputs.of(outputs, temperature=temperature))
            else:
                file = new_targets_file(path, samples=len(outputs), targets=outputs.shape[1])
                file.write(0, {"prediction": outputs})
                file.finish()
    made.replace(Path(out) / ANSWERS_FOLDER)
    for path in older:
        path.unlink()


def answers_file(folder: Path, key: str) -> Path:
    """The file of one exit's answers in the folder of a split."""
    placement, _, head = key.partition("/")
    return folder / (exit_file(int(placement), head) if head else FINAL_FILE)


@dataclass
class _Writing:
    """One call of `write_answers`.

    Attributes:
        files: by key and split.
        labels: by split; of pictures, where samples are tiles.
        temperatures: by key; empty for a regression.
        reasons: why a head is dropped, by key.
    """

    trainer: HeadTrainer
    data: DataSplits
    folder: Path
    keys: list[str]
    keep_logits: bool
    progress: Progress | None
    files: dict[str, dict[str, TensorFile]] = field(default_factory=dict)
    temperatures: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    done: int = 0
    total: int = 0
    labels: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.labels = {name: picture_labels(self.data.split(name)) for name in HELD_OUT}

    @property
    def dropped(self) -> list[DroppedHead]:
        """The heads of `reasons`."""
        parts = [(key.partition("/"), reason) for key, reason in self.reasons.items()]
        return [DroppedHead(placement=int(key[0]), head=key[2], reason=reason) for key, reason in parts]

    def run(self) -> None:
        """Write everything."""
        counts = {name: len(labels) for name, labels in self.labels.items()}
        rows = fitted_rows(counts[FITTED_ON]) if self.data.task == "classification" else range(0)
        streamed = [name for name in HELD_OUT if name != FITTED_ON or len(rows) < counts[FITTED_ON]]
        self.total = len(self.keys) * (len(rows) + sum(counts[name] for name in streamed))
        if rows:
            with _directory(self.folder) as stored:
                self._fit(rows, Path(stored))
        else:
            for key in self.keys:
                self._open(key)
        for name in streamed:
            self._stream(name)
        for key in self.keys:
            for file in self.files.get(key, {}).values():
                file.finish()

    def drop(self) -> None:
        """Remove what is half written."""
        for files in self.files.values():
            for file in files.values():
                file.drop()

    def _fit(self, rows: range, stored: Path) -> None:
        """Find every exit's temperature; where all samples are fitted on, what they answered is written too."""
        split, classes = self.data.split(FITTED_ON), self.trainer.backbone.num_outputs
        paths = {key: stored / str(number) for number, key in enumerate(self.keys)}
        for _, key, outputs in self.trainer.stream_answers(split, keys=self.keys, rows=rows):
            self._append(paths[key], outputs)
            self._tell(len(outputs), "temperatures")
        labels = self.labels[FITTED_ON][list(rows)].numpy()
        for key, path in paths.items():
            fitted: Floats = np.fromfile(path, dtype=np.float32).reshape(-1, classes)
            path.unlink()
            if not self._finite(key, fitted, FITTED_ON):
                continue
            self.temperatures[key] = fit_temperature(fitted, labels)
            self._open(key)
            if len(rows) == len(self.labels[FITTED_ON]):
                self._write(key, FITTED_ON, slice(0, len(rows)), fitted)

    def _append(self, path: Path, outputs: Tensor) -> None:
        try:
            with path.open("ab") as file:
                file.write(outputs.contiguous().numpy().data)
        except OSError as error:
            raise unwritable(path, error) from None

    def _stream(self, name: str) -> None:
        """Let the heads that are left answer a split."""
        split = self.data.split(name)
        left = [key for key in self.keys if key not in self.reasons]
        for block, key, outputs in self.trainer.stream_answers(split, keys=left):
            if key not in self.reasons and self._finite(key, outputs.numpy(), name):
                self._write(key, name, block, outputs.numpy())
            self._tell(len(outputs), f"answers of {name}")

    def _finite(self, key: str, outputs: Floats, name: str) -> bool:
        """Whether outputs are finite; a head whose outputs are not is dropped."""
        if np.isfinite(outputs).all():
            return True
        if key == FINAL:
            first = next(iter(self.reasons), FINAL)
            words = {trainee.key: trainee.words for trainee in self.trainer.trainees} | {FINAL: "the final exit"}
            raise ExitSearchError(
                f"{words[first]} answers with numbers that are not finite; train it again or leave it out"
            )
        self.reasons[key] = f"it answers the {name} split with numbers that are not finite"
        for file in self.files.pop(key, {}).values():
            file.drop()
        return False

    def _open(self, key: str) -> None:
        """Begin the files of one exit."""
        width = self.trainer.backbone.num_outputs
        self.files[key] = {}
        for name in HELD_OUT:
            path, count = answers_file(self.folder / name, key), len(self.labels[name])
            if key in self.temperatures:
                self.files[key][name] = new_classes_file(
                    path,
                    samples=count,
                    classes=width,
                    temperature=self.temperatures[key],
                    keep_outputs=self.keep_logits,
                )
            else:
                self.files[key][name] = new_targets_file(path, samples=count, targets=width)

    def _write(self, key: str, name: str, block: slice, outputs: Floats) -> None:
        file = self.files[key][name]
        if key in self.temperatures:
            kept = KeptOutputs.of(outputs, temperature=self.temperatures[key])
            file.write(block.start, classes_rows(kept, outputs if self.keep_logits else None))
        else:
            file.write(block.start, {"prediction": outputs})

    def _tell(self, samples: int, words: str) -> None:
        self.done += samples
        if self.progress is not None:
            self.progress(min(1.0, self.done / self.total), words)


def _directory(folder: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=_FITTING, dir=folder)
    except OSError as error:
        raise unwritable(folder, error) from None
