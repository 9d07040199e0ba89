"""One safetensors file for the weights of all graphs, each tensor once; graphs name their bytes in it.

    weights.safetensors   8 bytes: length of the header | header, JSON | tensors, one after the other
    segment_0.onnx        initialiser "blocks.0.attn.qkv.weight": external_data {location, offset, length}

ONNX Runtime maps such ranges from the disk where a graph is loaded by its path, so that processes share one copy.
Numbers that take few bytes stay in the graph: engines fold shapes, scales and indices while they load it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitsearch.errors import ExitSearchError
from exitsearch.models.tensors import usual_mode
from exitsearch.specs.bundle import WEIGHTS_FILE
from exitsearch.specs.document import unwritable

# Smaller tensors stay inside their graph.
INSIDE_BYTES = 1024


def write_graphs(graphs: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write graphs (`NAME.onnx`) and their weights (`weights.safetensors`) into a folder.

    Args:
        graphs: `onnx_ir.Model` by name; their weights are outside afterwards.
        folder: is there.

    Returns:
        The graphs' files in order.

    Raises:
        FileError: the folder cannot be written.
        ExitSearchError: the disk is full, or a graph is larger than an ONNX file may be.
    """
    import onnx_ir

    weights = _Weights()
    for name, model in graphs.items():
        for value in model.graph.initializers.values():
            if value.const_value is not None and value.const_value.nbytes >= INSIDE_BYTES:
                weights.take(f"{name}.{value.name}", value)
    try:
        weights.write(folder / WEIGHTS_FILE)
        files = []
        for name, model in graphs.items():
            path = folder / f"{name}.onnx"
            path.write_bytes(_serialised(name, onnx_ir.to_proto(model)))
            files.append(path)
    except OSError as error:
        raise unwritable(folder, error) from None
    return files


def _serialised(name: str, proto: Any) -> bytes:
    try:
        found: bytes = proto.SerializeToString()
    except ValueError as error:  # protobuf's limit of 2 GiB
        raise ExitSearchError(f"{name} is larger than an ONNX file may be ({error}); choose another backbone") from None
    return found


class _Weights:
    """Tensors on their way into one file, equal ones once."""

    def __init__(self) -> None:
        self._tensors: dict[str, NDArray[Any]] = {}
        # Dtype and digest of a tensor's bytes to its name in the file.
        self._known: dict[tuple[str, str], str] = {}
        self._users: list[tuple[Any, str]] = []

    def take(self, name: str, value: Any) -> None:
        """Take the tensor of an initialiser, unless one with the same bytes is there."""
        tensor = np.ascontiguousarray(value.const_value.numpy())
        key = (tensor.dtype.str, hashlib.sha256(tensor.data).hexdigest())
        if key not in self._known:
            self._known[key] = name
            self._tensors[name] = tensor
        self._users.append((value, self._known[key]))

    def write(self, path: Path) -> None:
        """Write the file, and let every initialiser name its bytes there."""
        import onnx_ir
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        try:
            mode = usual_mode(path)
            save_file(self._tensors, path)
            path.chmod(mode)
        except SafetensorError as error:
            raise unwritable(path, error) from None
        places = tensor_places(path)
        for value, name in self._users:
            offset, length = places[name]
            tensor = value.const_value
            value.const_value = onnx_ir.ExternalTensor(
                WEIGHTS_FILE, offset, length, tensor.dtype, shape=tensor.shape, name=value.name, base_dir=path.parent
            )


def tensor_places(path: Path) -> dict[str, tuple[int, int]]:
    """First byte and number of bytes of every tensor of a safetensors file, by its name."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
    start = 8 + length
    return {
        name: (start + facts["data_offsets"][0], facts["data_offsets"][1] - facts["data_offsets"][0])
        for name, facts in header.items()
        if name != "__metadata__"
    }
