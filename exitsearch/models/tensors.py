"""Tensors in safetensors files: written whole or not at all, read without running anything that a file says."""

from __future__ import annotations

import contextlib
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from exitsearch.errors import FileError
from exitsearch.specs.document import unwritable


def save_tensors(path: Path, tensors: Mapping[str, Tensor], *, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file whole: under a temporary name, then renamed.

    Args:
        path: the file; its folder is made.
        tensors: by name.
        metadata: texts in the file's header.

    Raises:
        FileError: when it cannot be written.
        ExitSearchError: when the disk is full.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = usual_mode(partial)
        # A copy on the CPU each: safetensors takes neither views nor tensors that share memory.
        save_file(
            {
                name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
                for name, tensor in tensors.items()
            },
            partial,
            metadata=metadata,
        )
        partial.chmod(mode)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise unwritable(path, error) from None


def usual_mode(path: Path) -> int:
    """The mode that a new file gets here, by making an empty one; safetensors makes files for their owner alone.

    Raises:
        OSError: it cannot be made.
    """
    path.open("wb").close()
    return stat.S_IMODE(path.stat().st_mode)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file.

    Raises:
        FileError: when it is missing or broken.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise FileError(path, "no such file", remedy="check its name") from None
    except (SafetensorError, OSError) as error:
        raise FileError(path, f"not a safetensors file that can be read: {error}") from None


def numbers_in(path: Path) -> int:
    """How many numbers a safetensors file holds, from its header; the library checks that the file is that long.

    Raises:
        FileError: when it is missing or broken.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    except FileNotFoundError:
        raise FileError(path, "no such file", remedy="check its name") from None
    except (SafetensorError, OSError) as error:
        raise FileError(path, f"not a safetensors file that can be read: {error}") from None
