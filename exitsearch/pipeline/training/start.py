"""What the heads of a multi-exit model begin with: those that stand trained over the same backbone, or fresh ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from exitsearch.errors import ExitSearchError, InputError, MismatchError
from exitsearch.pipeline import places
from exitsearch.specs.outcomes import DOCUMENT_NAME, Outcomes

if TYPE_CHECKING:
    from exitsearch.learn.data import DataSplits
    from exitsearch.models.multi_exit import MultiExitModel

FRESH = "fresh"


def take_heads(model: MultiExitModel, data: DataSplits, *, start: str | None) -> Path | None:
    """Give a model the trained heads that it is to begin with.

    Args:
        model: with fresh heads; a new final classifier is taken along with the heads that it was trained with.
        data: that it will be trained on.
        start: an outcomes folder, or `fresh`; None looks in `outcomes/` for one with all chosen heads, trained over the
            same weights on the same data.

    Returns:
        The folder; None where the heads are fresh.

    Raises:
        InputError: `start` is no outcomes folder.
        MismatchError: its heads were trained over other weights of the backbone, or on other data.
        FileError: a head is missing there, or does not fit.
    """
    from exitsearch.models.multi_exit import load_heads

    if start == FRESH:
        return None
    if start is None:
        found = _found(model, data)
        if found is not None:
            load_heads(model, found)
        return found
    folder = Path(start)
    if not (folder / DOCUMENT_NAME).exists():
        raise InputError(
            f"heads begin with those of an outcomes folder (exitsearch train-heads), or {FRESH}; found no "
            f"{DOCUMENT_NAME} in {start}; "
            "name such a folder"
        )
    theirs = Outcomes.load(folder).training.get("data")
    if theirs != _data(data):
        raise MismatchError(
            f"the heads in {folder} were trained on {theirs}, the data here are {_data(data)}; give the data that they "
            f"were trained on, or begin with --start {FRESH}"
        )
    load_heads(model, folder)
    return folder


def _found(model: MultiExitModel, data: DataSplits) -> Path | None:
    """The newest outcomes folder that has all chosen heads."""
    from exitsearch.models.multi_exit import HEADS_FOLDER, head_file

    name = model.backbone.facts.name
    if name is None:
        return None
    files = [head_file(exit_.placement, str(exit_.choice)) for exit_ in model.config.exits]
    wanted = {"weights": model.backbone.weights, "data": _data(data)}
    documents = places.OUTCOMES.glob(f"{places.plain_name(name)}__*/{DOCUMENT_NAME}")
    for path in sorted(documents, key=lambda path: -path.stat().st_mtime):
        if not all((path.parent / HEADS_FOLDER / file).exists() for file in files):
            continue
        try:
            training = Outcomes.load(path).training
        except ExitSearchError:  # half made, or broken: as if it were not there
            continue
        if all(training.get(key) == fact for key, fact in wanted.items()):
            return path.parent
    return None


def _data(data: DataSplits) -> str:
    return f"{data.name} {data.identity}"
