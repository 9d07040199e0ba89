from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import made_answers
from toy_documents import toy_outcomes, toy_profile

from exitsearch.errors import InputError
from exitsearch.search.run import search
from exitsearch.search.thresholds.optimise import optimise
from exitsearch.search.thresholds.oracle import oracle_bound
from exitsearch.search.thresholds.replay import Replay
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile


@pytest.fixture
def outcomes(tmp_path: Path) -> Outcomes:
    return toy_outcomes(tmp_path / "outcomes")


@pytest.mark.parametrize("score", ["softmax", "entropy", "margin", "patience"])
def test_a_config_with_its_table(outcomes: Outcomes, score: str, tmp_path: Path) -> None:
    result = search(toy_profile(), outcomes, budget="uniform:0,20", policy="confidence", score=score, trials=12)  # type: ignore[arg-type]
    config = result.config
    assert MultiExitConfig.read(config.write(tmp_path / "chosen.json")) == config
    assert config.confidence is not None
    assert config.confidence.score == score
    points = config.confidence.points
    assert [p.budget_ms for p in points] == sorted(p.budget_ms for p in points)
    assert all(sum(point.exit_rates) == pytest.approx(1) for point in points)
    assert all(point.report_value is not None for point in points)
    # The value by its definition, from the written table alone: G(t) = 1 - t / 20.
    steps = np.diff([0.0, *(point.value for point in points)])
    assert result.value == pytest.approx(float(steps @ [1 - point.budget_ms / 20 for point in points]))
    assert sum(row.chance for row in result.rows) + result.no_answer == pytest.approx(1)
    assert result.value >= max(b.value for b in result.baselines) - 2e-4
    assert config.optimum.value >= result.value
    assert config.optimum.exact == (score == "patience")
    assert result.interval is not None
    assert result.interval[0] <= result.held_out <= result.interval[1]  # type: ignore[operator]


def test_held_out_value_by_hand(outcomes: Outcomes) -> None:
    """Every toy answer is equally sure, so an operating point is one exit for all: the contract staircase.

    Without latency noise both splits' values are the contract ones of test_run.py: 0.71 on the choice split; chances
    0.15 (a0), 0.1 (a1) and 0.6 (final) of 0.5, 0.6 and 0.8 on the report split = 0.615. With the others' heads off
    each exit answers as if alone, and b0 (0.7 at 4 ms) may stand beside a1 or not: 0.71 against 0.69.
    """
    result = search(toy_profile(), outcomes, budget="uniform:0,20", policy="confidence", trials=0)
    assert [(e.placement, e.head) for e in result.config.exits] == [(0, "a"), (1, "a")]
    assert result.value == pytest.approx(0.71)
    assert result.held_out == pytest.approx(0.615)
    assert [row.chance for row in result.rows] == pytest.approx([0.15, 0.1, 0.6])


def test_forced_exits_and_energy_together(outcomes: Outcomes) -> None:
    """1.5 mJ are left for heads: the forced exit alone fits.

    The best contract choice takes a at both placements, each within 9.5 mJ alone and 10 mJ together; greedy adding
    begins at placement 0, and then cannot afford the forced one.
    """
    document = toy_profile().model_dump()
    for part in (*document["segments"], *document["heads"], document["final"]):
        part["energy_mj"] = part["latency_ms"]
    profile = Profile.model_validate(document)
    options = {"budget": "uniform:0,20", "policy": "confidence", "trials": 0, "max_energy_mj": 9.5}
    found = search(profile, outcomes, force=["1"], **options)  # type: ignore[arg-type]
    assert [(e.placement, e.head) for e in found.config.exits] == [(1, "a")]
    with pytest.raises(InputError, match="no choice of exits keeps to all limits"):
        search(profile, outcomes, force=["0", "1"], **options)  # type: ignore[arg-type]


def test_limits_and_workers_results_hold(outcomes: Outcomes, tmp_path: Path) -> None:
    storage = str(tmp_path / "one.journal")
    options = {"budget": "uniform:0,20", "policy": "confidence", "max_exits": 1, "storage": storage, "trials": 6}
    first = search(toy_profile(), outcomes, **options)  # type: ignore[arg-type]
    again = search(toy_profile(), outcomes, **options)  # type: ignore[arg-type]
    assert len(first.choice) <= 1
    assert first.study is not None
    assert again.study is not None
    assert (again.study.name, again.study.trials) == (first.study.name, 6)
    other = search(toy_profile(), outcomes, **options, score="margin")  # type: ignore[arg-type]
    assert other.study is not None
    assert other.study.name != first.study.name


@pytest.mark.parametrize("seed", range(5))
def test_no_thresholds_pass_the_oracle(seed: int) -> None:
    problem, answers = made_answers(4, 300, seed=seed)
    problem = replace(problem, slowdown=(0.9, 1.2), fallback=0.1 * seed)
    bound = oracle_bound(problem, answers)
    for choice in ((0,), (1, 3), (0, 1, 2, 3)):
        assert optimise(Replay(problem, answers, choice)).value(problem) <= bound + 1e-12
    assert bound <= 1


def test_the_oracle_by_hand() -> None:
    """One exit at 6 ms, final at 10 ms, budgets uniform to 12: G(6) = 1/2, G(10) = 1/6.

    Of two samples the exit is right on the first, the final exit on both. The oracle: 0.5 from 6 ms; at 8 ms on
    average both. The bound counts the second half from 6 ms on: 0.5 / 2 + 0.5 / 2.
    """
    problem, answers = made_answers(1, 2, seed=0)
    right = np.array([[True, False], [True, True]])
    answers = type(answers)("softmax", answers.scores, right, answers.predicted, answers.temperatures)
    assert oracle_bound(problem, answers) == pytest.approx(0.5)
