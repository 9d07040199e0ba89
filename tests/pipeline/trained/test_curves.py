"""Accuracy over budget: by hand, and what must hold of every table."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from random_tables import random_outcomes, random_profile
from safetensors.numpy import save_file

from exitsearch.errors import InputError
from exitsearch.pipeline.trained.after import after_training
from exitsearch.pipeline.trained.curves import StaticResult, Times, known_times, over_budget
from exitsearch.report.terminal.after import over_budget_rows, write_over_budget
from exitsearch.search.run import search_request
from exitsearch.specs.document import write_json
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.request import POLICIES, SearchRequest

BACKBONE = {"name": "toy", "input_size": [1, 8, 8], "num_outputs": 2}
# Which of ten samples each exit answers rightly: on the choice split, and on the report split.
RIGHT = {
    (0, "a"): (range(6), range(5)),
    (1, "a"): (range(8), range(3, 9)),
    None: (range(9), [0, 1, 5, 6, 7, 8, 9]),
}


def toy_profile():
    """Placements at 2 and 5 ms, heads of 1 ms, final at 8 ms: answers at 3, 7 and 10 ms, alone at 3, 6 and 8 ms."""
    return Profile.model_validate(
        {
            "schema_version": 1,
            "backbone": BACKBONE,
            "segments": [{"placement": k, "latency_ms": ms} for k, ms in enumerate((2.0, 3.0))],
            "heads": [{"placement": k, "head": "a", "latency_ms": 1.0} for k in range(2)],
            "final": {"latency_ms": 3.0},
            "verdict": {"status": "ok"},
        }
    )


def toy_outcomes(folder):
    """Sure where right, and less sure where not: so thresholds can tell."""
    folder.mkdir(parents=True)
    scores = {}
    for number, split in enumerate(("choice", "report")):
        labels = np.arange(10) % 2
        tensors = {"labels": labels}
        for key, sets in RIGHT.items():
            right = np.isin(np.arange(10), list(sets[number]))
            answers = np.where(right, labels, 1 - labels)
            name = "final" if key is None else f"{key[0]}/{key[1]}"
            tensors[name] = (np.eye(2)[answers] * np.where(right, 4.0, 1.0)[:, None]).astype(np.float32)
            scores.setdefault(key, {})[split] = float(right.mean())
        save_file(tensors, folder / f"{split}.safetensors")
    document = {
        "schema_version": 1,
        "backbone": BACKBONE,
        "metric": "accuracy",
        "fallback": 0.0,
        "splits": {"choice": 10, "report": 10},
        "heads": [{"placement": p, "head": h, "scores": scores[p, h]} for p, h in list(RIGHT)[:2]],
        "final": {"scores": scores[None]},
    }
    write_json(folder / "outcomes.json", document)
    return Outcomes.load(folder)


def after_of(folder, **asked):
    """Both exits forced in, budgets uniform from 0 to 10: G(t) = 1 - t / 10."""
    outcomes = toy_outcomes(folder / "outcomes")
    asked = {"budget": "uniform:0,10", "force": ["0", "1"], **asked}
    config = search_request(toy_profile(), outcomes, SearchRequest.asked(**asked), trials=0).config
    return after_training(config, folder, profile=toy_profile())


SMALL = StaticResult("small", "random:0", 1000, 5, (1, 8, 8), {"choice": 0.6, "report": 0.7}, 5.0, (4.9, 5.1))


def by_name(found):
    return {curve.name: curve for curve in found.curves}


def test_interruptible_by_hand(tmp_path):
    """Report scores 0.5, 0.6 and 0.7 at 3, 7 and 10 ms, in hand with chances 0.4, 0.3 and 0: 0.5 * 0.4 + 0.6 * 0.3.

    The backbone alone: 0.7 from 8 ms, 0.7 * 0.2. The static model: 0.7 from 5 ms, 0.7 * 0.5. The oracle: right are 5
    samples at 3 ms, samples 0 to 8 at 7 ms, all at 10 ms: 0.5 * 0.7 + 0.4 * 0.3 + 0.1 * 0.
    """
    curves = by_name(over_budget(after_of(tmp_path), statics=[SMALL]))
    assert curves["multi-exit model"].points == ((3.0, 0.5), (7.0, 0.6), (10.0, 0.7))
    assert curves["multi-exit model"].expected == pytest.approx(0.38)
    assert curves["backbone alone"].points == ((8.0, 0.7),)
    assert curves["backbone alone"].expected == pytest.approx(0.14)
    assert curves["small"].points == ((5.0, 0.7),)
    assert curves["small"].expected == pytest.approx(0.35)
    oracle = curves["oracle exit (a bound)"]
    assert oracle.points == ((3.0, 0.5), (7.0, 0.9), (10.0, 1.0))
    assert oracle.expected == pytest.approx(0.47)


def test_the_table_of_the_chart_by_hand(tmp_path):
    """Every series begins with no answer, worth 0, and holds what is worked out above."""
    found = over_budget(after_of(tmp_path), statics=[SMALL])
    written = write_over_budget(found, tmp_path / "out")
    assert [path.name for path in written] == [f"accuracy_over_budget.{end}" for end in ("png", "svg", "csv")]
    with written[2].open() as file:
        rows = list(csv.reader(file))
    oracle = "oracle exit (a bound)"
    assert rows == [
        ["series", "kind", "budget_ms", "score", "between"],
        ["multi-exit model", "multi-exit", "0.0", "0.0", "step"],
        ["multi-exit model", "multi-exit", "3.0", "0.5", "step"],
        ["multi-exit model", "multi-exit", "7.0", "0.6", "step"],
        ["multi-exit model", "multi-exit", "10.0", "0.7", "step"],
        ["backbone alone", "backbone", "0.0", "0.0", "step"],
        ["backbone alone", "backbone", "8.0", "0.7", "step"],
        ["small", "static", "0.0", "0.0", "step"],
        ["small", "static", "5.0", "0.7", "step"],
        [oracle, "oracle", "0.0", "0.0", "step"],
        [oracle, "oracle", "3.0", "0.5", "step"],
        [oracle, "oracle", "7.0", "0.9", "step"],
        [oracle, "oracle", "10.0", "1.0", "step"],
    ]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    assert "<svg" in written[1].read_text()
    again = write_over_budget(found, tmp_path / "again")
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(written, again, strict=True)] == [True] * 3
    # The best first, and the bound last, since it is no method.
    assert [row["what"] for row in over_budget_rows(found)] == ["multi-exit model", "small", "backbone alone", oracle]


def test_contract_by_hand(tmp_path):
    """One head runs: 0.5 from 3 ms, 0.6 from 6, 0.7 from 8: 0.5 * 0.3 + 0.6 * 0.2 + 0.7 * 0.2."""
    curves = by_name(over_budget(after_of(tmp_path, policy="contract")))
    assert curves["multi-exit model"].points == ((3.0, 0.5), (6.0, 0.6), (8.0, 0.7))
    assert curves["multi-exit model"].expected == pytest.approx(0.41)
    # 0.5 * 0.7 + 0.4 * 0.4 + 0.1 * 0.2
    assert curves["oracle exit (a bound)"].expected == pytest.approx(0.53)


def test_times_of_another_run_move_the_curves(tmp_path):
    """Answers at 4, 6 and 9 ms in the run; half of the passes take twice as long: G(4) = (0.6 + 0.2) / 2 and so on."""
    times = Times((4.0, 6.0, 9.0), (4.0, 5.0, 7.0), (1.0, 2.0), "a run")
    curves = by_name(over_budget(after_of(tmp_path), times=times))
    model = curves["multi-exit model"]
    assert [ms for ms, _ in model.points] == [4.0, 6.0, 9.0]
    reached = [(0.6 + 0.2) / 2, (0.4 + 0.0) / 2, (0.1 + 0.0) / 2]
    assert model.expected == pytest.approx(0.5 * reached[0] + 0.1 * reached[1] + 0.1 * reached[2])
    assert curves["backbone alone"].points == ((7.0, 0.7),)
    # 4, 6 - 5 = 1 and 9 - 7 = 2 of waiting: heads of 1 and 1 ms.
    assert times.head_ms == (1.0, 1.0)


def test_confidence_draws_its_operating_points(tmp_path):
    """All is read on the report split; the oracle of mean latency is a line between its points."""
    after = after_of(tmp_path, policy="confidence")
    found = over_budget(after)
    model, oracle = by_name(found)["multi-exit model"], by_name(found)["oracle exit (a bound)"]
    written = after.own.config.confidence.points
    assert [ms for ms, _ in model.points] == pytest.approx([point.budget_ms for point in written])
    assert [score for _, score in model.points] == pytest.approx([point.report_value for point in written])
    assert model.expected == pytest.approx(after.own.held_out)
    # 5 samples are right at 3 ms, 4 more at 6 ms, the last at 8 ms: mean latencies 3, 3 + 0.4 * 3, and 0.1 * 5 more.
    assert oracle.between == "line"
    assert np.array(oracle.points) == pytest.approx(np.array([[3.0, 0.5], [4.2, 0.9], [4.7, 1.0]]))
    assert oracle.at(3.6) == pytest.approx(0.7)
    for exit_, ms in zip(after.exits, (3.0, 6.0, 8.0), strict=True):
        assert oracle.at(ms) >= exit_.trained["report"]
    assert all(oracle.at(ms) >= score for ms, score in model.points)
    assert oracle.expected >= model.expected


CASES = [(seed, metric, policy) for seed in range(3) for metric in ("accuracy", "mae") for policy in POLICIES[:2]]


@pytest.mark.parametrize(("seed", "metric", "policy"), CASES)
def test_the_oracle_is_never_below_any_exit(tmp_path, seed, metric, policy):
    rng = np.random.default_rng(seed)
    profile = random_profile(rng)
    outcomes = random_outcomes(rng, profile, tmp_path / "outcomes", metric=metric)
    asked = SearchRequest.asked(budget="uniform:10%,120%", policy=policy, max_exits=2, force=["0:a", "1:b"])
    config = search_request(profile, outcomes, asked, trials=0).config
    after = after_training(config, tmp_path, profile=profile)
    found = over_budget(after)
    oracle, times = by_name(found)["oracle exit (a bound)"], known_times(after)
    sign = 1 if metric == "accuracy" else -1
    ready = times.answers_ms if policy == "interruptible" else times.alone_ms
    for exit_, ms in zip(after.exits, ready, strict=True):
        assert sign * oracle.at(ms) >= sign * exit_.trained["report"] - 1e-9
    for curve in found.curves:
        if curve.kind in ("multi-exit", "backbone"):
            assert sign * oracle.expected >= sign * curve.expected - 1e-9
            assert all(sign * oracle.at(ms) >= sign * score - 1e-9 for ms, score in curve.points)
    # The multi-exit curve is what the search says of these exits.
    model = next(curve for curve in found.curves if curve.kind == "multi-exit")
    assert sign * model.expected == pytest.approx(after.value.held_out, abs=1e-9)


def test_outcomes_of_scores_alone_have_no_chart(tmp_path):
    after = after_of(tmp_path)
    for split in ("choice", "report"):
        (tmp_path / "outcomes" / f"{split}.safetensors").unlink()
    after.outcomes._folder = None
    with pytest.raises(InputError, match="hold scores alone"):
        over_budget(after)


def test_nothing_that_answers_in_time_is_drawn_all_the_same(tmp_path):
    """No exit is better than no answer: an empty curve, in the table, the chart and the CSV."""
    after = after_of(tmp_path)
    never = after.config.model_copy(update={"fallback": 0.95})
    found = over_budget(type(after)(**{**vars(after), "config": never}))
    assert by_name(found)["multi-exit model"].points == ()
    assert over_budget_rows(found)[0]["answers at ms"]
    assert write_over_budget(found, tmp_path / "out")[2].exists()
