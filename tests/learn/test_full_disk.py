"""A disk that fills up: one sentence, status 1, no half files, and the next run goes on to the very same end."""

from __future__ import annotations

import errno
import os
import resource
import sys
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file
from small_data import HEADS, PLACEMENTS, RECIPE, small_backbone, small_digits

from exitsearch.errors import ExitSearchError, FileError
from exitsearch.learn.bank.checkpoint import save_tensors
from exitsearch.learn.bank.train import train_bank
from exitsearch.specs.document import unwritable, write_bytes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no limit of this kind")


@contextmanager
def room_for(size):
    """Lets no file grow beyond so many bytes: the system then says the same as a full disk, in other words."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def half_files(folder):
    return [path for path in folder.rglob("*") if "partial" in path.name]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_bytes(path, b"x" * 50_000),
        lambda path: save_tensors(path, {"new": torch.zeros(50_000)}),
    ],
    ids=["bytes", "tensors"],
)
def test_what_stood_there_stays(tmp_path, write):
    path = tmp_path / "file.safetensors"
    save_tensors(path, {"old": torch.zeros(3)})
    before = path.read_bytes()
    with room_for(10_000), pytest.raises(ExitSearchError, match=r"tensors: cannot be written: .*make room") as error:
        write(path)
    assert error.value.exit_status == 1
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("room", [2_000, 30_000])
def test_a_training_goes_on_where_the_disk_was_full(tmp_path, room):
    def train(out):
        backbone = small_backbone()
        train_bank(backbone, small_digits(backbone), out=out, heads=HEADS, placements=PLACEMENTS, recipe=RECIPE)

    torch.set_num_threads(1)
    with room_for(room), pytest.raises(ExitSearchError, match=r"cannot be written.*what was finished is kept") as error:
        train(tmp_path / "full")
    assert error.value.exit_status == 1
    assert not half_files(tmp_path)
    assert not (tmp_path / "full" / "outcomes.json").exists()
    for name in ("full", "whole"):
        train(tmp_path / name)
    files = [path.relative_to(tmp_path / "whole") for path in sorted((tmp_path / "whole").rglob("*.safetensors"))]
    assert len(files) >= len(HEADS) * len(PLACEMENTS)
    for file in files:
        first, second = (load_file(tmp_path / name / file) for name in ("full", "whole"))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), file


def test_words_for_each_reason():
    full = unwritable("f", OSError(errno.ENOSPC, "No space left on device"))
    assert (type(full), full.exit_status) == (ExitSearchError, 1)
    assert str(full).startswith("f: cannot be written: No space left on device; make room")
    library = unwritable("f", RuntimeError("Error while serializing: I/O error: (os error 28)"))
    assert str(library) == str(full)
    denied = unwritable("f", OSError(errno.EACCES, os.strerror(errno.EACCES)))
    assert (type(denied), denied.exit_status) == (FileError, 2)
    assert str(unwritable("f", RuntimeError("odd"))) == (
        "f: cannot be written: odd; name another place, or let this user write there"
    )
