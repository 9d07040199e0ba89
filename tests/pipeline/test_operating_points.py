"""Operating points of a bundle, by hand."""

from __future__ import annotations

from types import SimpleNamespace

import export_models
import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_bundle import write_tiny_bundle

from exitsearch.deploy import export as deploying
from exitsearch.pipeline.export import export
from exitsearch.pipeline.operating_points import deployed_points
from exitsearch.specs.bundle import Bundle
from exitsearch.specs.config import Confidence
from exitsearch.specs.document import write_json
from exitsearch.specs.load import load_outcomes

SAMPLES, CLASSES = 40, 4


def point(budget_ms, thresholds, rates, value, report_ms=None):
    return {
        "budget_ms": budget_ms,
        "thresholds": thresholds,
        "exit_rates": rates,
        "value": value,
        "report_ms": report_ms,
    }


def bundle_of(tmp_path, points, **confidence):
    """Segments of 1, 2 and 4 ms, heads of 0.5 and 0.25 ms: answers at 1.5, 3.75 and 7.75 with both heads."""
    segments = [{"median": ms, "p90": ms, "p99": ms} for ms in (1.0, 2.0, 4.0)]
    heads = [{"median": ms, "p90": ms, "p99": ms} for ms in (0.5, 0.25)]
    latency = {"unit": "ms", "batch_size": 1, "threads": 1, "segments": segments, "heads": heads, "slow_down": [1.0]}
    table = {"score": "softmax", "temperatures": [1.0, 1.0], "points": points, "quantile": None, **confidence}
    path = write_tiny_bundle(
        tmp_path / "tiny", latency=latency, policy="confidence", confidence=table, budget="uniform:0,10"
    ).path
    return Bundle.read(path / "bundle.json")


def costs(found):
    return [round(point.budget_ms, 9) for point in found.points]


def test_costs_are_those_of_the_bundles_own_times(tmp_path):
    """Half at 1.5 and half at 7.75; with the first head off a quarter at 3.25 and the rest at 7.25."""
    points = [
        point(40.0, [0.9, 0.9], [0.5, 0.0, 0.5], 0.6, report_ms=41.0),
        point(50.0, [None, 0.9], [0.0, 0.25, 0.75], 0.8),
    ]
    found = deployed_points(bundle_of(tmp_path, points), None)
    assert costs(found) == [(1.5 + 7.75) / 2, 0.25 * 3.25 + 0.75 * 7.25]
    assert [p.thresholds for p in found.points] == [[0.9, 0.9], [None, 0.9]]
    assert [p.value for p in found.points] == [0.6, 0.8]
    assert found.points[0].report_ms is None  # was of the other times


def test_points_that_are_dearer_and_no_better_now_are_left_out(tmp_path):
    """The second was the dearer one and is the cheaper one here, at a higher value."""
    points = [
        point(1.0, [0.9, 0.9], [0.0, 0.0, 1.0], 0.6),
        point(2.0, [0.9, 0.9], [1.0, 0.0, 0.0], 0.7),
        point(3.0, [None, None], [0.0, 0.0, 1.0], 0.9),
    ]
    found = deployed_points(bundle_of(tmp_path, points), None)
    assert costs(found) == [1.5, 7.0]
    assert [p.value for p in found.points] == [0.7, 0.9]


def test_a_head_is_run_under_patience_though_nothing_leaves(tmp_path):
    found = deployed_points(
        bundle_of(tmp_path, [point(1.0, [None, 2.0], [0.0, 0.0, 1.0], 0.6)], score="patience"), None
    )
    assert costs(found) == [7.75]


def test_a_quantile_over_samples_is_one_of_the_times(tmp_path):
    points = [point(1.0, [0.9, 0.9], [0.5, 0.4, 0.1], 0.6)]
    assert costs(deployed_points(bundle_of(tmp_path, points, quantile=0.9), None)) == [3.75]
    assert costs(deployed_points(bundle_of(tmp_path, points, quantile=0.95), None)) == [7.75]


@pytest.fixture
def trained(tmp_path):
    """Outcomes of the trained exits: the first is sure where it is right, on half of the samples."""
    scores = {}
    for split in ("choice", "report"):
        labels = np.arange(SAMPLES) % CLASSES
        right = {"0/linear": np.arange(SAMPLES) % 2 == 0, "2/linear": np.arange(SAMPLES) % 4 != 1}
        tensors = {"labels": labels, "final": np.eye(CLASSES)[labels].astype(np.float32) * 9}
        for name, is_right in right.items():
            answers = np.eye(CLASSES)[np.where(is_right, labels, (labels + 1) % CLASSES)]
            sure = np.where(is_right, 6.0, 1.0) + np.linspace(0, 0.1, SAMPLES)
            tensors[name] = (sure[:, None] * answers).astype(np.float32)
            scores.setdefault(name, {})[split] = float(is_right.mean())
        scores.setdefault("final", {})[split] = 1.0
        (tmp_path / "outcomes").mkdir(exist_ok=True)
        save_file(tensors, tmp_path / "outcomes" / f"{split}.safetensors")
    heads = [{"placement": int(n[0]), "head": n[2:], "scores": scores[n]} for n in ("0/linear", "2/linear")]
    document = {
        "schema_version": 1,
        "backbone": {"name": "tiny", "input_size": [3, 8, 8], "num_outputs": CLASSES},
        "metric": "accuracy",
        "fallback": 0.0,
        "source": "made up",
        "splits": {"choice": SAMPLES, "report": SAMPLES},
        "heads": heads,
        "final": {"scores": scores["final"]},
    }
    write_json(tmp_path / "outcomes" / "outcomes.json", document)
    return load_outcomes(tmp_path / "outcomes")


def test_thresholds_are_those_of_the_trained_exits(tmp_path, trained):
    """The search's points say nothing of them: everything would leave at the first exit, at a value of 0.5.

    Half of the samples leave at the first exit and are right; a quarter more is right at the second one, and sure:
    all are right at 1.5 / 2 + 3.75 / 4 + 7.75 / 4 ms.
    """
    bundle = bundle_of(tmp_path, [point(1.5, [0.0, 0.0], [1.0, 0.0, 0.0], 0.5)])
    found = deployed_points(bundle, trained)
    assert isinstance(found, Confidence)
    best = found.points[-1]
    assert best.value == 1.0
    assert best.budget_ms == pytest.approx(1.5 / 2 + 3.75 / 4 + 7.75 / 4)
    assert best.exit_rates == [0.5, 0.25, 0.25]
    assert best.report_value == 1.0
    assert best.report_ms == pytest.approx(best.budget_ms)
    assert found.points[0].budget_ms == pytest.approx(1.5)
    assert len(found.temperatures) == len(best.thresholds) == 2
    assert costs(found) == sorted(costs(found))


def test_outcomes_of_other_exits_only_leave_the_costs(tmp_path, trained):
    class Others:
        choice_split = "choice"

        def samples(self, split):
            return SimpleNamespace(outputs={(5, "linear"): None})

    points = [point(40.0, [0.9, 0.9], [0.5, 0.0, 0.5], 0.6)]
    assert costs(deployed_points(bundle_of(tmp_path, points), Others())) == [(1.5 + 7.75) / 2]


def test_an_exported_bundle_has_costs_of_its_own(tmp_path, monkeypatch):
    """The configuration says 1 ms, with half of the inputs leaving at the exit."""
    monkeypatch.setattr(deploying, "graph_of", export_models.remembered_graph)
    model = export_models.family_model("vit", policy="confidence")
    weights = export_models.weights_folder(model, tmp_path / "trained")
    bundle = export(weights=weights, out=tmp_path / "bundle", max_seconds=0.2).bundle
    (found,) = bundle.confidence.points
    first, last = (segment.median for segment in bundle.latency.segments)
    head = bundle.latency.heads[0].median
    assert found.budget_ms == pytest.approx((first + head + first + head + last) / 2)
    assert found.thresholds == [0.5]
