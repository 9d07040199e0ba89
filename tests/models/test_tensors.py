"""Tensors in files: whoever may read the other files of a folder may read these."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import torch

from exitsearch.models.tensors import read_tensors, save_tensors


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_file_gets_the_mode_of_any_other(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        save_tensors(tmp_path / "w.safetensors", {"a": torch.arange(3.0)})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "w.safetensors").stat().st_mode) == mode
    assert torch.equal(read_tensors(tmp_path / "w.safetensors")["a"], torch.arange(3.0))
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]
