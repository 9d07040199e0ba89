"""Several objectives: their definitions by hand, and the front against all choices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_problems import all_choices, problem_of, random_problem
from test_limits import profile_with_energies
from toy_documents import toy_outcomes, toy_profile

from exitsearch.errors import InputError
from exitsearch.search import run
from exitsearch.search.front.aims import Aims, Objective
from exitsearch.search.front.find import Front, find_front
from exitsearch.search.problem import Choice, Problem
from exitsearch.search.run import search
from exitsearch.search.solver.exact import Solution, solve
from exitsearch.search.study.front import run_front_study
from exitsearch.specs.config import MultiExitConfig

PAIRS: list[tuple[Objective, ...]] = [("value", "params"), ("value", "energy"), ("value", "time")]
THREE: list[tuple[Objective, ...]] = [("value", "params", "energy"), ("value", "params", "time")]


def with_energies(seed: int, policy: str) -> Problem:
    problem = random_problem(seed, policy=policy)  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    candidates = [
        replace(c, takes={**c.takes, "arrival_mj": float(c.placement), "head_mj": rng.integers(1, 30) / 10})
        for c in problem.candidates
    ]
    return replace(problem, candidates=tuple(candidates), backbone={"energy": 5.0})


def amounts(aims: Aims, choice: Choice) -> tuple[float, ...]:
    return tuple(round(amount, 9) for amount in aims.amounts(choice).values())


def true_front(aims: Aims) -> set[tuple[float, ...]]:
    """Amounts of every choice that no other beats, by trying all."""
    points = {amounts(aims, choice) for choice in all_choices(aims.problem)}
    costs = [(-value, *others) for value, *others in points]
    return {
        (-mine[0], *mine[1:])
        for mine in costs
        if not any(other != mine and all(o <= m for o, m in zip(other, mine, strict=True)) for other in costs)
    }


def test_amounts_by_hand() -> None:
    """Budgets uniform:0,10; a (2 + 1 ms, 0.6), then 1 ms more at 5 ms (0.7), final 8 ms, 0.9.

    Both exits: answers at 3, 7 and 10 ms; the device works until the budget strikes, 5 ms on the average. Neither:
    mean of min(B, 8) = 0.8 * 4 + 0.2 * 8 = 4.8. Under contract both: a from 3, b from 6, final from 8 ms:
    0.3 * 3 + 0.2 * 6 + 0.2 * 8 = 3.7; a alone: 0.5 * 3 + 0.2 * 8 = 3.1.
    """
    problem = problem_of([(0, 2.0, 1.0, 0.6), (1, 5.0, 1.0, 0.7)], final=(8.0, 0.9), budget="uniform:0,10")
    aims = Aims(problem, ("value", "params", "time"))
    assert aims.amounts((0, 1)) == pytest.approx({"value": 0.6 * 0.7 + 0.1 * 0.3, "params": 200, "time": 5.0})
    assert aims.amounts(()) == pytest.approx({"value": 0.18, "params": 0, "time": 4.8}, abs=1e-6)
    known = Aims(replace(problem, policy="contract"), ("value", "time"))
    assert known.amounts((0, 1))["time"] == pytest.approx(3.7)
    assert known.amounts((0,))["time"] == pytest.approx(3.1)
    assert (aims.limitable, known.limitable) == (("params", "time"), ())


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
@pytest.mark.parametrize("names", PAIRS, ids=",".join)
def test_two_objectives_against_all_choices(names: tuple[Objective, ...], policy: str) -> None:
    """The solver's points are on the true front, and are all of it where that is said."""
    complete = 0
    for seed in range(40):
        aims = Aims(with_energies(seed, policy), names)
        front = find_front(aims, solve(aims.problem), trials=0)
        found = [amounts(aims, point.choice) for point in front.points]
        truth = true_front(aims)
        assert set(found) <= truth, seed
        assert len(set(found)) == len(found)
        assert all(point.proved for point in front.points)
        assert found == sorted(found, reverse=True)
        if front.complete:
            assert set(found) == truth, seed
        complete += front.complete
    assert complete == (0 if names[1] == "time" and policy == "contract" else 40)


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
@pytest.mark.parametrize("names", THREE, ids=",".join)
def test_three_objectives_against_all_choices(names: tuple[Objective, ...], policy: str) -> None:
    """Proved means that no choice that costs no more is worth more. Together with Optuna most points are found."""
    shares = []
    for seed in (1, 4, 7, 10):
        aims = Aims(with_energies(seed, policy), names)
        front = find_front(aims, solve(aims.problem), trials=60, seed=seed)
        assert not front.complete
        choices = list(all_choices(aims.problem))
        for point in front.points:
            assert aims.problem.allows(point.choice)
            mine = aims.amounts(point.choice)
            cheaper = [
                other for other in map(aims.amounts, choices) if all(other[n] <= mine[n] + 1e-9 for n in names[1:])
            ]
            if point.proved:
                assert max(other["value"] for other in cheaper) <= mine["value"] + 1e-9
        truth = true_front(aims)
        shares.append(len({amounts(aims, point.choice) for point in front.points} & truth) / len(truth))
    assert np.mean(shares) > 0.6


def test_limits_hold_on_the_front() -> None:
    problem = replace(with_energies(7, "interruptible"), limits={"params": 4}, max_exits=2, forced=(1,))
    aims = Aims(problem, ("value", "energy"))
    front = find_front(aims, solve(problem), trials=30)
    assert len(front.points) > 1
    assert all(problem.allows(point.choice) for point in front.points)
    assert {amounts(aims, point.choice) for point in front.points} == true_front(aims)


def test_a_stored_study_goes_on_where_it_stopped(tmp_path: Path) -> None:
    aims = Aims(with_energies(10, "interruptible"), ("value", "params"))
    storage, first = str(tmp_path / "one.journal"), [solve(aims.problem).choice, ()]
    calls: list[tuple[int, float]] = []
    half = run_front_study(aims, trials=40, storage=storage, first=first, on_trial=lambda *call: calls.append(call))
    whole = run_front_study(aims, trials=70, storage=storage, first=first, on_trial=lambda *call: calls.append(call))
    assert (half.trials, whole.trials, half.name) == (40, 70, whole.name)
    assert half.choices[:2] == first
    assert set(half.choices) < set(whole.choices)
    assert [number for number, _ in calls] == list(range(1, 71))
    assert calls[-1][1] == solve(aims.problem).value
    other = run_front_study(Aims(aims.problem, ("value", "time")), trials=1, storage=storage)
    assert other.name != whole.name


def test_an_interrupt_ends_with_what_there_is() -> None:
    def stop(number: int, value: float) -> None:
        if number == 5:
            raise KeyboardInterrupt

    aims = Aims(with_energies(10, "contract"), ("value", "energy"))
    result = run_front_study(aims, trials=50, on_trial=stop)
    assert (result.interrupted, result.trials) == (True, 5)


def test_the_search_writes_every_point(tmp_path: Path) -> None:
    """Values by hand in test_run.py: both heads a 0.69 with 20 parameters, the first alone 0.675 with 10, none 0.54."""
    outcomes = toy_outcomes(tmp_path / "outcomes")
    result = search(toy_profile(), outcomes, budget="uniform:0,20", objectives=["params", "value"], trials=12)
    assert result.front is not None
    assert result.front.names == ("value", "params")
    assert [tuple(row.amounts.values()) for row in result.front.rows] == [
        (pytest.approx(0.69), 20),
        (pytest.approx(0.675), 10),
        (pytest.approx(0.54), 0),
    ]
    assert result.front.complete
    assert result.study is None
    assert result.front.study is not None
    assert result.front.study.trials == 12
    first = result.front.rows[0]
    assert [exit_.placement for exit_ in first.config.exits] == [exit_.placement for exit_ in result.config.exits]
    assert first.held_out == result.held_out
    path = first.config.write(tmp_path / "point.json")
    assert MultiExitConfig.read(path).optimum.exact
    # Every point is the best of those that cost no more; the regret is against the best of all.
    optima = [row.config.optimum for row in result.front.rows]
    assert [optimum.value for optimum in optima] == pytest.approx([0.69] * 3)
    assert [optimum.regret for optimum in optima] == pytest.approx([0, 0.015, 0.15])
    assert all(optimum.exact and optimum.proved_on_front for optimum in optima)
    assert result.config.optimum.proved_on_front is None


def test_the_choice_is_the_first_point_where_the_solver_had_to_give_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The solver comes with the backbone alone (0.54) and no proof; the sweep and Optuna find 0.69."""
    outcomes = toy_outcomes(tmp_path / "outcomes")
    gave_up = Solution(choice=(), value=0.54, exact=False, bound=0.7, by_count=())
    monkeypatch.setattr(run, "solve", lambda *_args, **_options: gave_up)
    result = search(toy_profile(), outcomes, budget="uniform:0,20", objectives=["value", "params"], trials=12)
    assert result.front is not None
    assert result.front.rows[0].amounts["value"] == pytest.approx(0.69)
    assert result.value == pytest.approx(0.69)
    assert result.config.exits == result.front.rows[0].config.exits
    assert (result.config.optimum.exact, result.regret) == (False, pytest.approx(0.01))


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        (["value"], "value and one or two of params, energy and time"),
        (["params", "energy"], "value and one or two"),
        (["value", "value"], "each once"),
        (["value", "params", "energy", "time"], "value and one or two"),
        (["value", "colour"], "unknown objective 'colour'"),
        (["value", "energy"], "exitsearch profile --energy"),
    ],
)
def test_wrong_objectives(tmp_path: Path, objectives: list[str], message: str) -> None:
    outcomes = toy_outcomes(tmp_path / "outcomes")
    with pytest.raises(InputError, match=message):
        search(toy_profile(), outcomes, budget="uniform:0,20", objectives=objectives, trials=0)


def test_energy_is_an_objective_where_it_was_measured(tmp_path: Path) -> None:
    outcomes = toy_outcomes(tmp_path / "outcomes")
    options = {"budget": "uniform:0,20", "objectives": ["value", "energy"], "trials": 0}
    result = search(profile_with_energies(), outcomes, **options)  # type: ignore[arg-type]
    assert result.front is not None
    assert [row.amounts["energy"] for row in result.front.rows] == [125.0, 85.0, 80.0]
    with pytest.raises(InputError, match="policy confidence does not have"):
        search(profile_with_energies(), outcomes, policy="confidence", **options)  # type: ignore[arg-type]


def test_a_front_without_a_proof_says_so() -> None:
    """Too few labels for a proof of the first point: then nothing is said to be complete."""
    problem = with_energies(10, "interruptible")
    unproved = replace(solve(problem), exact=False)
    front: Front = find_front(Aims(problem, ("value", "params")), unproved, trials=0)
    assert not front.complete
