from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from random_problems import problem_of, random_problem

from exitsearch.errors import InputError
from exitsearch.search.sensitivity import mean_budget, same_mean, sensitivity
from exitsearch.search.solver.exact import solve
from exitsearch.specs.budget import parse_budget


@pytest.mark.parametrize("mean", [0.37, 20.0, 512.0])
def test_six_families_of_one_mean(mean: float) -> None:
    families = same_mean(mean)
    assert len({text.partition(":")[0] for text in families}) == 6
    for text in families:
        assert mean_budget(parse_budget(text)) == pytest.approx(mean, rel=1e-3), text


def test_by_hand() -> None:
    """Exit at 2 ms (head 1 ms, 0.6), final 8 ms, 0.9, budgets uniform:0,10, mean 5.

    The exit: 0.6 * 0.7 + 0.3 * 0.1 = 0.45. Always 5 ms: 0.6. 2.5 or 7.5 ms: 0.6 / 2, answered at 3. Latency 10%
    longer: 3.3 and 9.9 ms, 0.6 * 0.67 + 0.3 * 0.01 = 0.405.
    """
    problem = problem_of([(0, 2.0, 1.0, 0.6)], final=(8.0, 0.9), budget="uniform:0,10")
    rows = {row.what: row for row in sensitivity(problem, (0,))}
    assert rows["as chosen for"].value == pytest.approx(0.45)
    assert rows["budgets point:5"].value == pytest.approx(0.6)
    assert rows["budgets discrete:2.5@0.5,7.5@0.5"].value == pytest.approx(0.3)
    assert rows["latency 10% longer"].value == pytest.approx(0.405)
    assert len(rows) == 8


def test_recorded_budgets_and_shares_get_rows(tmp_path: Path) -> None:
    """The problem above. Recorded 3, 5, 9 and 9 ms: the exit at 3 ms is always in time and the final exit (9 ms) twice:

    0.6 + 0.3 * 2/4 = 0.75. Always 50% of the full model's 8 ms: 0.6.
    """
    (tmp_path / "day.csv").write_text("host,budget\na,3\nb,5\nc,9\nd,9\n")
    problem = problem_of([(0, 2.0, 1.0, 0.6)], final=(8.0, 0.9), budget="uniform:0,10")
    further = [parse_budget(f"trace:{tmp_path / 'day.csv'}:budget"), parse_budget("point:50%")]
    rows = sensitivity(problem, (0,), further=further)
    assert len(rows) == 10
    assert rows[-2].what == f"budgets trace:{tmp_path / 'day.csv'}:budget"
    assert rows[-2].value == pytest.approx(0.75)
    assert (rows[-1].what, rows[-1].value) == ("budgets point:50%", pytest.approx(0.6))


def test_the_optimum_elsewhere_is_never_below_the_choice() -> None:
    for seed in range(20):
        problem = replace(random_problem(seed, policy="interruptible"), max_exits=2)
        rows = sensitivity(problem, solve(problem).choice)
        assert all(row.best >= row.value - 1e-12 for row in rows)
        assert rows[0].loss == pytest.approx(0, abs=1e-12)


def test_confidence_has_none() -> None:
    problem = replace(random_problem(1, policy="interruptible"), policy="confidence")
    with pytest.raises(InputError, match="exact optima"):
        sensitivity(problem, ())
