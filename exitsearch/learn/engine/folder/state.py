"""Where a training stands, in one file: weights, moments, averages and progress. Whole, or not there.

    OUT/training/state.safetensors            where it stands
    OUT/training/best-<leg>-<epoch>.safetensors   the best weights so far; the state names the file that counts

A kill between the two leaves weights that no state names, which the next state removes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from exitsearch.errors import FileError, InputError
from exitsearch.learn.bank.checkpoint import identity_digest, save_tensors

CHECKPOINTS_FOLDER = "training"
STATE_FILE = "state.safetensors"

_PLAIN = (int, float, bool, str, type(None))


@dataclass
class Position:
    """How far a training has come, and what it has seen on the way.

    Attributes:
        leg: number of the leg that it is in, from 0; the number of legs where all are behind.
        epoch: of the leg, from 0.
        step: of the epoch, from 0: so many are behind.
        sums: of every term of the loss over these steps.
        seconds: since the beginning of the epoch.
        history: a row for every finished epoch.
        rows: of the log.
        best: what is kept so far, as in `KeptWeights`, with the number of its leg and the name of its file.
    """

    leg: int = 0
    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None


@dataclass
class Trained:
    """What a checkpoint holds beside the position; None where a leg is about to begin, or has none.

    Attributes:
        model: every weight and buffer.
        average: those of the moving average.
        moments: of the optimiser, see `optimizer_parts`.
        plain: what else the optimiser and the scaling of gradients keep, as JSON holds it.
    """

    model: dict[str, Tensor]
    average: dict[str, Tensor] = field(default_factory=dict)
    moments: dict[str, Tensor] = field(default_factory=dict)
    plain: dict[str, Any] = field(default_factory=dict)


def save_state(folder: Path, position: Position, trained: Trained, *, identity: Mapping[str, Any]) -> None:
    """Write where a training stands, and remove the weights that are the best no more.

    Raises:
        FileError: it cannot be written.
        ExitSearchError: the disk is full.
    """
    tensors = {f"model|{name}": tensor for name, tensor in trained.model.items()}
    tensors |= {f"average|{name}": tensor for name, tensor in trained.average.items()}
    tensors |= {f"moments|{name}": tensor for name, tensor in trained.moments.items()}
    texts = {
        "identity": identity_digest(identity),
        "position": json.dumps(asdict(position)),
        "plain": json.dumps(trained.plain),
    }
    save_tensors(folder / CHECKPOINTS_FOLDER / STATE_FILE, tensors, metadata=texts)
    kept = None if position.best is None else position.best["file"]
    for path in (folder / CHECKPOINTS_FOLDER).glob("best-*.safetensors"):
        if path.name != kept:
            path.unlink(missing_ok=True)


def load_state(folder: Path, *, identity: Mapping[str, Any]) -> tuple[Position, Trained] | None:
    """Where the training in a folder stands; None where it stands at the beginning.

    Raises:
        FileError: the checkpoint is broken.
    """
    path = folder / CHECKPOINTS_FOLDER / STATE_FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            texts = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _broken(path, str(error)) from None
    # What is of another training was left by a restart that was killed.
    if texts.get("identity") != identity_digest(identity):
        return None
    try:
        position, plain = Position(**json.loads(texts["position"])), json.loads(texts["plain"])
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(path, str(error)) from None
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "moments": {}}
    for name, tensor in tensors.items():
        part, _, key = name.partition("|")
        parts.setdefault(part, {})[key] = tensor
    return position, Trained(parts["model"], parts["average"], parts["moments"], plain)


def _broken(path: Path, why: str) -> FileError:
    return FileError(path, f"not a checkpoint that can be read: {why}", remedy="start afresh with --restart")


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Give a module the weights and buffers of a checkpoint.

    Raises:
        FileError: they do not fit.
    """
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise _broken(path, str(error).splitlines()[0]) from None


def optimizer_parts(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors that an optimiser keeps, by parameter or group, its number and the name, and the rest as JSON holds it.

    Some count their steps in the groups, and some in a tensor there.

    Raises:
        InputError: it keeps something else, which no checkpoint of ours could hold.
    """
    state = optimizer.state_dict()
    kept: dict[str, Any] = {f"p|{index}|{name}": v for index, own in state["state"].items() for name, v in own.items()}
    for index, group in enumerate(state["param_groups"]):
        kept |= {f"g|{index}|{name}": value for name, value in group.items() if name != "params"}
    tensors = {key: value for key, value in kept.items() if isinstance(value, Tensor)}
    numbers = {key: value for key, value in kept.items() if key not in tensors}
    for key, value in numbers.items():
        if not _is_plain(value):
            raise InputError(
                f"the optimiser {type(optimizer).__name__} keeps {key.split('|')[-1]}, a {type(value).__name__}, which "
                "no checkpoint can hold; take another one, such as adamw"
            )
    return tensors, {"groups": len(state["param_groups"]), "numbers": numbers}


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any], path: Path
) -> None:
    """Bring an optimiser to where a checkpoint says that it stood.

    Raises:
        FileError: the checkpoint is of another optimiser.
    """
    state = optimizer.state_dict()
    groups: list[dict[str, Any]] = state["param_groups"]
    if plain.get("groups") != len(groups):
        raise _broken(path, "it is of an optimiser with other groups of parameters")
    kept: dict[int, dict[str, Any]] = {}
    for name, value in (*tensors.items(), *plain["numbers"].items()):
        part, index, key = name.split("|", 2)
        own = kept.setdefault(int(index), {}) if part == "p" else groups[int(index)]
        # JSON makes lists of tuples.
        own[key] = tuple(value) if isinstance(own.get(key), tuple) else value
    try:
        optimizer.load_state_dict({"state": kept, "param_groups": groups})
    except (ValueError, KeyError, RuntimeError) as error:
        raise _broken(path, str(error).splitlines()[0]) from None


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(one) for one in value)
    return isinstance(value, _PLAIN)


def drop_states(folder: Path, *, keep: Iterable[str] = ()) -> None:
    """Remove every checkpoint of a folder, and what a killed run left half written there."""
    own = folder / CHECKPOINTS_FOLDER
    for path in (*own.glob("*.safetensors"), *own.glob(".*.partial"), *folder.glob(".*.partial")):
        if path.name not in keep:
            path.unlink(missing_ok=True)
