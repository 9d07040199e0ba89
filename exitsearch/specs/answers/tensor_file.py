"""TensorFile: a safetensors file that is written in blocks of rows, for more of them than memory holds.

The format (https://github.com/huggingface/safetensors): eight bytes with the header's length, little endian; the
header, JSON with name to dtype, shape and place of each tensor; then the tensors' own bytes, one after the other.
Shapes are known before anything is written, so the header comes first and every block goes straight to its place.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from exitsearch.errors import ExitSearchError
from exitsearch.specs.document import unwritable

_DTYPES = {"int16": "I16", "int32": "I32", "int64": "I64", "float16": "F16", "float32": "F32", "float64": "F64"}

# Tensors start where their numbers may stand in memory.
_ALIGNED = 8


class TensorFile:
    """Tensors with samples as their first axis, under a temporary name until `finish`.

    Args:
        path: of the finished file; its folder is made.
        tensors: dtype and shape [samples, ...] by name.
        facts: texts that the file carries along.

    Raises:
        FileError: it cannot be written, or the disk has not as much room.
    """

    def __init__(
        self, path: Path, tensors: Mapping[str, tuple[DTypeLike, tuple[int, ...]]], *, facts: Mapping[str, str]
    ) -> None:
        self.path = path
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._places: dict[str, tuple[np.dtype[Any], tuple[int, ...], int]] = {}
        header: dict[str, Any] = {"__metadata__": dict(facts)}
        end = 0
        # The widest numbers first, so that all of them are aligned without gaps, which the format does not allow.
        for name, (kind, shape) in sorted(tensors.items(), key=lambda item: -np.dtype(item[1][0]).itemsize):
            dtype = np.dtype(kind)
            start, end = end, end + int(np.prod(shape)) * dtype.itemsize
            header[name] = {"dtype": _DTYPES[dtype.name], "shape": list(shape), "data_offsets": [start, end]}
            self._places[name] = (dtype.newbyteorder("<"), shape, start)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % _ALIGNED)
        self._data = 8 + len(text)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._partial.open("wb") as file:
                file.write(len(text).to_bytes(8, "little") + text)
                file.flush()
                _reserve(file.fileno(), self._data + end)
        except OSError as error:
            raise self._failed(error) from None

    def write(self, start: int, rows: Mapping[str, NDArray[Any]]) -> None:
        """Write some rows of every tensor.

        Args:
            start: number of the first row.
            rows: [rows, ...] by name.

        Raises:
            FileError: they cannot be written.
        """
        assert rows.keys() == self._places.keys()
        try:
            # Opened for every block: there are more heads than files that a process may hold open.
            with self._partial.open("r+b", buffering=0) as file:
                for name, block in rows.items():
                    dtype, shape, place = self._places[name]
                    assert block.shape[1:] == shape[1:]
                    assert start + len(block) <= shape[0]
                    file.seek(self._data + place + start * int(np.prod(shape[1:])) * dtype.itemsize)
                    file.write(np.ascontiguousarray(block, dtype=dtype).data)
        except OSError as error:
            raise self._failed(error) from None

    def finish(self) -> None:
        """Give the file its name; it is whole.

        Raises:
            FileError: it cannot be written.
        """
        try:
            with self._partial.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(self._partial, self.path)
        except OSError as error:
            raise self._failed(error) from None

    def drop(self) -> None:
        """Remove what was written so far."""
        with contextlib.suppress(OSError):
            self._partial.unlink()

    def _failed(self, error: OSError) -> ExitSearchError:
        self.drop()
        return unwritable(self.path, error)


def _reserve(file: int, size: int) -> None:
    """Take the room on the disk at once: a full disk is known before hours of work, not after."""
    if hasattr(os, "posix_fallocate"):
        try:
            return os.posix_fallocate(file, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
    os.truncate(file, size)  # a system or a file system that cannot promise room
