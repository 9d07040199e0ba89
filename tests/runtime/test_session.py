"""A session over a bundle made by hand: what it answers against numpy, and a clear status for whatever it is asked."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper
from timed_units import FakeClock, FakeUnits
from tiny_bundle import write_manifest, write_tiny_bundle

from exitsearch.runtime import BundleError, RequestError, RunError, Session, load_bundle
from exitsearch.runtime.scores import confidence


@pytest.fixture(scope="module")
def xs():
    return np.random.default_rng(1).standard_normal((16, 3, 8, 8)).astype(np.float32)


def faked(loaded, *, slower=(), **options):
    """The same session over units that take the table's own times, by a clock of their own."""
    clock = FakeClock()
    units = FakeUnits(clock, segments=[1.0] * 3, heads=[0.1] * 2, slower=slower)
    return Session(loaded.manifest, units=units, clock=clock, **options), units


def test_without_a_budget_the_best_exit_answers(loaded, tiny, xs):
    answer = loaded.predict(xs[0])
    assert (answer.status, answer.in_time, answer.exit) == ("ok", True, 2)
    np.testing.assert_allclose(answer.outputs, tiny.outputs(xs[:1], 2)[0], atol=1e-5)
    assert answer.label == tiny.outputs(xs[:1], 2)[0].argmax()
    assert answer.name == f"class {answer.label}"
    assert answer.confidence == pytest.approx(confidence(tiny.outputs(xs[:1], 2), score="softmax")[0], abs=1e-5)
    assert answer.time_ms > 0


@pytest.mark.parametrize(("budget_ms", "exit_"), [(1.5, 0), (2.8, 1), (4.0, 2)])
def test_a_budget_chooses_the_exit(loaded, budget_ms, exit_):
    """By p99 exits answer at 1.2 + 0.2, 2.4 + 0.2 and 3.6 ms; the units take what the table's medians say."""
    session, units = faked(loaded)
    answer = session.predict(np.zeros((3, 8, 8), dtype=np.float32), budget_ms=budget_ms)
    assert (answer.status, answer.exit) == ("ok", exit_)
    assert answer.time_ms == pytest.approx(1.0 * (exit_ + 1) + (0.1 if exit_ < 2 else 0))
    assert len([name for name in units.log if name.startswith("head")]) == (exit_ < 2)


def test_a_budget_below_every_exit_is_refused_and_nothing_is_run(loaded):
    session, units = faked(loaded)
    answer = session.predict(np.zeros((3, 8, 8), dtype=np.float32), budget_ms=1.3)
    assert (answer.status, answer.in_time, answer.label, answer.exit) == ("refused", False, None, None)
    assert answer.needed_ms == pytest.approx(1.4)
    assert units.log == []


def test_an_answer_behind_its_deadline_says_so(loaded):
    session, _ = faked(loaded, slower=[3.0])
    answer = session.predict(np.zeros((3, 8, 8), dtype=np.float32), budget_ms=1.5)
    assert (answer.status, answer.in_time, answer.exit) == ("late", False, 0)
    assert answer.time_ms == pytest.approx(3.1)


def test_a_slow_machine_is_planned_for_and_forgotten(loaded):
    session, units = faked(loaded, slower=[4.0] * 60)
    x = np.zeros((3, 8, 8), dtype=np.float32)
    statuses = [session.predict(x, budget_ms=4.0).status for _ in range(30)]
    assert statuses[0] == "late"
    assert statuses[-1] == "refused"
    assert session.slow_down > 1.9
    assert session.delay_ms >= 0
    units.slower = iter(lambda: 1.0, None)
    units.clock.now += 60
    assert session.slow_down == pytest.approx(1.0, abs=1e-5)
    assert session.delay_ms == 0
    assert session.predict(x, budget_ms=4.0).exit == 2


def test_while_it_refuses_it_looks_how_slow_the_machine_is(loaded):
    """Not at rest, when the table alone refuses: then there is nothing to be learnt."""
    session, units = faked(loaded, slower=[4.0] * 30)
    looks = []
    session._lookout._threads = SimpleNamespace(run=looks.append)
    x = np.zeros((3, 8, 8), dtype=np.float32)
    assert session.predict(x, budget_ms=1.0).status == "refused"
    assert looks == []
    for _ in range(10):
        session.predict(x, budget_ms=4.0)
    ran = len(units.log)
    assert len(looks) == 1
    looks[0]()
    assert units.log[ran:] == ["segment 0", "head 0"] * 2  # the second one counts


def test_without_the_correction_only_the_table_counts(loaded):
    """The same graphs: what one session has learned is not the other's."""
    corrected, _ = faked(loaded, slower=[4.0] * 400)
    plain = corrected.replanned(correction=False)
    x = np.zeros((3, 8, 8), dtype=np.float32)
    statuses = [plain.predict(x, budget_ms=4.0).status for _ in range(30)]
    assert statuses == ["late"] * 30
    assert plain.slow_down == corrected.slow_down == 1.0
    corrected.predict(x, budget_ms=4.0)
    assert corrected.slow_down > 1.0
    assert corrected.replanned(quantile=0.5).predict(x, budget_ms=1.15).exit == 0
    with pytest.raises(RequestError, match="quantile must be one of"):
        corrected.replanned(quantile=0.7)


def test_a_pause_costs_what_was_measured(loaded):
    """By p99 the first exit answers at 1.4 ms, half a millisecond later after 5 ms of nothing; whichever session over
    the same graphs has run, and refusals are no work."""
    latency = replace(loaded.manifest.latency, after_pause=((5.0, 0.5),))
    session, units = faked(SimpleNamespace(manifest=replace(loaded.manifest, latency=latency)))
    x = np.zeros((3, 8, 8), dtype=np.float32)
    assert session.predict(x, budget_ms=1.5).exit == 0
    units.clock.now += 0.005
    assert session.extra_ms == pytest.approx(0.5)
    refused = session.predict(x, budget_ms=1.8)
    assert (refused.status, refused.needed_ms) == ("refused", pytest.approx(1.9))
    assert session.predict(x, budget_ms=1.95).exit == 0
    assert session.predict(x, budget_ms=1.5).exit == 0
    units.clock.now += 0.005
    other = session.replanned(correction=False)
    assert other.predict(x, budget_ms=1.8).status == "refused"
    assert other.predict(x, budget_ms=1.95).exit == 0
    assert session.extra_ms == 0.0
    assert session.predict(x, budget_ms=1.5).exit == 0


def test_the_time_before_the_call_counts_where_it_is_given(loaded):
    session, units = faked(loaded)
    units.clock.now = 5.0
    answer = session.predict(np.zeros((3, 8, 8), dtype=np.float32), budget_ms=4.0, arrived=4.999)
    assert (answer.exit, answer.status) == (1, "ok")
    assert answer.time_ms == pytest.approx(1.0 + 2.1)


def test_planning_by_medians_is_bolder(loaded):
    session, _ = faked(loaded, quantile=0.5)
    assert session.predict(np.zeros((3, 8, 8), dtype=np.float32), budget_ms=1.15).exit == 0


def test_sure_inputs_leave_early(loaded, tiny, xs):
    """Exit by exit as numpy says, one by one and all at once."""
    threshold = 0.6
    expected = []
    for number in range(len(xs)):
        sure = [confidence(tiny.outputs(xs[number : number + 1], k), score="softmax")[0] for k in range(2)]
        expected.append(next((k for k in range(2) if sure[k] >= threshold), 2))
    assert len(set(expected)) > 1  # else this shows nothing
    assert [loaded.predict(x, confidence=threshold).exit for x in xs] == expected
    together = loaded.predict_batch(xs, confidence=threshold)
    assert [answer.exit for answer in together] == expected
    for number, answer in enumerate(together):
        np.testing.assert_allclose(answer.outputs, tiny.outputs(xs[number : number + 1], answer.exit)[0], atol=1e-5)


def test_a_mean_budget_takes_the_operating_point_within_it(loaded, xs):
    """The table has thresholds of 0.3 from 2 ms and of 0.9 from 3 ms on."""
    for budget, threshold in ((2.0, 0.3), (2.9, 0.3), (3.0, 0.9), (99.0, 0.9)):
        found = [answer.exit for answer in loaded.predict_batch(xs, mean_budget_ms=budget)]
        assert found == [answer.exit for answer in loaded.predict_batch(xs, confidence=threshold)]
    answer = loaded.predict(xs[0], mean_budget_ms=1.9)
    assert (answer.status, answer.needed_ms) == ("refused", 2.0)


def test_batches_are_answered_row_by_row(loaded, tiny, xs):
    answers = loaded.predict_batch(list(xs))
    assert len(answers) == len(xs)
    np.testing.assert_allclose([a.outputs for a in answers], tiny.outputs(xs, 2), atol=1e-5)
    assert {answer.exit for answer in answers} == {2}


def test_every_exit_can_be_had(loaded, tiny, xs):
    found = loaded.every_exit(xs)
    assert len(found) == len(loaded.exits) == 3
    for number, outputs in enumerate(found):
        np.testing.assert_allclose(outputs, tiny.outputs(xs, number), atol=1e-5)


def test_a_bundle_without_exits_answers_with_its_final_one(tmp_path, xs):
    bundle = write_tiny_bundle(tmp_path / "b", exits=0)
    session = load_bundle(bundle.path)
    np.testing.assert_allclose(session.predict(xs[0]).outputs, bundle.outputs(xs[:1], 0)[0], atol=1e-5)


def test_regression_has_values_and_no_label(tmp_path, xs):
    model = {"name": "tiny", "task": "regression", "num_outputs": 1, "classes": None}
    bundle = write_tiny_bundle(tmp_path / "b", classes=1, model=model, confidence=None, policy="contract")
    session = load_bundle(bundle.path)
    answer = session.predict(xs[0])
    assert (answer.label, answer.confidence, answer.status) == (None, None, "ok")
    np.testing.assert_allclose(answer.outputs, bundle.outputs(xs[:1], 2)[0], atol=1e-5)
    with pytest.raises(RequestError, match="this bundle's task is regression"):
        session.predict(xs[0], confidence=0.5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"budget_ms": 0}, "budget_ms must be a number above 0, at most 1e.09, found 0"),
        ({"budget_ms": float("nan")}, "budget_ms must be a number above 0"),
        ({"budget_ms": float("inf")}, "budget_ms must be a number above 0"),
        ({"budget_ms": "25"}, "budget_ms must be a number above 0, at most 1e.09, found '25'"),
        ({"budget_ms": 10**5000}, "found something of type int"),
        ({"budget_ms": 1j}, "budget_ms must be a number"),
        ({"budget_ms": True}, "budget_ms must be a number"),
        ({"confidence": 1.1}, "confidence must be a number above 0, at most 1, found 1.1"),
        ({"confidence": 0.5, "mean_budget_ms": 3.0}, "found it beside a confidence; give one of them"),
        ({"mean_budget_ms": -1}, "mean_budget_ms must be a number above 0"),
        ({"arrived": float("inf")}, "arrived must be a time of time.perf_counter"),
        ({"arrived": 10**400}, "arrived must be a time of time.perf_counter"),
        ({"arrived": "now"}, "arrived must be a time of time.perf_counter"),
    ],
)
def test_every_argument_has_a_range(loaded, xs, options, sentence):
    with pytest.raises(RequestError, match=sentence):
        loaded.predict(xs[0], **options)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((3, 8, 9), dtype=np.float32),
        np.zeros((2, 3, 8, 8), dtype=np.float32),
        np.zeros((3, 8, 8), dtype=np.int64),
        np.full((3, 8, 8), np.nan, dtype=np.float32),
        np.full((3, 8, 8), 1e300),
        np.zeros((3, 8, 8), dtype=object),
        [[1.0]],
        None,
        5,
        {},
    ],
    ids=["size", "batch", "whole numbers", "nan", "too large", "objects", "list", "none", "number", "table"],
)
def test_what_is_no_input_is_told_so(loaded, x):
    with pytest.raises(RequestError, match="an input is an array") as raised:
        loaded.predict(x)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("xs", [[], np.zeros((0, 3, 8, 8), dtype=np.float32), "abc", None, 3])
def test_what_is_no_batch_is_told_so(loaded, xs):
    with pytest.raises(RequestError):
        loaded.predict_batch(xs)


@pytest.mark.parametrize(
    "options", [{"threads": 0}, {"threads": True}, {"threads": 1.5}, {"quantile": 0.95}, {"most_bytes": "1"}]
)
def test_loading_has_ranges_too(tiny, options):
    with pytest.raises(RequestError, match="must be"):
        load_bundle(tiny.path, **options)


def test_outputs_that_are_no_numbers_are_an_error(tmp_path):
    """Numbers as large as can be, with the signs of a column of weights: their sum is infinite."""
    bundle = write_tiny_bundle(tmp_path / "b")
    session = load_bundle(bundle.path)
    x = np.sign(bundle.weights["into"][:, 0]).reshape(3, 8, 8) * np.finfo(np.float32).max
    with pytest.raises(RunError, match=r"final.onnx gave outputs that are not finite numbers"):
        session.predict(x)


def test_a_bundle_whose_answers_are_no_numbers_is_not_loaded(fresh):
    path = fresh.path / "head_0.onnx"
    model = onnx.load(path, load_external_data=False)
    model.graph.node[0].output[0] = "inner"
    model.graph.node.append(helper.make_node("Log", ["inner"], ["outputs"]))
    path.write_bytes(model.SerializeToString())
    write_manifest(fresh.path, json.loads((fresh.path / "bundle.json").read_text()))
    with pytest.raises(BundleError, match=r"do not answer an input of zeros: head_0.onnx gave outputs that are not"):
        load_bundle(fresh.path)


def test_many_threads_get_the_same_bits(loaded, xs):
    """Eight threads, each asks for all inputs 20 times; every answer is bit by bit what one thread got."""
    expected = [loaded.predict(x).outputs.tobytes() for x in xs]
    wrong = []

    def ask():
        for _ in range(20):
            wrong.extend(1 for x, bits in zip(xs, expected, strict=True) if loaded.predict(x).outputs.tobytes() != bits)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_without_a_number_of_threads_the_tables_own_is_taken(tmp_path, monkeypatch):
    """4,096 threads of a table are no more than this machine has."""
    from exitsearch.runtime import session as module

    taken = []
    original = module.Graphs
    monkeypatch.setattr(module, "Graphs", lambda b, *, threads: taken.append(threads) or original(b, threads=threads))
    bundle = write_tiny_bundle(tmp_path / "b")
    document = json.loads((bundle.path / "bundle.json").read_text())
    for threads in (1, 4096):
        document["latency"]["threads"] = threads
        write_manifest(bundle.path, document)
        load_bundle(bundle.path)
    load_bundle(bundle.path, threads=2)
    assert taken == [1, os.cpu_count(), 2]


def test_two_threads_a_request_answer_alike(tiny, loaded, xs):
    session = load_bundle(tiny.path, threads=2)
    np.testing.assert_allclose(session.predict(xs[0]).outputs, loaded.predict(xs[0]).outputs, atol=1e-6)
