"""The graphs of a bundle as sessions: states, rows, failures, and what is refused when they are loaded."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny_bundle import write_manifest, write_tiny_bundle

from exitsearch.runtime import BundleError, RunError, graphs, load_bundle
from exitsearch.runtime.bundle.trust import open_bundle
from exitsearch.runtime.graphs import Graphs, Stopped


def rewritten(bundle, name, change):
    """A graph changed by hand, with checksums that agree."""
    path = bundle.path / name
    model = onnx.load(path, load_external_data=False)
    change(model.graph)
    path.write_bytes(model.SerializeToString())
    write_manifest(bundle.path, json.loads((bundle.path / "bundle.json").read_text()))
    return bundle.path


@pytest.fixture
def units(tiny):
    with open_bundle(tiny.path, most_bytes=2**30) as bundle:
        found = Graphs(bundle, threads=1)
    return found


def test_rows_that_stay_are_taken_of_what_has_a_batch_alone(units):
    """A batch of 3, as long as the table that has no batch axis: it goes on whole."""
    xs = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    state = units.segment(0, units.begin(xs), None)
    assert {name: array.shape for name, array in state.items()} == {"features_0": (3, 16), "table_0": (3,)}
    part = units.take(0, state, np.array([2, 0]))
    assert part["features_0"].tolist() == state["features_0"][[2, 0]].tolist()
    assert part["table_0"].tolist() == [1, 2, 3]
    assert units.head(0, part, None).shape == (2, 4)


def test_what_is_ended_beforehand_does_not_run(units):
    stop = units.new_stop()
    stop.terminate = True
    with pytest.raises(Stopped):
        units.segment(0, units.begin(np.zeros((1, 3, 8, 8))), stop)
    assert units.segment(0, units.begin(np.zeros((1, 3, 8, 8))), units.new_stop())["features_0"].shape == (1, 16)


def test_a_graph_that_fails_over_an_input_is_named(fresh):
    """The head's answer is gathered from a place that only inputs other than zeros lead out of."""

    def change(graph):
        graph.node[0].output[0] = "inner"
        graph.node.extend(
            [
                helper.make_node("ReduceMax", ["features_1"], ["largest"], keepdims=0),
                helper.make_node("Ceil", ["largest"], ["up"]),
                helper.make_node("Cast", ["up"], ["place"], to=TensorProto.INT64),
                helper.make_node("Constant", [], ["row"], value_ints=[0]),
                helper.make_node("Constant", [], ["axis"], value_ints=[1]),
                helper.make_node("Constant", [], ["thousand"], value_int=1000),
                helper.make_node("Mul", ["place", "thousand"], ["far"]),
                helper.make_node("Unsqueeze", ["far", "row"], ["far_1"]),
                helper.make_node("Gather", ["inner", "far_1"], ["picked"], axis=1),
                helper.make_node("Mul", ["picked", "inner"], ["outputs"]),
            ]
        )

    session = load_bundle(rewritten(write_tiny_bundle(fresh.path), "final.onnx", change))
    assert session.predict(np.zeros((3, 8, 8), dtype=np.float32)).status == "ok"
    with pytest.raises(RunError, match=r"final.onnx failed over this input \(.*indices"):
        session.predict(np.ones((3, 8, 8), dtype=np.float32))


def test_a_graph_for_one_batch_size_alone_is_refused(fresh):
    def change(graph):
        graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1

    with pytest.raises(
        BundleError, match=r"segment_0.onnx: must take a batch of any size and three axes, found \[1, 3"
    ):
        load_bundle(rewritten(fresh, "segment_0.onnx", change))


def test_a_bundle_that_does_not_come_to_an_end_is_not_loaded(fresh, monkeypatch):
    """A loop of 10^15 turns, over zeros too."""
    monkeypatch.setattr(graphs, "_CHECK_SECONDS", 0.2)

    def change(graph):
        body = helper.make_graph(
            [helper.make_node("Identity", ["going"], ["still"]), helper.make_node("Sin", ["carried"], ["turned"])],
            "body",
            [
                helper.make_tensor_value_info("number", TensorProto.INT64, []),
                helper.make_tensor_value_info("going", TensorProto.BOOL, []),
                helper.make_tensor_value_info("carried", TensorProto.FLOAT, ["batch", 4]),
            ],
            [
                helper.make_tensor_value_info("still", TensorProto.BOOL, []),
                helper.make_tensor_value_info("turned", TensorProto.FLOAT, ["batch", 4]),
            ],
        )
        graph.node[0].output[0] = "inner"
        graph.node.extend(
            [
                helper.make_node("Constant", [], ["turns"], value_int=10**15),
                helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True])),
                helper.make_node("Loop", ["turns", "yes", "inner"], ["outputs"], body=body),
            ]
        )

    with pytest.raises(BundleError, match=r"its graphs must answer one input within 0.2 s"):
        load_bundle(rewritten(fresh, "final.onnx", change))


def test_inputs_of_half_precision(tmp_path):
    """A bundle may take float16; a number that would become infinite on the way is refused."""

    def change(graph):
        graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
        graph.node.insert(0, helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT))
        graph.node[1].input[0] = "wide"

    bundle = write_tiny_bundle(tmp_path / "b", input={"name": "x", "size": [3, 8, 8], "dtype": "float16"})
    session = load_bundle(rewritten(bundle, "segment_0.onnx", change))
    x = np.ones((3, 8, 8), dtype=np.float32)
    np.testing.assert_allclose(session.predict(x).outputs, bundle.outputs(x[None], 2)[0], atol=1e-4)
    with pytest.raises(Exception, match="all of them finite"):
        session.predict(x * 70_000)
