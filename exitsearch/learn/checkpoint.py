"""Checkpoint: where a training stands after an epoch, so that a killed one goes on as if it had not been.

On the CPU it ends bit for bit the same; what holds on CUDA is said in `bank.py`.

Two files: `training-<epoch>.safetensors` with weights, buffers and Adam's moments, and `training.json`, which names it
and says what is being trained. The JSON is replaced last, so that what it names is always whole.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from exitsearch.errors import FileError, MismatchError
from exitsearch.learn.trainer import HeadTrainer, Trainee
from exitsearch.models.multi_exit import read_tensors
from exitsearch.specs.document import Document, unwritable

CHECKPOINT_FILE = "training.json"

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class Checkpoint(Document):
    """What is being trained, and how far it has come.

    Attributes:
        identity_of: everything that the result depends on; a checkpoint of another identity is never used.
        epoch: finished epochs.
        finished: whether the outcomes have been written.
        tensors: name of the file with weights and moments; None before the first epoch and after the end.
        progress: rate, best loss and stopping of every head.
    """

    kind: ClassVar[str] = "training checkpoint"
    identity_of: dict[str, Any]
    epoch: int = 0
    finished: bool = False
    tensors: str | None = None
    progress: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Checkpoint | None:
        """The checkpoint of a folder, or None."""
        path = folder / CHECKPOINT_FILE
        return cls.read(path) if path.exists() else None

    def check_same(self, identity: dict[str, Any], folder: Path) -> None:
        """Refuse to go on with a training of another identity.

        Raises:
            MismatchError: names what differs.
        """
        keys = [key for key in {**identity, **self.identity_of} if identity.get(key) != self.identity_of.get(key)]
        if keys:
            key = keys[0]
            more = f" (and in {', '.join(keys[1:])})" if len(keys) > 1 else ""
            raise MismatchError(
                f"{folder} holds a training that differs in {key}{more}: there {_shown(self.identity_of.get(key))}, "
                f"asked for {_shown(identity.get(key))}; choose another --out, or start afresh with --restart"
            )


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else text[:117] + "..."


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file whole: under a temporary name, then renamed.

    Raises:
        FileError: when it cannot be written.
        ExitSearchError: when the disk is full.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A copy on the CPU each: safetensors takes neither views nor tensors that share memory.
        save_file(
            {
                name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
                for name, tensor in tensors.items()
            },
            partial,
        )
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise unwritable(path, error) from None


def save_checkpoint(folder: Path, trainer: HeadTrainer, *, identity: dict[str, Any], epoch: int) -> None:
    """Write where a training stands after `epoch` finished epochs, and remove the checkpoint before it."""
    name = f"training-{epoch}.safetensors"
    tensors: dict[str, Tensor] = {}
    for trainee in trainer.trainees:
        for key, tensor in trainee.module.state_dict().items():
            tensors[f"{trainee.key}|weight|{key}"] = tensor
        for key, parameter in trainee.module.named_parameters():
            state = trainer.optimizer.state.get(parameter) if trainer.optimizer else None
            for moment in _MOMENTS if state else ():
                tensors[f"{trainee.key}|{moment}|{key}"] = state[moment]  # type: ignore[index]
    save_tensors(folder / name, tensors)
    Checkpoint(
        schema_version=Checkpoint.current_version,
        identity_of=identity,
        epoch=epoch,
        tensors=name,
        progress={trainee.key: trainee.progress for trainee in trainer.trainees},
    ).write(folder / CHECKPOINT_FILE)
    drop_tensors(folder, keep=name)


def drop_tensors(folder: Path, *, keep: str | None = None) -> None:
    """Remove the checkpoints' tensors but one, and what a killed run left half written."""
    for path in (*folder.glob("training-*.safetensors"), *folder.glob(".training-*.partial")):
        if path.name != keep:
            path.unlink(missing_ok=True)


def restore(folder: Path, trainer: HeadTrainer, checkpoint: Checkpoint) -> None:
    """Bring a trainer to where a checkpoint left off.

    Raises:
        FileError: when the tensors are missing, broken, or of other modules.
    """
    assert checkpoint.tensors is not None
    path = folder / checkpoint.tensors
    tensors = read_tensors(path)
    for trainee in trainer.trainees:
        try:
            trainee.restore(checkpoint.progress[trainee.key])
            prefix = f"{trainee.key}|weight|"
            trainee.module.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
        except (KeyError, RuntimeError) as error:
            text = str(error).splitlines()[0]
            raise FileError(path, f"does not fit {trainee.words} ({text}); start afresh with --restart") from None
        if trainer.optimizer is not None:
            _restore_moments(trainer.optimizer, trainee, tensors)


def _restore_moments(optimizer: torch.optim.Adam, trainee: Trainee, tensors: dict[str, Tensor]) -> None:
    module: nn.Module = trainee.module
    for key, parameter in module.named_parameters():
        names = {moment: f"{trainee.key}|{moment}|{key}" for moment in _MOMENTS}
        # A parameter that no gradient ever reached has no moments.
        if all(name in tensors for name in names.values()):
            optimizer.state[parameter] = {moment: tensors[name].to(parameter.device) for moment, name in names.items()}
