"""Checkpoint files: whole, named by the JSON, refused when broken."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from small_data import RECIPE, small_backbone, small_digits

from exitsearch.errors import FileError
from exitsearch.learn.bank import train_bank
from exitsearch.learn.checkpoint import Checkpoint, save_tensors


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


def _train(out, progress=None):
    backbone = small_backbone()
    return train_bank(
        backbone, small_digits(backbone), out=out, exits=[(0, "linear")], recipe=RECIPE, progress=progress
    )


def test_a_checkpoint_holds_weights_and_moments(interrupted):
    checkpoint = Checkpoint.load(interrupted)
    assert (checkpoint.epoch, checkpoint.finished, checkpoint.tensors) == (1, False, "training-1.safetensors")
    tensors = load_file(interrupted / checkpoint.tensors)
    kinds = {name.split("|")[1] for name in tensors}
    assert kinds == {"weight", "exp_avg", "exp_avg_sq", "step"}
    assert {name.split("|")[0] for name in tensors} == {"0/linear", "final"}
    assert all(float(tensor) == 3 for name, tensor in tensors.items() if name.split("|")[1] == "step")


def test_a_truncated_checkpoint_is_refused(interrupted):
    path = interrupted / "training-1.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FileError, match=r"training-1.safetensors: not a safetensors file"):
        _train(interrupted)


def test_a_truncated_json_is_refused(interrupted):
    path = interrupted / "training.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(FileError, match=r"training.json: not valid JSON"):
        _train(interrupted)


def test_half_written_files_do_no_harm(interrupted):
    """A kill while the next tensors are written leaves a partial file, which nothing names."""
    (interrupted / ".training-2.safetensors.123.partial").write_bytes(b"half")
    _train(interrupted)
    assert not list(interrupted.glob("*training-*"))
    assert not list(interrupted.glob(".training-*"))


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
