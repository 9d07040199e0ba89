"""What a bundle predicts, by hand and against budgets drawn one by one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle

from exitsearch.pipeline.bundle_prediction import BundlePrediction, budgets_of, fallback_value, full_ms
from exitsearch.runtime import load_bundle
from exitsearch.specs.budget import parse_budget
from exitsearch.specs.bundle import Bundle

VALUES = [0.5, 0.7, 0.9]
UNIFORM = parse_budget("uniform:0,4")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Segments of 1 ms (p99 1.2), two heads of 0.1, slow-downs of 1 and 1.2."""
    times = {"median": 1.0, "p90": 1.1, "p99": 1.2}
    head = {"median": 0.1, "p90": 0.1, "p99": 0.1}
    latency = {"unit": "ms", "batch_size": 1, "threads": 1, "segments": [times] * 3, "heads": [head] * 2}
    points = [
        {"budget_ms": 1.0, "thresholds": [0.5, None], "exit_rates": [1.0, 0.0, 0.0], "value": 0.6},
        {"budget_ms": 2.0, "thresholds": [0.9, None], "exit_rates": [0.25, 0.0, 0.75], "value": 0.8},
    ]
    path = write_tiny_bundle(
        tmp_path_factory.mktemp("predicted") / "tiny",
        latency={**latency, "slow_down": [1.0, 1.2]},
        values=VALUES,
        policy="confidence",
        confidence={"score": "softmax", "temperatures": [1.0, 1.0], "points": points},
        fallback=0.1,
    ).path
    return SimpleNamespace(path=path, bundle=Bundle.read(path / "bundle.json"), manifest=load_bundle(path).manifest)


def predict(made, policy, budgets, worths=None, extras=None):
    prediction = BundlePrediction(made.bundle, made.manifest, policy, 0.99)
    return prediction.predict(UNIFORM, budgets_ms=budgets, extras_ms=extras, worths=worths)


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_what_a_pause_costs_is_taken_from_the_budget(made, policy):
    """Budgets of 1.5 and 3 ms of which a pause takes 0.5 and 2 ms, one of 1 ms that is gone before anything runs."""
    paused = predict(made, policy, [1.5, 3.0, 1.0], extras=[0.5, 2.0, 3.0])
    assert paused.value == pytest.approx(predict(made, policy, [1.0, 1.0, 0.0]).value)
    without = predict(made, policy, [1.5, 3.0, 1.0])
    assert [use.median_ms for use in paused.exits] == pytest.approx([use.median_ms + 5.5 / 3 for use in without.exits])
    assert paused.distribution_value == without.distribution_value


def test_interruptible_by_hand(made):
    """Answers at 1.1, 2.2 and 3.2 ms, or 1.32, 2.64 and 3.84.

    Of the budgets 1.0, 1.2, 2.5 and 3.9 the first has no answer, the second one at half of the speeds, the third the
    second exit's at half of them, the last always the final one's.
    """
    found = predict(made, "interruptible", [1.0, 1.2, 2.5, 3.9])
    assert found.value == pytest.approx((0.1 + (0.5 + 0.1) / 2 + (0.7 + 0.5) / 2 + 0.9) / 4)
    assert found.no_answer == pytest.approx(1.5 / 4)
    assert [use.share for use in found.exits] == pytest.approx([1 / 4, 0.5 / 4, 1 / 4])
    assert [use.median_ms for use in found.exits] == pytest.approx([1.1, 2.2, 3.2])

    # Of the distribution itself: G at all six times.
    def reached(ms):
        return 1 - (ms + 1.2 * ms) / 2 / 4

    gains = 0.4 * reached(1.1) + 0.2 * reached(2.2) + 0.2 * reached(3.2)
    assert found.distribution_value == pytest.approx(0.1 + gains)


def test_the_exits_worth_on_samples_weighs_the_same_chances(made):
    found = predict(made, "interruptible", [1.0, 1.2, 2.5, 3.9], worths=np.array([0.4, 0.6, 0.8]))
    assert found.samples_value == pytest.approx(1.5 / 4 * 0.1 + 0.4 / 4 + 0.6 * 0.5 / 4 + 0.8 / 4)


def test_deadlines_are_as_they_are_planned(made):
    """At the 99th percentile, heads on the way left out: 1.3, 2.5 and 3.6 ms; what is told of times are medians."""
    found = predict(made, "contract", [1.29, 1.31, 2.51, 3.59, 3.61])
    assert [use.share for use in found.exits] == pytest.approx([0.2, 0.4, 0.2])
    assert found.no_answer == pytest.approx(0.2)
    assert found.value == pytest.approx(0.2 * 0.1 + 0.2 * 0.5 + 0.4 * 0.7 + 0.2 * 0.9)
    assert [use.median_ms for use in found.exits] == pytest.approx([1.1, 2.1, 3.0])


def test_operating_points_by_their_own_values(made):
    """A budget of 0.9: none; 1.1 and 1.99: the first; 9.0: the second. Slow-downs of 1.2 move nothing."""
    found = predict(made, "confidence", [0.9, 1.1, 1.99, 9.0])
    assert found.value == pytest.approx((0.1 + 0.6 + 0.6 + 0.8) / 4)
    assert found.no_answer == pytest.approx(1 / 4)
    assert [use.share for use in found.exits] == pytest.approx([(2 + 0.25) / 4, 0, 0.75 / 4])
    assert found.distribution_value == pytest.approx((0.1 + 0.6 + 2 * 0.8) / 4)
    assert found.samples_value is None


def test_a_session_takes_the_point_that_was_predicted(made):
    """As the runtime decides: refused where no point is paid for, whatever the table's slow-downs are."""
    session = load_bundle(made.path)
    x = np.zeros(made.bundle.input.size, dtype=np.float32)
    for budget_ms in (0.99, 1.0, 1.19, 1.21, 1.9):
        refused = session.predict(x, mean_budget_ms=budget_ms).status == "refused"
        assert predict(made, "confidence", [budget_ms]).no_answer == pytest.approx(float(refused))


def test_what_no_answer_is_worth(made):
    bundle = made.bundle
    assert fallback_value(bundle) == 0.1
    assert fallback_value(bundle.model_copy(update={"fallback": None})) == 0.0
    errors = {"model": bundle.model.model_copy(update={"task": "regression"}), "values": [-3.0, -2.0, -1.0]}
    assert fallback_value(bundle.model_copy(update={**errors, "fallback": 5.0})) == -5.0
    assert fallback_value(bundle.model_copy(update={**errors, "fallback": None})) == -6.0
    assert full_ms(bundle) == 3.0


def test_budgets_that_were_had_are_a_distribution():
    found = budgets_of([2.0, 1.0, 2.0, 4.0])
    assert found.survival([1.0, 1.5, 2.0, 3.0, 5.0]).tolist() == [1.0, 0.75, 0.75, 0.25, 0.0]
