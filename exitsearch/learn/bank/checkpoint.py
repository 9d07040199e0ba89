"""Checkpoints: how far the training of each head has come, so that a killed one goes on as if it had not been.

On the CPU it ends bit for bit the same; what holds on CUDA is said in `bank.py`.

    OUT/training.json                           what the heads are trained on and how, and which stand finished
    OUT/training/<placement>__<head>...         weights, buffers, Adam's moments and progress of a head in training
    OUT/training/final.safetensors              the same of the final classifier

A head's checkpoint is one file, which names the training that it is of: it is whole or not there, and needs no other.
A kill between two of them leaves heads at different steps, and the trainer lets those that are further wait.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from safetensors import SafetensorError, safe_open
from torch import Tensor

from exitsearch.errors import FileError, MismatchError
from exitsearch.learn.bank.trainee import FINAL, Trainee, split_key
from exitsearch.learn.bank.trainer import HeadTrainer
from exitsearch.models.multi_exit import FINAL_FILE, head_file
from exitsearch.models.tensors import save_tensors as save_tensors
from exitsearch.specs.document import Document
from exitsearch.specs.frames.frame import Column, Frame, counted

CHECKPOINT_FILE = "training.json"
CHECKPOINTS_FOLDER = "training"

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


_HEADS = Frame(
    title=lambda checkpoint: (
        f"training checkpoint after {counted(checkpoint.epoch, 'epoch')}: {counted(len(checkpoint.standing), 'exit')} "
        f"finished, {len(checkpoint.dropped)} dropped"
    ),
    columns={
        "exit": Column("its key, placement/head; `final` for the final classifier", "text"),
        "finished": Column("whether it stands finished", "flag"),
        "reason": Column("why its training ended without a result", "text"),
    },
    rows=lambda checkpoint: [
        *((key, True, None) for key in checkpoint.standing),
        *((key, False, reason) for key, reason in checkpoint.dropped.items()),
    ],
)


class Checkpoint(Document):
    """What heads are trained on and how, how far they have come, and which stand finished.

    Attributes:
        identity_of: everything that a head's result depends on beside the head itself; a checkpoint of another
            identity is never used. Folders of an earlier version also list their heads in it.
        epoch: finished epochs of what was trained last.
        finished: whether the outcomes of it have been written.
        heads: keys of those that stand finished, `final` where the final classifier was trained along; None in folders
            of an earlier version, which finish all at once.
        dropped: why a head's training ended without a result, by key.
        tensors: of an earlier version: name of its file with weights and moments.
        progress: of an earlier version: rate, best loss and stopping of every head.
    """

    kind: ClassVar[str] = "training checkpoint"
    frame: ClassVar[Frame] = _HEADS
    identity_of: dict[str, Any]
    epoch: int = 0
    finished: bool = False
    heads: list[str] | None = None
    dropped: dict[str, str] = Field(default_factory=dict)
    tensors: str | None = None
    progress: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Checkpoint | None:
        """The checkpoint of a folder, or None."""
        path = folder / CHECKPOINT_FILE
        return cls.read(path) if path.exists() else None

    @property
    def standing(self) -> list[str]:
        """Keys of those that stand finished."""
        if self.heads is not None:
            return self.heads
        if not self.finished:
            return []
        listed = [str(key) for key in self.identity_of.get("heads", [])]
        return listed if self.identity_of.get("final_is_trained") else [*listed, FINAL]

    def check_same(self, identity: Mapping[str, Any], folder: Path) -> None:
        """Refuse to go on with a training of another identity.

        Raises:
            MismatchError: names what differs.
        """
        there = {key: value for key, value in self.identity_of.items() if key != "heads"}
        keys = [key for key in {**identity, **there} if identity.get(key) != there.get(key)]
        if keys:
            key = keys[0]
            more = f" (and in {', '.join(keys[1:])})" if len(keys) > 1 else ""
            raise MismatchError(
                f"{folder} holds a training that differs in {key}{more}: there {_shown(there.get(key))}, "
                f"asked for {_shown(identity.get(key))}; choose another --out, or start afresh with --restart"
            )


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else text[:117] + "..."


def identity_digest(identity: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that stand for what heads are trained on and how."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def unit_file(key: str) -> str:
    """Name of the file with the weights of a head or of the final classifier, by its key."""
    return FINAL_FILE if key == FINAL else head_file(*split_key(key))


def save_checkpoints(folder: Path, trainer: HeadTrainer, *, identity: Mapping[str, Any]) -> None:
    """Write where every head of a trainer stands that has come further than its file says."""
    digest = identity_digest(identity)
    for trainee in trainer.trainees:
        if trainee.dropped is not None or trainee.steps == trainee.saved_steps:
            continue
        save_tensors(
            folder / CHECKPOINTS_FOLDER / unit_file(trainee.key),
            _tensors(trainer, trainee),
            metadata={"identity": digest, "key": trainee.key, "progress": json.dumps(trainee.progress)},
        )
        trainee.saved_steps = trainee.steps


def _tensors(trainer: HeadTrainer, trainee: Trainee) -> dict[str, Tensor]:
    """Weights, buffers and Adam's moments of one head."""
    tensors = {f"weight|{key}": tensor for key, tensor in trainee.module.state_dict().items()}
    for key, parameter in trainee.module.named_parameters():
        # A parameter that no gradient ever reached has no moments.
        state = trainer.optimizer.state.get(parameter) if trainer.optimizer else None
        tensors |= {f"{moment}|{key}": state[moment] for moment in _MOMENTS if state}
    return tensors


def restore_checkpoints(folder: Path, trainer: HeadTrainer, *, identity: Mapping[str, Any]) -> None:
    """Bring every head of a trainer to where its checkpoint left off; those without one stay at the start.

    Raises:
        FileError: a checkpoint is broken, or of another module.
    """
    digest = identity_digest(identity)
    for trainee in trainer.trainees:
        path = folder / CHECKPOINTS_FOLDER / unit_file(trainee.key)
        if not path.exists():
            continue
        tensors, metadata = _read(path)
        # What is of another training was left by a restart that was killed.
        if (metadata.get("identity"), metadata.get("key")) == (digest, trainee.key):
            _restore(trainer, trainee, tensors, metadata, path)


def _restore(
    trainer: HeadTrainer, trainee: Trainee, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path
) -> None:
    try:
        trainee.restore(json.loads(metadata["progress"]))
        prefix = "weight|"
        trainee.module.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
    except (KeyError, ValueError, RuntimeError) as error:
        text = str(error).splitlines()[0]
        raise FileError(path, f"does not fit {trainee.words} ({text})", remedy="start afresh with --restart") from None
    trainee.saved_steps = trainee.steps
    assert trainer.optimizer is not None
    for key, parameter in trainee.module.named_parameters():
        names = {moment: f"{moment}|{key}" for moment in _MOMENTS}
        if all(name in tensors for name in names.values()):
            trainer.optimizer.state[parameter] = {
                moment: tensors[name].to(parameter.device) for moment, name in names.items()
            }


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of a checkpoint, and the texts in its header.

    Raises:
        FileError: when it is broken.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FileError(path, f"not a safetensors file that can be read: {error}") from None


def drop_checkpoints(folder: Path, *, keys: Collection[str] | None = None) -> None:
    """Remove the checkpoints of some heads, None: of all, and what a killed run left half written."""
    own = folder / CHECKPOINTS_FOLDER
    found: Iterable[Path] = own.glob("*.safetensors") if keys is None else (own / unit_file(key) for key in keys)
    # Earlier versions kept one file for all heads beside training.json.
    for path in (*found, *folder.rglob(".*.partial"), *folder.glob("training-*.safetensors")):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # others are still in training
        own.rmdir()
