"""TrainingRecord (`training.json`): what a model was trained on and how, how it went, and which weights were kept.

It stands in the folder from the first step on, so that a training that goes on knows whose it is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from exitsearch.errors import MismatchError
from exitsearch.learn.bank.checkpoint import Checkpoint
from exitsearch.learn.data import DataSplits
from exitsearch.learn.recipes.recipe import Recipe
from exitsearch.models.multi_exit import MODEL_FILE, MultiExitModel
from exitsearch.specs.document import Document, Part
from exitsearch.specs.frames.frame import Cell, Column, Frame, counted

RECORD_FILE = "training.json"

_LIBRARIES = ("torch", "timm", "accelerate")


class KeptWeights(Part):
    """Which weights were kept.

    Attributes:
        stage: the leg that they are of.
        epoch: of it, from 1.
        value: by the criterion; higher is better.
        scores: metric of every exit on the choice split, the final one last.
    """

    stage: str
    epoch: int
    value: float
    scores: list[float]


def _epochs(record: TrainingRecord) -> Iterator[tuple[Cell, ...]]:
    kept = record.kept
    for row in record.history:
        best = kept is not None and (row["stage"], row["epoch"]) == (kept.stage, kept.epoch)
        terms = " ".join(f"{name}={mean:.4g}" for name, mean in row.get("terms", {}).items())
        scores = row["scores"]
        yield (row["stage"], row["epoch"], row["value"], scores[0], scores[-1], terms, row["seconds"], best)


_EPOCHS = Frame(
    title=lambda record: (
        f"training record: {counted(len(record.history), 'epoch')}, {'finished' if record.finished else 'unfinished'}"
    ),
    columns={
        "stage": Column("the leg of the recipe", "text"),
        "epoch": Column("of the leg, from 1", "whole"),
        "value": Column("by the criterion that weights are kept by; higher is better"),
        "first_score": Column("metric of the first exit on the choice split, in its own sign"),
        "final_score": Column("metric of the final exit on the choice split, in its own sign"),
        "loss": Column("mean of every term of the loss over the epoch, as name=mean", "text"),
        "seconds": Column("that the epoch took, its evaluation included, in s"),
        "kept": Column("whether the weights that were kept are of this epoch", "flag"),
    },
    rows=_epochs,
    notes=lambda record: [f"Weights are kept by {record.criterion}."],
)


class TrainingRecord(Document):
    """How a multi-exit model was trained.

    Attributes:
        identity_of: everything that the result depends on; a checkpoint of another identity is never used.
        criterion: what is kept the best of, in words.
        finished: whether the weights stand in the folder.
        kept: the best so far; None before the end of the first epoch.
        history: a row for every epoch: leg, epoch, mean terms of the loss, scores on the choice split, value, seconds.
        scores: per split, the metric of every exit of the kept weights, the final one last; empty until it is finished.
        settings: device, precision, processes and the like, which the result is not meant to depend on.
        versions: of the libraries.
    """

    kind: ClassVar[str] = "training record"
    frame: ClassVar[Frame] = _EPOCHS
    identity_of: dict[str, Any]
    criterion: str
    finished: bool = False
    kept: KeptWeights | None = None
    history: list[dict[str, Any]] = []
    scores: dict[str, list[float]] = {}
    settings: dict[str, Any] = {}
    versions: dict[str, str] = {}


def versions() -> dict[str, str]:
    """Versions of the libraries that train."""
    return {name: metadata.version(name) for name in _LIBRARIES}


def training_identity(
    model: MultiExitModel,
    data: DataSplits,
    *,
    recipe: Recipe,
    seed: int,
    **more: object,
) -> dict[str, Any]:
    """Everything that the weights at the end depend on, as JSON would give it back.

    Args:
        model: as it stands before the training.
        more: further facts by name; None leaves one out.
    """
    found = {
        "backbone": model.backbone.facts.model_dump(mode="json"),
        "exits": [f"{exit_.placement}:{exit_.choice}" for exit_ in model.config.exits],
        "weights": module_digest(model),
        "final_is_trained": model.backbone.final_is_trained,
        "data": f"{data.name} {data.identity}",
        "recipe": plain_recipe(recipe),
        "seed": seed,
        "libraries": {name: text.split(".")[0] for name, text in versions().items()},
        **{name: value for name, value in more.items() if value is not None},
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def plain_recipe(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe a result depends on, as plain data."""
    heads = recipe.head_recipe
    return {
        "name": recipe.name,
        "heads": None if heads is None else _plain(heads),
        "adapter_rank": recipe.adapter_rank,
        "stages": [_plain(stage) for stage in recipe.stages],
    }


def _plain(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        one = getattr(value, field.name)
        if field.name != "description":
            found[field.name] = dict(one) if isinstance(one, Mapping) else list(one) if isinstance(one, tuple) else one
    return found


def module_digest(module: nn.Module) -> str:
    """16 hexadecimal digits that stand for a module's weights and buffers."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        # Viewed as bytes, since numpy knows no bfloat16.
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(content.numpy())
    return digest.hexdigest()[:16]


def read_record(folder: Path, *, identity: Mapping[str, Any]) -> TrainingRecord | None:
    """The record of a folder, if a training stands there.

    Raises:
        MismatchError: it is of something else; says what differs.
        FileError: it is broken.
    """
    path = folder / RECORD_FILE
    if not path.exists():
        if (folder / MODEL_FILE).exists():
            raise MismatchError(
                f"{folder} holds a model that this training did not write ({RECORD_FILE} is missing); choose another "
                "--out, or start afresh with --restart"
            )
        return None
    record = TrainingRecord.read(path)
    Checkpoint(schema_version=Checkpoint.current_version, identity_of=record.identity_of).check_same(identity, folder)
    return record
