"""A request whose budget is not known: held up by events where the test wants to look, never by a stopwatch."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from timed_units import FakeClock, FakeUnits
from tiny_bundle import write_manifest, write_tiny_bundle

from exitsearch.runtime import RunError, Session, load_bundle

X = np.zeros((3, 8, 8), dtype=np.float32)
PATIENCE_S = 30  # a fault of the test's own ends here


@pytest.fixture
def held(loaded):
    """A session, and a function that holds its units up before one of them: reached, let go."""
    clock = FakeClock()
    units = FakeUnits(clock, segments=[1.0] * 3, heads=[0.1] * 2)
    gates = []

    def hold(name):
        reached, go = threading.Event(), threading.Event()
        gates.append(go)
        units.before[name] = lambda: (reached.set(), go.wait(PATIENCE_S))
        return reached, go

    yield Session(loaded.manifest, units=units, clock=clock), units, hold
    for gate in gates:
        gate.set()


def test_left_alone_it_comes_to_the_final_exit(loaded):
    started = loaded.start(X)
    assert started.wait(PATIENCE_S)
    answer = started.answer()
    assert (answer.status, answer.exit) == ("ok", 2)
    assert answer.outputs.tolist() == loaded.predict(X).outputs.tolist()


def test_before_the_first_exit_there_is_no_answer(held):
    session, units, hold = held
    reached, go = hold("head 0")
    started = session.start(X)
    assert reached.wait(PATIENCE_S)
    answer = started.answer()
    assert (answer.status, answer.in_time, answer.exit, answer.outputs) == ("none", False, None, None)
    go.set()
    assert started.wait(PATIENCE_S)
    assert units.log == ["segment 0"]


def test_in_the_middle_the_last_finished_exit_answers_and_the_rest_is_not_run(held):
    session, units, hold = held
    reached, go = hold("segment 1")
    started = session.start(X)
    assert reached.wait(PATIENCE_S)
    assert started.peek().exit == 0
    answer = started.answer()
    assert (answer.status, answer.exit) == ("ok", 0)
    assert answer.time_ms == pytest.approx(1.1)
    go.set()
    assert started.wait(PATIENCE_S)
    assert units.log == ["segment 0", "head 0"]
    assert started.answer() is answer


def test_a_look_does_not_end_the_work(held):
    session, units, hold = held
    reached, go = hold("head 1")
    started = session.start(X)
    assert reached.wait(PATIENCE_S)
    assert started.peek().exit == 0
    go.set()
    assert started.wait(PATIENCE_S)
    assert started.answer().exit == 2
    assert units.log[-1] == "segment 2"


def test_the_best_by_value_counts_not_the_last(held, loaded):
    _, units, _ = held
    session = Session(replace(loaded.manifest, values=(0.5, 0.9, 0.7)), units=units, clock=units.clock)
    started = session.start(X)
    assert started.wait(PATIENCE_S)
    assert started.answer().exit == 1


def test_a_context_ends_the_work(held):
    session, units, hold = held
    reached, go = hold("segment 1")
    with session.start(X) as started:
        assert reached.wait(PATIENCE_S)
    go.set()
    assert started.wait(PATIENCE_S)
    assert units.log == ["segment 0", "head 0"]


def failing(error):
    def fail():
        raise error

    return fail


def test_a_failure_is_told_where_nothing_was_finished(held):
    session, units, _ = held
    units.before["segment 0"] = failing(RunError("segment_0.onnx failed"))
    started = session.start(X)
    assert started.wait(PATIENCE_S)
    with pytest.raises(RunError, match=r"segment_0.onnx failed"):
        started.answer()


def test_a_failure_behind_an_answer_leaves_it_standing(held):
    session, units, _ = held
    units.before["segment 1"] = failing(RunError("segment_1.onnx failed"))
    started = session.start(X)
    assert started.wait(PATIENCE_S)
    assert started.answer().exit == 0


def test_a_fault_of_ours_is_not_swallowed(held):
    session, units, _ = held
    units.before["segment 1"] = failing(ZeroDivisionError("ours"))
    started = session.start(X)
    assert started.wait(PATIENCE_S)
    with pytest.raises(ZeroDivisionError, match="ours"):
        started.answer()


def test_where_no_thread_can_be_had_it_is_said(loaded, monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    session = loaded.replanned()  # without a thread that waits for work
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RunError, match="no thread can be started for a request"):
        session.start(X)


def test_a_running_graph_is_interrupted_for_real(tmp_path):
    """A segment of a million multiplications would take minutes: it is ended from outside, and the session stays good.

    Only whether it ends is asked, not how soon.
    """
    bundle = write_tiny_bundle(tmp_path / "b")
    path = bundle.path / "segment_1.onnx"
    model = onnx.load(path, load_external_data=False)
    slow_where_large(model)
    path.write_bytes(model.SerializeToString())
    write_manifest(bundle.path, json.loads((bundle.path / "bundle.json").read_text()))
    session = load_bundle(bundle.path)
    for _ in range(3):
        started = session.start(X + 1)
        assert not started.wait(0.05)  # it is in the loop, for minutes
        while started.peek().exit is None:
            started.wait(0.01)
        answer = started.answer()
        assert (answer.status, answer.exit) == ("ok", 0)
        assert started.wait(PATIENCE_S)
    assert session.predict(X).exit == 2


def slow_where_large(model):
    """Put a loop behind a segment that turns 100 million times for inputs that are not zero, and once for zeros."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["still"]),
            helper.make_node("Sin", ["carried"], ["turned"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, ["batch", 16]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("turned", TensorProto.FLOAT, ["batch", 16]),
        ],
    )
    last = model.graph.node[-1]
    name = last.output[0]
    last.output[0] = "before"
    model.graph.node.extend(
        [
            helper.make_node("Abs", ["before"], ["sizes"]),
            helper.make_node("ReduceMax", ["sizes"], ["largest"], keepdims=0),
            helper.make_node("Sign", ["largest"], ["sign"]),
            helper.make_node("Cast", ["sign"], ["some"], to=TensorProto.INT64),
            helper.make_node("Constant", [], ["many"], value_int=100_000_000),
            helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True])),
            helper.make_node("Mul", ["some", "many"], ["turns"]),
            helper.make_node("Loop", ["turns", "yes", "before"], [name], body=body),
        ]
    )
