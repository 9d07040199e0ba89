"""Safetensors files written in blocks: as the library reads them, whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from exitsearch.errors import ExitSearchError, FileError
from exitsearch.specs.answers.tensor_file import TensorFile


def made(path: Path, samples: int = 7) -> TensorFile:
    tensors: dict[str, Any] = {
        "prediction": (np.int16, (samples,)),
        "outputs": (np.float16, (samples, 3)),
        "margin": (np.float32, (samples,)),
    }
    return TensorFile(path, tensors, facts={"temperature": "1.5"})


def rows(samples: int = 7) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "prediction": np.arange(samples, dtype=np.int64),
        "outputs": rng.normal(size=(samples, 3)).astype(np.float32),
        "margin": rng.random(samples).astype(np.float32),
    }


@pytest.mark.parametrize("blocks", [[7], [3, 4], [1, 1, 5]])
def test_blocks_make_the_file_that_the_library_reads(tmp_path: Path, blocks: list[int]) -> None:
    path, whole, start = tmp_path / "deep" / "a.safetensors", rows(), 0
    file = made(path)
    for count in blocks:
        file.write(start, {name: tensor[start : start + count] for name, tensor in whole.items()})
        start += count
    assert not path.exists()
    file.finish()
    found = load_file(path)
    assert {name: (str(tensor.dtype), tensor.shape) for name, tensor in found.items()} == {
        "prediction": ("int16", (7,)),
        "outputs": ("float16", (7, 3)),
        "margin": ("float32", (7,)),
    }
    for name, tensor in whole.items():
        assert np.array_equal(found[name], tensor.astype(found[name].dtype))
    with safe_open(path, framework="numpy") as opened:
        assert opened.metadata() == {"temperature": "1.5"}
    assert [entry.name for entry in path.parent.iterdir()] == ["a.safetensors"]


def test_blocks_may_come_in_any_order(tmp_path: Path) -> None:
    file, whole = made(tmp_path / "a.safetensors"), rows()
    for start, stop in ((4, 7), (0, 4)):
        file.write(start, {name: tensor[start:stop] for name, tensor in whole.items()})
    file.finish()
    assert np.array_equal(load_file(tmp_path / "a.safetensors")["margin"], whole["margin"])


def test_what_is_dropped_leaves_nothing(tmp_path: Path) -> None:
    file = made(tmp_path / "a.safetensors")
    file.write(0, rows())
    file.drop()
    assert list(tmp_path.iterdir()) == []
    file.drop()


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_known_before_anything_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", _full, raising=False)
    with pytest.raises(ExitSearchError, match=r"a\.safetensors: cannot be written: No space left on device"):
        made(tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_promises_no_room_does_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", unknown, raising=False)
    file = made(tmp_path / "a.safetensors")
    file.write(0, rows())
    file.finish()
    assert np.array_equal(load_file(tmp_path / "a.safetensors")["margin"], rows()["margin"])


def test_a_disk_that_fails_at_the_end_leaves_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.safetensors").write_text("former")
    file = made(tmp_path / "a.safetensors")
    file.write(0, rows())
    monkeypatch.setattr(os, "replace", _full)
    with pytest.raises(ExitSearchError, match="No space left on device"):
        file.finish()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.safetensors", "former")]


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "deep").write_text("")
    with pytest.raises(FileError, match=r"deep/a\.safetensors: cannot be written"):
        made(tmp_path / "deep" / "a.safetensors")
