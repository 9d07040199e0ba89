from __future__ import annotations

import numpy as np
import pytest
from random_problems import all_choices, problem_of, random_problem
from tied_problems import tied_problem

from exitsearch.search.solver import bounds as estimates
from exitsearch.search.solver.exact import solve
from exitsearch.search.solver.interruptible import InterruptibleSolver
from exitsearch.search.solver.labels import Labels
from exitsearch.search.value import expected_value


def solver_of(problem: object) -> InterruptibleSolver:
    return InterruptibleSolver(problem, tolerance=1e-13, most_labels=1000)  # type: ignore[arg-type]


@pytest.mark.parametrize("knots", [2, 3])
def test_between_two_values_of_the_grid_estimates_are_never_too_low(
    knots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a grid of two or three values nearly every label stands between them, and the optimum is still found."""
    monkeypatch.setattr(estimates, "_FEWEST_KNOTS", knots)
    monkeypatch.setattr(estimates, "_MOST_KNOTS", knots)
    between = 0
    for seed in range(3000, 3120):
        pose = tied_problem if seed % 2 else random_problem
        problem = pose(seed, policy="interruptible")
        scored = [(expected_value(problem, choice), choice) for choice in all_choices(problem)]
        if not scored:
            continue
        solution = solve(problem)
        assert solution.value == pytest.approx(max(value for value, _ in scored), abs=1e-12), seed
        for count, value in solution.by_count:
            limited = max(value for value, choice in scored if len(choice) <= count)
            assert value == pytest.approx(limited, abs=1e-12), (seed, count)
        between += len(solver_of(problem).values) > knots
    assert between > 40


def test_the_chord_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """One exit (2 ms, head 0 ms, 0.8), final (20 ms, 0), budgets uniform:0,10: G(2) = 0.8.

    From a best value of 0 the exit adds 0.8 * 0.8 = 0.64, from 0.8 nothing; from 0.2, a value that only the exit at
    placement 0 (too late at 1 + 30 ms) has, 0.6 * 0.8 = 0.48, which lies on the chord: 0.64 - 0.25 * 0.64.
    """
    exits = [(0, 1.0, 30.0, 0.2), (1, 2.0, 0.0, 0.8)]
    monkeypatch.setattr(estimates, "_FEWEST_KNOTS", 2)
    monkeypatch.setattr(estimates, "_MOST_KNOTS", 2)
    solver = solver_of(problem_of(exits, final=(20.0, 0.0), budget="uniform:0,10"))
    table = solver._estimates(None)
    assert table.knots.tolist() == [0, 2]
    labels = Labels.start(0.0).take(np.zeros(3, dtype=np.int64))
    labels.level = np.array([0, 1, 2])
    assert table.gain(labels, 1, np.zeros(3, dtype=np.int64)) == pytest.approx([0.64, 0.48, 0.0], abs=2e-5)


def test_layers_tell_how_many_exits_are_left() -> None:
    """Exits a (1 ms, 0.4) and b (2 ms, 0.8), heads 0 ms, final (20 ms, 0), budgets uniform:0,10: G is 0.9 and 0.8.

    Both add 0.4 * 0.9 + 0.4 * 0.8 = 0.68, b alone 0.64, none 0.
    """
    exits = [(0, 1.0, 0.0, 0.4), (1, 2.0, 0.0, 0.8)]
    solver = solver_of(problem_of(exits, final=(20.0, 0.0), budget="uniform:0,10"))
    table = solver._estimates(2)
    found = [float(table.gain(Labels.start(0.0), 0, np.array([layer]))[0]) for layer in range(3)]
    assert found == pytest.approx([0.0, 0.64, 0.68], abs=2e-5)
    # What is known for one limit is not beaten by a hope that needs more exits.
    promising = [bool(table.promising(Labels.start(0.0), 0, np.array(floor))[0]) for floor in
                 ([0.1, 0.7, 0.7], [0.1, 0.6, 0.7], [0.1, 0.7, 0.6])]  # fmt: skip
    assert promising == [False, True, True]
