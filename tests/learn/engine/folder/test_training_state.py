"""Checkpoints: what is written comes back, whatever the optimiser keeps; broken ones are one sentence."""

from __future__ import annotations

import resource
import sys

import pytest
import torch
from timm.optim._optim_factory import create_optimizer_v2
from torch import nn

from exitsearch.errors import ExitSearchError, FileError
from exitsearch.learn.engine.folder.state import (
    Position,
    Trained,
    load_state,
    optimizer_parts,
    restore_optimizer,
    save_state,
)

IDENTITY = {"recipe": "joint"}


def _trained(layer: nn.Linear, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        layer(torch.full((2, 3), step + 1.0)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("name", ["adamw", "sgd", "momentum", "lamb", "nadamw", "rmsproptf", "lion", "adafactor"])
def test_an_optimiser_goes_on_as_if_it_had_not_been_stopped(tmp_path, name) -> None:
    torch.manual_seed(0)
    first = nn.Linear(3, 2)
    made = create_optimizer_v2(first.parameters(), opt=name, lr=1e-2)
    _trained(first, made, 2)
    tensors, plain = optimizer_parts(made)
    save_state(tmp_path, Position(step=2), Trained(dict(first.state_dict()), {}, tensors, plain), identity=IDENTITY)
    found = load_state(tmp_path, identity=IDENTITY)
    assert found is not None
    position, trained = found
    assert position == Position(step=2)
    second = nn.Linear(3, 2)
    second.load_state_dict(trained.model)
    again = create_optimizer_v2(second.parameters(), opt=name, lr=1e-2)
    restore_optimizer(again, trained.moments, trained.plain, tmp_path)
    _trained(first, made, 3)
    _trained(second, again, 3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_checkpoint_of_another_training_is_as_if_it_were_not_there(tmp_path) -> None:
    save_state(tmp_path, Position(), Trained({"a": torch.ones(1)}), identity=IDENTITY)
    assert load_state(tmp_path, identity={"recipe": "other"}) is None
    assert load_state(tmp_path / "elsewhere", identity=IDENTITY) is None


def test_a_broken_checkpoint_is_one_sentence(tmp_path) -> None:
    save_state(tmp_path, Position(), Trained({"a": torch.ones(1)}), identity=IDENTITY)
    path = tmp_path / "training" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(FileError, match=r"not a checkpoint that can be read.*--restart"):
        load_state(tmp_path, identity=IDENTITY)


def test_weights_that_no_state_names_are_removed(tmp_path) -> None:
    folder = tmp_path / "training"
    folder.mkdir()
    for name in ("best-0-1.safetensors", "best-0-2.safetensors"):
        (folder / name).write_bytes(b"")
    position = Position(best={"file": "best-0-2.safetensors"})
    save_state(tmp_path, position, Trained({"a": torch.ones(1)}), identity=IDENTITY)
    assert [path.name for path in sorted(folder.iterdir())] == ["best-0-2.safetensors", "state.safetensors"]


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of this kind")
def test_a_full_disk_is_one_sentence_and_leaves_what_stood_there(tmp_path) -> None:
    """A limit on the size of files: the system then says the same as a full disk, in other words."""
    save_state(tmp_path, Position(step=1), Trained({"a": torch.ones(1)}), identity=IDENTITY)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(ExitSearchError, match=r"cannot be written: .*make room"):
            save_state(tmp_path, Position(step=2), Trained({"a": torch.zeros(50_000)}), identity=IDENTITY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    found = load_state(tmp_path, identity=IDENTITY)
    assert found is not None
    assert found[0].step == 1
    assert [path.name for path in (tmp_path / "training").iterdir()] == ["state.safetensors"]
