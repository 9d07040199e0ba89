"""Graphs in another precision than they were exported in.

fp16: weights are kept in half precision, and a cast in front of each makes single precision of it while the graph is
loaded. A CPU has no kernels for half precision worth the name: computing in it would be slower and less exact; the file
is half as large.

int8: ONNX Runtime's dynamic quantisation of matrix products. Weights have one scale a column; what they are multiplied
with is scaled as it comes, one scale for the whole tensor, so that an answer depends a little on what else is in the
batch. Convolutions stay as they are: quantised dynamically they are slower than in single precision.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from exitsearch.deploy.weights import INSIDE_BYTES
from exitsearch.errors import ExitSearchError
from exitsearch.specs.bundle import Precision

_QUANTISED = ["MatMul", "Gemm"]


def convert(model: Any, precision: Precision, *, name: str) -> Any:
    """A graph (`onnx_ir.Model`) in a precision; the one given may be changed.

    Args:
        name: of the graph, for messages.

    Raises:
        ExitSearchError: a weight is too large for half precision.
    """
    if precision == "fp16":
        _halve(model, name)
    elif precision == "int8":
        model = _quantised(model)
    return model


def _halve(model: Any, name: str) -> None:
    import onnx_ir

    graph = model.graph
    for value in list(graph.initializers.values()):
        tensor = value.const_value
        if tensor is None or tensor.dtype != onnx_ir.DataType.FLOAT or tensor.nbytes < INSIDE_BYTES:
            continue
        with np.errstate(over="ignore"):
            half = tensor.numpy().astype(np.float16)
        if not np.isfinite(half).all():
            raise ExitSearchError(f"{name}: the weights {value.name} go beyond half precision; use --precision fp32")
        kept = onnx_ir.Value(
            name=f"{value.name}.fp16",
            type=onnx_ir.TensorType(onnx_ir.DataType.FLOAT16),
            shape=tensor.shape,
            const_value=onnx_ir.Tensor(half, name=f"{value.name}.fp16"),
        )
        single = onnx_ir.Value(name=f"{value.name}.fp32", type=value.type, shape=tensor.shape)
        cast = onnx_ir.Node(
            "",
            "Cast",
            [kept],
            [onnx_ir.AttrInt64("to", int(onnx_ir.DataType.FLOAT))],
            outputs=[single],
            name=f"{value.name}.cast",
        )
        for node, index in list(value.uses()):
            node.replace_input_with(index, single)
        del graph.initializers[value.name]
        graph.initializers[kept.name] = kept
        graph.insert_before(graph[0], cast)


def _quantised(model: Any) -> Any:
    import onnx
    import onnx_ir
    from onnxruntime.quantization import QuantType, quantize_dynamic

    proto = onnx_ir.to_proto(model)
    # Shapes of inner values, which quantisation changes and then believes.
    del proto.graph.value_info[:]
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it recommends a step that has been taken
    try:
        with tempfile.TemporaryDirectory(prefix="exitsearch-int8-") as folder:
            path = Path(folder) / "graph.onnx"
            quantize_dynamic(
                proto, path, op_types_to_quantize=_QUANTISED, per_channel=True, weight_type=QuantType.QInt8
            )
            return onnx_ir.from_proto(onnx.load(path))
    finally:
        root.setLevel(level)
