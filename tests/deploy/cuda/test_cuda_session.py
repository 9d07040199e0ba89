"""The CUDA session on the simulated device, whose graphs compute, and whose copies arrive only when they are awaited.

Times by hand, in us: an operator takes 200 of the device, a convolution with its ReLU 400, flattening nothing by itself
(a view), a launch of a graph 9 of the host, a wait 8.
"""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
import torch
from export_models import family_model, weights_folder
from simulated_cuda import Costs, FakeCuda, SimulatedDevice
from small_model import SIDE, VALUES, eager, images, small_model

from exitsearch.deploy.cuda import CudaSession, cuda_session, load_cuda_session
from exitsearch.errors import InputError, UnavailableError
from exitsearch.runtime import RequestError, RunError
from exitsearch.runtime.bundle.manifest import Confidence, Point
from exitsearch.runtime.deadline import Table
from exitsearch.runtime.policies import Interruptible
from exitsearch.runtime.scores import confidence

OPERATION = 200.0


class Rig:
    """A session on a simulated device, without correction: times there have no noise."""

    def __init__(self, *, policy="contract", batch_sizes=(1,), **options):
        self.simulation = FakeCuda(Costs(operation=OPERATION))
        self.device = SimulatedDevice(self.simulation)
        self.model = small_model(policy)
        self.session = cuda_session(
            self.model,
            values=VALUES,
            device=self.device,
            batch_sizes=batch_sizes,
            max_seconds=0.02,
            clock=self.device.now_s,
            correction=False,
            **options,
        )

    def waits(self, call):
        """What a call gives, and how often the host waited for the device meanwhile."""
        before = self.simulation.waits
        return call(), self.simulation.waits - before

    @property
    def replays(self):
        return [graph.replays for graph in self.simulation.graphs]

    def predicted_ms(self, exit_, quantile=0.99):
        table = self.session.manifest.latency
        return sum(table.segments[quantile][: exit_ + 1]) + (*table.heads[quantile], 0.0)[exit_]


@pytest.fixture(scope="module")
def rig():
    return Rig()


@pytest.fixture(scope="module")
def batches():
    return Rig(policy="confidence", batch_sizes=(1, 2, 8))


@pytest.fixture(scope="module")
def host():
    """The same model as plain torch, and its session."""
    model = small_model()
    return model, cuda_session(model, values=VALUES, device="cpu", batch_sizes=(1, 4), max_seconds=0.0)


def test_one_graph_for_each_fused_segment_and_each_head(rig, batches):
    assert len(rig.simulation.graphs) == 4 + 3
    assert len(batches.simulation.graphs) == 3 * (4 + 3)
    assert {graph.device for graph in rig.simulation.graphs} == {0}


def test_every_exit_is_the_models_own_bit_for_bit(rig, host):
    for x in images(3)[:, None]:
        for session, model in ((rig.session, rig.model), (host[1], host[0])):
            for found, wanted in zip(session.every_exit(x), eager(model, x), strict=True):
                np.testing.assert_array_equal(found, wanted)
                assert found.dtype == np.float32


def test_a_batch_runs_in_the_smallest_that_it_fits_into_and_the_rest_is_zeros(host):
    model, session = host
    session.every_exit(images(4, seed=5))  # leaves its numbers behind
    xs = images(3)
    padded = np.concatenate([xs, np.zeros_like(xs[:1])])
    for found, wanted in zip(session.every_exit(xs), eager(model, padded), strict=True):
        np.testing.assert_array_equal(found, wanted[:3])
    assert session.batch_sizes == (1, 4)
    with pytest.raises(RequestError, match="batches of at most 4 inputs, found 5; ask in several"):
        session.predict_batch(images(5))


@pytest.mark.parametrize("exit_", range(4))
def test_a_contract_is_one_wait_behind_the_chosen_exit(rig, exit_):
    x = images(1)[0]
    before = rig.replays
    answer, waits = rig.waits(lambda: rig.session.predict(x, budget_ms=rig.predicted_ms(exit_) + 0.01))
    # The final exit takes less than the third one's head, so whoever can have the third can have the final one.
    wanted = 3 if exit_ == 2 and rig.predicted_ms(3) <= rig.predicted_ms(2) + 0.01 else exit_
    assert (answer.status, answer.exit, waits) == ("ok", wanted, 1)
    np.testing.assert_array_equal(answer.outputs, eager(rig.model, x[None])[wanted][0])
    ran = [after - old for after, old in zip(rig.replays, before, strict=True)]
    # Recorded in the order segment 0, head 0, segment 1, ...
    assert ran == [int(k <= 2 * wanted if k % 2 == 0 else k == 2 * wanted + 1) for k in range(7)]


@pytest.mark.parametrize("exit_", range(4))
def test_the_table_says_when_an_answer_comes(rig, exit_):
    """Without a budget on the way: the exit is forced by its value."""
    values = [float(k == exit_) for k in range(4)]
    session = _revalued(rig, values)
    answer = session.predict(images(1)[0])
    assert answer.exit == exit_
    assert answer.time_ms == pytest.approx(rig.predicted_ms(exit_, 0.5), rel=0.02)


def _revalued(rig, values):
    manifest = dataclasses.replace(rig.session.manifest, values=tuple(values))
    return CudaSession(manifest, units=rig.session._units, clock=rig.device.now_s, correction=False)


def test_what_cannot_be_in_time_is_refused_and_nothing_is_handed_over(rig):
    before = rig.replays
    answer, waits = rig.waits(lambda: rig.session.predict(images(1)[0], budget_ms=rig.predicted_ms(0) - 0.01))
    assert (answer.status, waits) == ("refused", 0)
    assert answer.needed_ms == pytest.approx(rig.predicted_ms(0))
    assert rig.replays == before


def test_a_budget_holds_though_the_host_runs_far_ahead(rig):
    """The host hands all segments over in 40 us; a plan that believed its clock would take ever later exits."""
    for budget in np.arange(1.0, 3.0, 0.1):
        answer = rig.session.predict(images(1)[0], budget_ms=float(budget))
        assert answer.status == ("ok" if budget >= rig.predicted_ms(0) else "refused")
        assert answer.time_ms <= budget


def _held_up(rig, monkeypatch, us):
    """The host is held up for so long behind the launch of the first segment, which takes the device 0.8 ms."""
    segment = rig.session._units.segment

    def held_up(position, state, stop):
        state = segment(position, state, stop)
        rig.simulation.spend(us if position == 0 else 0.0)
        return state

    monkeypatch.setattr(rig.session._units, "segment", held_up)


def test_a_host_that_is_late_takes_an_earlier_exit(rig, monkeypatch):
    _held_up(rig, monkeypatch, 1000.0)
    x, session = images(1), _revalued(rig, [0.5, 0.1, 0.1, 0.8])
    answer = session.predict(x[0], budget_ms=rig.predicted_ms(3) + 0.01)
    assert (answer.status, answer.exit) == ("ok", 0)
    np.testing.assert_array_equal(answer.outputs, eager(rig.model, x)[0][0])


def test_a_host_that_is_late_while_the_device_is_busy_loses_nothing(rig, monkeypatch):
    _held_up(rig, monkeypatch, 500.0)
    assert rig.session.predict(images(1)[0], budget_ms=rig.predicted_ms(3) + 0.01).exit == 3


def _halving(rig, xs):
    """A session from which half of what is left of these inputs leaves at every exit, and where each of them does."""
    scores = [confidence(outputs, score="softmax") for outputs in eager(rig.model, xs)[:3]]
    left, thresholds = np.full(len(xs), 3), []
    for exit_, score in enumerate(scores):
        still = np.sort(score[left == 3])
        # Between two scores: in another batch the last bit of one may be another.
        thresholds.append(float(still[len(still) // 2 - 1 : len(still) // 2 + 1].mean()))
        left[(left == 3) & (score >= thresholds[-1])] = exit_
    assert np.bincount(left).tolist() == [12, 6, 3, 3]
    table = Confidence(score="softmax", temperatures=(1.0,) * 3, points=(Point(budget_ms=1.0, thresholds=thresholds),))
    manifest = dataclasses.replace(rig.session.manifest, confidence=table)
    return CudaSession(manifest, units=rig.session._units, clock=rig.device.now_s, correction=False), left.tolist()


def test_confidence_waits_where_the_score_is_read(batches):
    xs = images(24, seed=2)
    session, left = _halving(batches, xs)
    for x, exit_ in zip(xs, left, strict=True):
        answer, waits = batches.waits(lambda x=x: session.predict(x, mean_budget_ms=1.0))
        assert (answer.exit, waits) == (exit_, exit_ + 1)
        np.testing.assert_array_equal(answer.outputs, eager(batches.model, x[None])[exit_][0])


def test_inputs_that_stay_go_on_in_a_smaller_batch(batches):
    xs = images(24, seed=2)
    session, left = _halving(batches, xs)
    # 8, 5, 2 and 1 of them run up to the exits.
    xs = xs[[left.index(0)] * 3 + [left.index(1)] * 3 + [left.index(2), left.index(3)]][::-1].copy()
    before = batches.replays
    answers = session.predict_batch(xs, mean_budget_ms=1.0)
    assert [answer.exit for answer in answers] == [3, 2, 1, 1, 1, 0, 0, 0]
    for row, answer in enumerate(answers):
        np.testing.assert_allclose(answer.outputs, eager(batches.model, xs)[answer.exit][row], atol=1e-6)
    # The chains were recorded from the largest on, seven graphs each.
    ran = [after - old for after, old in zip(batches.replays, before, strict=True)]
    assert [ran[:7], ran[7:14], ran[14:]] == [[1, 1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0, 1]]


def test_each_batch_size_has_a_table_of_its_own(batches):
    tables = batches.session._units.latencies
    assert [table.batch_size for table in tables.values()] == list(tables) == [1, 2, 8]


def _interrupted(rig, us, x):
    """Work that is ended after so long; what counted then, and the work."""
    simulation, session = rig.simulation, rig.session
    begin = rig.device.now_s()
    work = session._work(Interruptible(session.manifest.values, session._plan(None, rows=1)), begin, rows=1)
    found = []
    simulation.at(simulation.host_us + us, lambda: (found.extend(work.best()), work.end()))
    work.run(x[None])
    return found[0], work


def test_the_best_finished_answer_counts_at_any_moment(rig):
    x = images(1)[0]
    whole = rig.session._work(Interruptible(VALUES, rig.session._plan(None, rows=1)), rig.device.now_s(), rows=1)
    whole.run(x[None])
    ends = [found.spent_ms for found in whole._found]
    assert [found.exit for found in whole._found] == [0, 1, 2, 3]
    assert ends == sorted(ends)
    for moment in (ends[0] - 0.05, ends[0] + 0.05, ends[1] - 0.05, ends[1] + 0.05, ends[2] + 0.05):
        best, _ = _interrupted(rig, moment * 1e3, x)
        finished = sum(end < moment for end in ends)
        if not finished:
            assert best is None
            continue
        assert best.exit == finished - 1
        assert best.spent_ms == pytest.approx(ends[finished - 1], abs=0.02)
        np.testing.assert_array_equal(best.outputs, eager(rig.model, x[None])[best.exit][0])


def test_the_device_is_never_idle_between_the_exits_of_an_interruptible_request(rig):
    """All of it on the device: 9 operators of segments, the heads' and their copies; the host waits beside it."""
    started = rig.session._work(Interruptible(VALUES, rig.session._plan(None, rows=1)), rig.device.now_s(), rows=1)
    busy, begin = sum(sum(graph.kernels_us) for graph in rig.simulation.graphs), rig.simulation.host_us
    started.run(images(1))
    spent = rig.simulation.host_us - begin
    costs = rig.simulation.costs
    assert spent < busy + OPERATION + 4 * costs.copy + 10 * costs.launch


def test_an_ended_request_leaves_at_most_one_more_exit_in_the_queue(rig):
    before = rig.replays
    _, work = _interrupted(rig, 900.0, images(1)[0])
    ran = [after - old for after, old in zip(rig.replays, before, strict=True)]
    assert ran == [1, 1, 1, 1, 0, 0, 0]
    assert work.stopped


def test_an_answer_stays_what_it_was_when_the_buffers_are_another_requests(rig):
    first, second = images(2)
    _, work = _interrupted(rig, 2000.0, first)
    before = work.best()[0].outputs.copy()
    rig.session.every_exit(second[None])
    np.testing.assert_array_equal(work.best()[0].outputs, before)
    np.testing.assert_array_equal(before, eager(rig.model, first[None])[work.best()[0].exit][0])


def test_started_answers_from_another_thread(host):
    model, session = host
    x = images(1)[0]
    with session.start(x) as started:
        assert started.wait(60)
        answer = started.answer()
    assert (answer.status, answer.exit) == ("ok", 3)
    np.testing.assert_array_equal(answer.outputs, eager(model, x[None])[3][0])


def test_many_threads_each_get_their_own_answers(host):
    model, session = host
    xs, wrong = images(24), []
    wanted = [eager(model, x[None])[3][0] for x in xs]

    def ask(first):
        for row in range(first, len(xs), 4):
            if not np.array_equal(session.predict(xs[row]).outputs, wanted[row]):
                wrong.append(row)

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("how", ["contract", "confidence", "interruptible", "every exit"])
def test_outputs_that_are_not_numbers_are_an_error(how):
    rig = Rig()
    with torch.no_grad():
        rig.model.backbone.module[-1].bias.fill_(float("nan"))
    session, x = rig.session, images(1)[0]
    work = session._work(Interruptible(VALUES, session._plan(None, rows=1)), rig.device.now_s(), rows=1)
    calls = {
        "contract": lambda: session.predict(x),
        "confidence": lambda: session.predict(x, confidence=1.0),
        "every exit": lambda: session.every_exit(x[None]),
        "interruptible": lambda: work.run(x[None]),
    }
    with pytest.raises(RunError, match="exit 3 gave outputs that are not finite"):
        calls[how]()
    if how == "interruptible":
        assert work.best()[0].exit == 2  # what was finished stands


def test_the_slow_down_is_learned_from_the_device():
    rig = Rig()
    session = CudaSession(rig.session.manifest, units=rig.session._units, clock=rig.device.now_s)
    for graph in rig.simulation.graphs:
        graph.kernels_us = [3 * time for time in graph.kernels_us]
    statuses = [session.predict(images(1)[0], budget_ms=rig.predicted_ms(3) * 1.2).status for _ in range(40)]
    assert statuses[0] == "late"
    assert statuses[-1] == "refused"
    assert session.slow_down > 1.4


def test_what_is_observed_is_held_against_the_tables_own_tail():
    """The delay of a plan is what exceeds the table's quantile, so that quantile must come with every observation."""
    rig, seen = Rig(), []
    latency = rig.session._units.latencies[1]
    twice = {q: tuple(ms * (2 if q == 0.99 else 1) for ms in times) for q, times in latency.segments.items()}
    session = CudaSession(rig.session.manifest, units=rig.session._units, clock=rig.device.now_s)
    session._tables[1] = Table(dataclasses.replace(latency, segments=twice, slow_down=()), quantile=0.99)
    session._slow_down.observe = lambda ms, **times: seen.append(times)
    assert session.predict(images(1)[0], budget_ms=1000.0).exit == 3
    way = session._tables[1].way(done=0, to=3)
    assert way.late > 1.5 * way.median
    assert seen == [{"median_ms": pytest.approx(way.median), "late_ms": pytest.approx(way.late)}]


def test_half_precision_on_the_way_and_single_at_both_ends():
    model, other = small_model(), small_model()
    session = cuda_session(model, values=VALUES, device="cpu", dtype="bf16", max_seconds=0.0)
    xs = images(1)
    for found, wanted in zip(session.every_exit(xs), eager(other, xs), strict=True):
        assert found.dtype == np.float32
        assert 0 < np.abs(found - wanted).max() < 0.02
    assert next(model.parameters()).dtype == torch.bfloat16
    assert session.manifest.precision == "bf16"


def test_a_trained_folder(tmp_path):
    model = family_model("resnet", exits=((0, "linear"),), policy="contract")
    folder = weights_folder(model, tmp_path / "model")
    session = load_cuda_session(folder, device="cpu", classes=list("abcdefghij"), max_seconds=0.0)
    x = np.random.default_rng(0).standard_normal(model.backbone.input_size).astype(np.float32)
    answer = session.predict(x)
    np.testing.assert_array_equal(answer.outputs, eager(model, x[None])[1][0])
    assert answer.name == "abcdefghij"[answer.label]
    assert session.exits == ("0:linear", "final")
    assert session.manifest.values == (0.5, 0.6)
    assert session.prepare(np.zeros((40, 40, 3), dtype=np.uint8)).shape == model.backbone.input_size


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"batch_sizes": ()}, "batch_sizes are whole numbers from 1 to 65536"),
        ({"batch_sizes": (0,)}, "batch_sizes are whole numbers"),
        ({"values": [1.0]}, "values has a number for each of the 4 exits, found 1"),
        ({"classes": ["a"]}, "classes has a name for each of the 10 outputs, found 1"),
        ({"device": "meta"}, "device is cuda, cuda:N or cpu"),
        ({"device": "toaster"}, "device is cuda, cuda:N or cpu"),
    ],
)
def test_what_cannot_be_is_one_sentence(options, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        cuda_session(small_model(), **{"values": VALUES, "device": "cpu", **options})
    assert "\n" not in str(caught.value)


def test_a_model_in_training_mode_is_refused():
    with pytest.raises(InputError, match="model in eval mode"):
        cuda_session(small_model().train(), values=VALUES, device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_sentence_says_so():
    with pytest.raises(UnavailableError, match="there is no cuda here, found no CUDA device"):
        cuda_session(small_model(), values=VALUES)


def test_a_replanned_session_shares_the_graphs(rig):
    other = rig.session.replanned(quantile=0.5)
    assert isinstance(other, CudaSession)
    assert other._units is rig.session._units
    assert other.predict(images(1)[0]).exit == 3


def test_inputs_are_checked_as_everywhere(rig):
    with pytest.raises(RequestError, match=r"an input is an array \[1, 8, 8\]"):
        rig.session.predict(np.zeros((1, SIDE, SIDE + 1), dtype=np.float32))
