"""What is changed in a graph after torch has exported it."""

from __future__ import annotations

import sys

import onnx
import onnx_ir
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from exitsearch.deploy.export import check_request
from exitsearch.deploy.graphs import OPSET, _drop_unread, _keep_blocked, graph_of
from exitsearch.deploy.units import GraphUnit
from exitsearch.errors import ExitSearchError, UnavailableError


class Residual(nn.Module):
    """A block of a residual network, which sums its input and what convolutions made of it; one tensor goes through."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, *state):
        return self.convolution(state[0]).relu() + state[0], state[1]


def unit_of(module):
    example = (torch.randn(2, 16, 4, 4), torch.randn(2, 3), torch.randn(2, 3))
    names = ("features_0", "carried_0_1", "carried_0_2")
    return GraphUnit("segment_1", module.eval(), names, ("features_1", "carried_1_1"), example, ({0: "batch"},) * 3)


def test_an_exported_graph():
    """Batch of any size, the opset, a pool before the residual sum, an input that nothing reads dropped, a tensor that
    goes through, and no traces of where each operator comes from."""
    model = graph_of(unit_of(Residual()))
    graph = model.graph
    assert model.opset_imports[""] == OPSET
    assert [value.name for value in graph.inputs] == ["features_0", "carried_0_1"]
    assert [value.name for value in graph.outputs] == ["features_1", "carried_1_1"]
    assert [str(value.shape[0]) for value in graph.inputs] == ["batch"] * 2
    assert graph[0].op_type == "MaxPool"
    assert b".py" not in onnx_ir.to_proto(model).SerializeToString()


def test_a_batch_that_torch_fixes_is_refused():
    class Fixed(nn.Module):
        def forward(self, *state):
            return (state[0] if state[0].shape[0] == 2 else -state[0]), state[1]

    with pytest.raises(ExitSearchError, match="segment_1"):
        graph_of(unit_of(Fixed()))


def test_what_torch_cannot_export_is_one_sentence():
    class Asks(nn.Module):
        def forward(self, *state):
            return (state[0] if state[0].sum().item() > 0 else -state[0]), state[1]

    with pytest.raises(ExitSearchError, match=r"torch cannot export segment_1 to ONNX .*; choose exits") as caught:
        graph_of(unit_of(Asks()))
    assert "\n" not in str(caught.value)


def made(nodes, *, channels=16):
    """A graph over a map x [batch, channels, 4, 4]."""
    shape = ["batch", channels, 4, 4]
    graph = helper.make_graph(
        [helper.make_node(operator, takes, [gives]) for operator, takes, gives in nodes],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [helper.make_tensor("w", TensorProto.FLOAT, [channels, channels, 1, 1], [0.5] * channels**2)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    onnx.checker.check_model(model)
    return onnx_ir.from_proto(model).graph


RESIDUAL = [("Conv", ["x", "w"], "a"), ("Relu", ["a"], "b"), ("Add", ["b", "x"], "y")]


def test_a_residual_sum_gets_its_map_in_blocks():
    graph = made(RESIDUAL)
    _keep_blocked(graph)
    pool = graph[0]
    assert pool.op_type == "MaxPool"
    assert list(pool.attributes["kernel_shape"].as_ints()) == [1, 1]
    assert [node for node, _ in graph.inputs[0].uses()] == [pool]
    assert [[value.name for value in node.inputs] for node in graph] == [
        ["x"],
        ["x_in_blocks", "w"],
        ["a"],
        ["b", "x_in_blocks"],
    ]
    _keep_blocked(graph)
    assert [node.op_type for node in graph].count("MaxPool") == 1


@pytest.mark.parametrize(
    ("nodes", "channels"),
    [
        ([("Conv", ["x", "w"], "a"), ("Relu", ["a"], "y")], 16),  # the convolution takes plain maps into blocks itself
        (RESIDUAL, 20),  # channels that make no whole blocks
        # As ConvNeXt: what is summed comes out of an operator on plain maps.
        ([("Conv", ["x", "w"], "a"), ("Softmax", ["a"], "b"), ("Add", ["b", "x"], "y")], 16),
        ([("Relu", ["x"], "a"), ("Add", ["a", "x"], "y")], 16),
    ],
)
def test_elsewhere_a_pool_would_be_in_vain(nodes, channels):
    graph = made(nodes, channels=channels)
    _keep_blocked(graph)
    assert "MaxPool" not in [node.op_type for node in graph]


def test_the_only_input_stays():
    graph = made([("Relu", ["w"], "y")])
    _drop_unread(graph)
    assert [value.name for value in graph.inputs] == ["x"]


@pytest.mark.parametrize(
    ("missing", "form", "extra"),
    [("onnx_ir", "onnx", "onnx"), ("onnxruntime", "onnx", "onnx"), ("openvino", "openvino", "openvino")],
)
def test_a_missing_package_is_named_before_any_work(monkeypatch, missing, form, extra):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UnavailableError, match=rf"install them with pip install 'exitsearch\[{extra}\]'"):
        check_request(format=form, precision="fp32")
