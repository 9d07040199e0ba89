"""Together: the exits of a trained model and other heads over the same backbone, as the outcomes of one.

Of an exit in both, the trained model's counts; the final exit is the trained model's too. Nothing is copied until it is
written.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

import numpy as np
from pydantic import PrivateAttr

from exitsearch.errors import FileError, MismatchError
from exitsearch.models.multi_exit import HEADS_FOLDER
from exitsearch.specs.answers.kept import ANSWERS_FOLDER, FINAL_FILE, LABELS_FILE, exit_file
from exitsearch.specs.answers.samples import Samples
from exitsearch.specs.document import unwritable
from exitsearch.specs.outcomes import DOCUMENT_NAME, Outcomes
from exitsearch.specs.question.candidates import Pair


class Together(Outcomes):
    """Outcomes whose answers lie in the folders of several."""

    _trained: Outcomes = PrivateAttr()
    _bank: Outcomes | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, trained: Outcomes, bank: Outcomes | None, *, pairs: Collection[Pair]) -> Together:
        """The exits of a trained model, and others that may be chosen beside them.

        Args:
            trained: of the trained model.
            bank: of other heads over the same weights and the same data; None where there are none.
            pairs: (placement, head) of those that may be chosen.
        """
        own = {(head.placement, head.head) for head in trained.heads}
        heads = [head for head in trained.heads if (head.placement, head.head) in pairs]
        others = [] if bank is None else [head for head in bank.heads if (head.placement, head.head) not in own]
        heads += [head for head in others if (head.placement, head.head) in pairs]
        heads.sort(key=lambda head: (head.placement, head.head))
        found = cls(**{**dict(trained), "heads": heads, "dropped": []})
        found._trained, found._bank, found._folder = trained, bank, trained.folder
        return found

    @property
    def borrowed(self) -> set[Pair]:
        """The exits that are not the trained model's."""
        own = {(head.placement, head.head) for head in self._trained.heads}
        return {(head.placement, head.head) for head in self.heads} - own

    def samples(self, split: str) -> Samples | None:
        """Answers of all of them on one split, or None when only scores are known.

        Raises:
            MismatchError: the two were judged on other samples.
            FileError: as in `Outcomes.samples`.
        """
        samples = self._trained.samples(split)
        wanted = [(head.placement, head.head) for head in self.heads]
        if samples is None or not self.borrowed:
            return samples
        assert self._bank is not None
        others = self._bank.samples(split)
        if others is None:
            return None
        if not np.array_equal(samples.labels, others.labels):
            raise MismatchError(
                f"the heads in {self._bank.folder} answered other samples of the split {split} than the trained model; "
                "train the heads again with exitsearch train-heads, or leave them out"
            )
        every = {**others.outputs, **samples.outputs}
        return Samples(samples.labels, {pair: every[pair] for pair in wanted}, samples.final)

    def check_samples(self) -> None:
        """Each of the two was checked by itself."""

    def save(self, folder: Path) -> Outcomes:
        """Write them as an outcomes folder of their own, answers and weights of the heads included.

        Raises:
            FileError: a file is missing, or cannot be written.
        """
        self.copy_files(folder)
        self.write(folder / DOCUMENT_NAME)
        return Outcomes.load(folder)

    def copy_files(self, folder: Path) -> None:
        """Copy answers and weights of every exit into a folder."""
        assert self._trained.folder is not None
        for split in self.splits:
            for name in (LABELS_FILE, FINAL_FILE):
                _copy(self._trained.folder / ANSWERS_FOLDER / split / name, folder / ANSWERS_FOLDER / split / name)
        for head in self.heads:
            pair = (head.placement, head.head)
            home = self.home(pair)
            name = exit_file(*pair)
            for split in self.splits:
                _copy(home / ANSWERS_FOLDER / split / name, folder / ANSWERS_FOLDER / split / name)
            _copy(home / HEADS_FOLDER / name, folder / HEADS_FOLDER / name)
        final = self._trained.folder / HEADS_FOLDER / FINAL_FILE  # where it was trained along
        if final.exists():
            _copy(final, folder / HEADS_FOLDER / FINAL_FILE)

    def home(self, pair: Pair) -> Path:
        """The folder of the outcomes that an exit is from."""
        found = self._bank if pair in self.borrowed else self._trained
        assert found is not None
        assert found.folder is not None
        return found.folder


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise FileError(source, "no such file", remedy="make the outcomes again")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        raise unwritable(target, error) from None
