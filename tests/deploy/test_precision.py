"""Graphs in half precision and in eight bits."""

from __future__ import annotations

import numpy as np
import onnx_ir
import onnxruntime
import pytest
from test_weights import DRAW, LARGE, TINY, graph

from exitsearch.deploy.precision import convert
from exitsearch.errors import ExitSearchError

X = DRAW.standard_normal((32, 32)).astype(np.float32)


def answers(model):
    session = onnxruntime.InferenceSession(
        onnx_ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": X})[0]


def test_fp32_is_left_alone():
    model = graph(LARGE)
    assert convert(model, "fp32", name="a") is model


def test_half_weights_compute_in_single():
    model = convert(graph(LARGE, TINY), "fp16", name="a")
    kinds = {name: value.const_value.dtype for name, value in model.graph.initializers.items()}
    assert kinds == {"w0.fp16": onnx_ir.DataType.FLOAT16, "w1": onnx_ir.DataType.FLOAT}
    found = answers(model)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, LARGE.astype(np.float16).astype(np.float32) @ X + TINY, rtol=1e-4, atol=1e-4)


def test_weights_beyond_half_precision_are_refused():
    with pytest.raises(ExitSearchError, match="head_1: the weights w0 go beyond half precision; use --precision fp32"):
        convert(graph(LARGE * 1e6), "fp16", name="head_1")


def test_eight_bits():
    # quantize_dynamic takes weights on the right of a product alone.
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    made = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [32, 32])],
        [numpy_helper.from_array(LARGE, "w")],
    )
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(proto)
    model = convert(onnx_ir.from_proto(proto), "int8", name="a")
    kinds = {value.const_value.dtype for value in model.graph.initializers.values() if value.const_value.nbytes >= 1024}
    assert kinds == {onnx_ir.DataType.INT8}
    found = answers(model)
    assert 0 < np.abs(found - X @ LARGE).max() < 0.05 * np.abs(X @ LARGE).max()
