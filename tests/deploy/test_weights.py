"""One weights file for all graphs."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from exitsearch.deploy.weights import tensor_places, write_graphs
from exitsearch.errors import FileError
from exitsearch.specs.bundle import WEIGHTS_FILE

DRAW = np.random.default_rng(0)
LARGE, OTHER = (DRAW.standard_normal((32, 32)).astype(np.float32) for _ in range(2))
SMALL = DRAW.standard_normal((8, 32)).astype(np.float32)  # 1,024 bytes: the smallest that goes outside
TINY = DRAW.standard_normal(32).astype(np.float32)


def graph(*weights):
    """x times each weight in turn; a vector is added."""
    nodes, last = [], "x"
    for index, weight in enumerate(weights):
        operator = "Add" if weight.ndim == 1 else "MatMul"
        takes = [f"w{index}", last] if weight.ndim == 2 else [last, f"w{index}"]
        nodes.append(helper.make_node(operator, takes, [f"y{index}"]))
        last = f"y{index}"
    made = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [32, 32])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, f"w{index}") for index, weight in enumerate(weights)],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx_ir.from_proto(model)


def test_equal_weights_stand_there_once(tmp_path):
    files = write_graphs({"a": graph(LARGE, OTHER), "b": graph(LARGE.copy(), SMALL)}, tmp_path)
    assert [path.name for path in files] == ["a.onnx", "b.onnx"]
    tensors = load_file(tmp_path / WEIGHTS_FILE)
    assert sorted(tensors) == ["a.w0", "a.w1", "b.w1"]
    np.testing.assert_array_equal(tensors["a.w1"], OTHER)
    places = [
        [{entry.key: entry.value for entry in tensor.external_data} for tensor in model.graph.initializer]
        for model in (onnx.load(path, load_external_data=False) for path in files)
    ]
    assert places[0][0] == places[1][0]
    assert places[0][0]["location"] == WEIGHTS_FILE


def test_numbers_of_few_bytes_stay_inside(tmp_path):
    (path,) = write_graphs({"a": graph(LARGE, TINY)}, tmp_path)
    inside = {
        tensor.name: tensor.data_location != TensorProto.EXTERNAL
        for tensor in onnx.load(path, load_external_data=False).graph.initializer
    }
    assert inside == {"w0": False, "w1": True}


def test_onnxruntime_computes_with_them(tmp_path):
    (path,) = write_graphs({"a": graph(LARGE, OTHER, TINY)}, tmp_path)
    x = DRAW.standard_normal((32, 32)).astype(np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], OTHER @ (LARGE @ x) + TINY, rtol=1e-4, atol=1e-4)


def test_places_are_those_of_the_bytes(tmp_path):
    write_graphs({"a": graph(LARGE, OTHER)}, tmp_path)
    content = (tmp_path / WEIGHTS_FILE).read_bytes()
    places = tensor_places(tmp_path / WEIGHTS_FILE)
    start, length = places["a.w1"]
    assert content[start : start + length] == OTHER.tobytes()
    assert max(start + length for start, length in places.values()) == len(content)


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(FileError, match="cannot be written"):
        write_graphs({"a": graph(LARGE)}, tmp_path / "gone")


def test_a_bundle_without_large_weights_has_an_empty_file(tmp_path):
    (path,) = write_graphs({"a": graph(TINY)}, tmp_path)
    assert load_file(tmp_path / WEIGHTS_FILE) == {}
    assert onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
