"""Checkpoint files: whole, named by the JSON, refused when broken."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from small_data import RECIPE, small_backbone, small_digits

from exitsearch.errors import FileError
from exitsearch.learn.bank.checkpoint import Checkpoint, save_tensors
from exitsearch.learn.bank.train import train_bank


class _StopError(Exception):
    pass


@pytest.fixture
def interrupted(tmp_path):
    """A folder whose training was interrupted in its second epoch."""

    def interrupt(share, words):
        if share > 0.5:
            raise _StopError

    with pytest.raises(_StopError):
        _train(tmp_path, interrupt)
    return tmp_path


def _train(out, progress=None, seed=0):
    backbone = small_backbone()
    return train_bank(
        backbone, small_digits(backbone), out=out, exits=[(0, "linear")], recipe=RECIPE, progress=progress, seed=seed
    )


def test_a_checkpoint_holds_weights_and_moments(interrupted):
    """Three steps an epoch, one epoch done."""
    record = Checkpoint.load(interrupted)
    assert (record.epoch, record.finished, record.standing) == (1, False, [])
    folder = interrupted / "training"
    assert {path.name for path in folder.iterdir()} == {"0__linear.safetensors", "final.safetensors"}
    for path in folder.iterdir():
        tensors = load_file(path)
        assert {name.split("|")[0] for name in tensors} == {"weight", "exp_avg", "exp_avg_sq", "step"}
        assert all(float(tensor) == 3 for name, tensor in tensors.items() if name.split("|")[0] == "step")
        with safe_open(path, framework="pt") as file:
            assert json.loads(file.metadata()["progress"])["steps"] == 3


def test_a_truncated_checkpoint_is_refused(interrupted):
    path = interrupted / "training" / "0__linear.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FileError, match=r"0__linear.safetensors: not a safetensors file"):
        _train(interrupted)


def test_a_checkpoint_of_another_module_is_refused(interrupted):
    """The same name and training, and a tensor too many."""
    path = interrupted / "training" / "0__linear.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_tensors(path, {**load_file(path), "weight|more": torch.zeros(1)}, metadata=metadata)
    with pytest.raises(FileError, match=r"does not fit linear at placement 0 .*--restart"):
        _train(interrupted)


def test_a_checkpoint_of_another_training_is_not_used(interrupted):
    """As a restart that was killed leaves it: training.json is gone, the checkpoint is not."""
    (interrupted / "training.json").unlink()
    shares = []
    _train(interrupted, lambda share, words: shares.append(share), seed=1)
    assert len(shares) == 6


def test_one_checkpoint_without_the_other_is_enough(interrupted, tmp_path_factory):
    """The head goes on from its checkpoint, while the final classifier starts anew; both end as ever."""
    (interrupted / "training" / "final.safetensors").unlink()
    shares = []
    _train(interrupted, lambda share, words: shares.append(share))
    whole = tmp_path_factory.mktemp("whole")
    _train(whole)
    assert len(shares) == 6
    for name in ("0__linear", "final"):
        mine, theirs = (load_file(out / "heads" / f"{name}.safetensors") for out in (interrupted, whole))
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_a_truncated_json_is_refused(interrupted):
    path = interrupted / "training.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(FileError, match=r"training.json: not valid JSON"):
        _train(interrupted)


def test_half_written_files_do_no_harm(interrupted):
    """A kill while the next tensors are written leaves a partial file, which nothing names."""
    (interrupted / "training" / ".0__linear.safetensors.123.partial").write_bytes(b"half")
    (interrupted / ".training.json.123.partial").write_bytes(b"half")
    _train(interrupted)
    assert {path.name for path in interrupted.iterdir() if "training" in path.name} == {"training.json"}


def test_shared_and_strided_tensors_are_written(tmp_path):
    tensor = torch.arange(6.0).reshape(2, 3)
    save_tensors(tmp_path / "t.safetensors", {"a": tensor, "b": tensor.T})
    found = load_file(tmp_path / "t.safetensors")
    assert torch.equal(found["a"], tensor)
    assert torch.equal(found["b"], tensor.T)
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written"):
        save_tensors(tmp_path / "file" / "t.safetensors", {"a": torch.zeros(1)})
