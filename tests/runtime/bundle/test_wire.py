"""The look into ONNX graphs, held against the onnx package: nothing that can name a file is overlooked."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exitsearch.runtime.bundle.fields import FieldError
from exitsearch.runtime.bundle.wire import ExternalData, external_data


def outside(location="w.bin", **entries) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.dims.extend([2])
    for key, value in ({"location": location} | entries).items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def model_of(*nodes, initializers=(), **others) -> onnx.ModelProto:
    graph = helper.make_graph(list(nodes), "g", [], [], list(initializers))
    return helper.make_model(graph, **others)


def constant(tensor) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["c"], value=tensor)


def inner_graph(tensor) -> onnx.GraphProto:
    return helper.make_graph([constant(tensor)], "inner", [], [])


def with_training_info(tensor):
    model = model_of()
    model.training_info.add().algorithm.CopyFrom(inner_graph(tensor))
    return model


def sparse(tensor):
    return onnx.SparseTensorProto(values=tensor, indices=numpy_helper.from_array(np.array([0], dtype=np.int64)))


def with_sparse_initializer(tensor):
    model = model_of()
    model.graph.sparse_initializer.append(sparse(tensor))
    return model


def with_function_default(tensor):
    model = model_of()
    function = model.functions.add(name="f", domain="d")
    function.attribute_proto.append(helper.make_attribute("value", tensor))
    return model


HIDING_PLACES = {
    "initializer": lambda t: model_of(initializers=[t]),
    "attribute": lambda t: model_of(constant(t)),
    "list of tensors": lambda t: model_of(helper.make_node("Any", [], ["o"], values=[t, t])),
    "graph of a node": lambda t: model_of(helper.make_node("If", ["c"], ["o"], then_branch=inner_graph(t))),
    "graphs of a node": lambda t: model_of(helper.make_node("Any", [], ["o"], graphs=[inner_graph(t)])),
    "sparse attribute": lambda t: model_of(helper.make_node("Constant", [], ["c"], sparse_value=sparse(t))),
    "sparse initializer": with_sparse_initializer,
    "function": lambda t: model_of(functions=[helper.make_function("d", "f", [], ["c"], [constant(t)], [])]),
    "default of a function": with_function_default,
    "training": with_training_info,
}


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_a_file_is_found_wherever_it_is_named(place):
    found = external_data(HIDING_PLACES[place](outside(offset=8, length=16)).SerializeToString())
    assert set(found) == {ExternalData("w.bin", 8, 16)}


def test_every_message_of_onnx_that_holds_a_tensor_is_followed():
    """By onnx's own description: a new field that leads to a tensor or to a node would be missed here."""
    from exitsearch.runtime.bundle.wire import _WAYS

    kinds = {
        "ModelProto": "model", "TrainingInfoProto": "training", "FunctionProto": "function", "GraphProto": "graph",
        "NodeProto": "node", "AttributeProto": "attribute", "SparseTensorProto": "sparse", "TensorProto": "tensor",
    }  # fmt: skip
    for message, kind in kinds.items():
        fields = getattr(onnx, message).DESCRIPTOR.fields
        leads = {
            f.number: kinds[f.message_type.name] for f in fields if f.message_type and f.message_type.name in kinds
        }
        mine = {number: below for number, below in _WAYS[kind].items() if below != "entry"}
        assert mine == leads, message
    assert onnx.TensorProto.DESCRIPTOR.fields_by_name["external_data"].number in _WAYS["tensor"]


def test_numbers_inside_a_graph_name_no_file():
    weights = numpy_helper.from_array(np.arange(1000, dtype=np.float32), "w")
    assert external_data(model_of(initializers=[weights]).SerializeToString()) == []


def test_a_graph_that_stands_there_twice_is_looked_at_twice():
    """Parsers merge both."""
    plain, hiding = model_of(), model_of(initializers=[outside()])
    assert external_data(plain.SerializeToString() + hiding.SerializeToString()) == [ExternalData("w.bin")]


@pytest.mark.parametrize("operator", ["EPContext", "PyOp"])
def test_operators_that_read_files_are_refused(operator):
    node = helper.make_node(operator, [], ["o"], domain="com.microsoft")
    with pytest.raises(FieldError, match=f"operators that read files or run code are refused, found {operator}"):
        external_data(model_of(helper.make_node("If", ["c"], ["o"], then_branch=helper.make_graph([node], "g", [], [])))
                      .SerializeToString())  # fmt: skip


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([("offset", "0")], "must name its location"),
        ([("location", "a"), ("location", "b")], "each once, found b'location'"),
        ([("location", "a"), ("secret", "b")], "found b'secret'"),
        ([("location", "a"), ("offset", "-1")], "external data's offset must be a whole number from 0"),
        ([("location", "a"), ("length", "9" * 19)], "external data's length must be a whole number from 0"),
        ([("location", "é")], "a location must be the name of a file"),
    ],
)
def test_places_are_written_in_one_way(entries, sentence):
    tensor = TensorProto(name="w", data_location=TensorProto.EXTERNAL)
    for key, value in entries:
        tensor.external_data.add(key=key, value=value)
    with pytest.raises(FieldError, match=sentence):
        external_data(model_of(initializers=[tensor]).SerializeToString())


def nested(depth: int) -> bytes:
    """Graphs of nodes of graphs; by hand, since onnx's own writer ends at a hundred too."""

    def field(number: int, payload: bytes) -> bytes:
        length, size = len(payload), b""
        while length > 127:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        return bytes([number << 3 | 2]) + size + bytes([length]) + payload

    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return field(7, graph)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "found bytes without a graph"),
        (b"\x08\x01", "found bytes without a graph"),
        (b"\x3a\x05ab", "ends within a field"),
        (b"\x3a", "ends within a number"),
        (b"\x3a" + b"\xff" * 11, "a number of more than 10 bytes"),
        (b"\x3b", "wire type 3"),
        (b"\x02\x00", "a field without a number"),
        (b"\x00\x00\x00\x00ORTM", "found ONNX Runtime's own format"),
        (nested(60), "nested at most 100 deep"),
    ],
)  # fmt: skip
def test_what_is_no_graph(raw, sentence):
    with pytest.raises(FieldError, match=sentence):
        external_data(raw)


def test_no_bytes_raise_anything_else():
    """Every mutation of a graph is read, or refused in a sentence; 2,000 of them in a second."""
    graph = bytearray(HIDING_PLACES["graph of a node"](outside(offset=1)).SerializeToString())
    rng = np.random.default_rng(0)
    for _ in range(2000):
        mutated = bytearray(graph)
        for place in rng.integers(0, len(graph), rng.integers(1, 4)):
            mutated[place] = rng.integers(0, 256)
        with suppress(FieldError):
            external_data(bytes(mutated[: rng.integers(1, len(graph) + 1)]))
