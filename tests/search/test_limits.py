from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_problems import all_choices, brute_force, given, problem_of, random_problem
from toy_documents import toy_outcomes, toy_profile

from exitsearch.errors import InputError
from exitsearch.search.build import forced
from exitsearch.search.problem import Problem
from exitsearch.search.run import search
from exitsearch.search.solver import interruptible
from exitsearch.search.solver.exact import solve
from exitsearch.search.study import run_study
from exitsearch.specs.memory import PathMemory
from exitsearch.specs.profile import Profile

EXITS = [(0, 2.0, 1.0, 0.6), (0, 2.0, 3.0, 0.7), (1, 5.0, 1.0, 0.5)]


def limited(seed: int, policy: str) -> Problem:
    """A random problem with some of the limits: parameters, bytes (not in step), minimum values, forced exits."""
    problem = random_problem(seed, policy=policy)  # type: ignore[arg-type]
    rng = np.random.default_rng(10_000 + seed)
    # Energies in tenths: sums of them tie with the limit, where rounding must not matter.
    candidates = tuple(
        replace(
            c,
            takes={
                **c.takes,
                "memory_bytes": int(rng.integers(1, 5)),
                "arrival_mj": 0.7 * c.placement,
                "head_mj": rng.integers(1, 9) / 10,
            },
        )
        for c in problem.candidates
    )
    places = [place for place in problem.by_placement if rng.random() < 0.3]
    min_values = tuple((float(rng.uniform(3, 14)), float(rng.uniform(-0.5, 0.6))) for _ in range(rng.integers(0, 3)))
    use = rng.random(5) < 0.5
    final_mj = 0.7 * 5
    return replace(
        problem,
        candidates=candidates,
        limits=given(
            params=int(rng.integers(2, 9)) if use[0] else None,
            memory=int(rng.integers(2, 12)) if use[1] else None,
            energy=final_mj + int(rng.integers(0, 15)) / 10 if use[4] else None,
        ),
        backbone={"energy": final_mj},
        min_values=min_values if use[2] else (),
        forced=tuple(places) if use[3] else (),
    )


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
@pytest.mark.parametrize("block", range(5))
def test_equals_brute_force_under_limits(policy: str, block: int) -> None:
    """500 problems for each policy, every mixture of limits; also that nothing is allowed where nothing is."""
    impossible = 0
    for seed in range(100 * block, 100 * block + 100):
        problem = limited(seed, policy)
        if not any(True for _ in all_choices(problem)):
            with pytest.raises(InputError, match="no choice of exits keeps to all limits"):
                solve(problem)
            impossible += 1
            continue
        value, exits, params = brute_force(problem)
        solution = solve(problem, by_count=seed % 5 == 0)
        assert solution.exact
        assert problem.allows(solution.choice)
        assert solution.value == pytest.approx(value, abs=1e-12), seed
        assert (len(solution.choice), problem.params(solution.choice)) == (exits, params), seed
        for count, best in solution.by_count:
            assert best == pytest.approx(brute_force(replace(problem, max_exits=count))[0], abs=1e-12), (seed, count)
    assert 0 < impossible < 60


def test_prices_do_not_change_the_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prices of what is limited, which large problems need, forced upon small ones; with limits on the time too."""
    monkeypatch.setattr(interruptible, "_MANY", 0)
    priced = 0
    for seed in range(1000, 1060):
        problem = limited(seed, "interruptible")
        if seed % 2:
            problem = replace(problem, limits={**problem.limits, "time": 2.5}, forced=())
        if not any(True for _ in all_choices(problem)):
            continue
        value, exits, params = brute_force(problem)
        solution = solve(problem)
        assert solution.value == pytest.approx(value, abs=1e-12), seed
        assert (len(solution.choice), problem.params(solution.choice)) == (exits, params), seed
        assert solution.by_count[-1] == (len(solution.choice), solution.value)
        # The same sweep with a limit on the number of exits too.
        tight = replace(problem, max_exits=max(0, exits - 1))
        if any(True for _ in all_choices(tight)):
            assert solve(tight).value == pytest.approx(brute_force(tight)[0], abs=1e-12), seed
        solver = interruptible.InterruptibleSolver(problem, tolerance=1e-13, most_labels=1000)
        priced += len(solver.quotas) > 0 and bool(solver._prices[0].any())
    assert priced > 10


def test_a_minimum_value_by_hand() -> None:
    """Budgets uniform:0,10, final (8 ms, 0.9). Without them a alone is best (test_exact.py): 0.45.

    0.7 within 5 ms is kept by b only (2 + 3 ms): 0.7 * 0.5 = 0.35. 0.9 within 8 ms only without exits: 0.18. 0.9
    within 7 ms never.
    """
    problem = problem_of(EXITS[:2], final=(8.0, 0.9), budget="uniform:0,10")
    assert solve(replace(problem, min_values=((5.0, 0.7),))).value == pytest.approx(0.35)
    assert solve(replace(problem, min_values=((8.0, 0.9),))).choice == ()
    with pytest.raises(InputError, match=r"a value of 0\.9 within 7 ms"):
        solve(replace(problem, min_values=((7.0, 0.9),)))


def test_forced_and_forbidden_by_hand() -> None:
    """The exit at placement 1 (answers at 6 or later, 0.5) is never worth its time after a, but can be forced."""
    problem = problem_of(EXITS, final=(8.0, 0.9), budget="uniform:0,10")
    assert solve(problem).choice == (0,)
    assert solve(forced(problem, ["1"], [])).choice == (0, 2)
    assert solve(forced(problem, ["0:b"], [])).choice == (0,)
    assert forced(problem, ["0:b"], []).candidates[0].head == "b"
    assert [c.head for c in forced(problem, [], ["0:a", "1"]).candidates] == ["b"]
    # 0.6 * 0.7 + 0.3 * 0 (final at 8 + 1 + 1 = 10): the price of the forced exit is the final's 0.03.
    assert solve(forced(problem, ["1"], [])).value == pytest.approx(0.42)


@pytest.mark.parametrize(
    ("force", "forbid", "message"),
    [
        (["x"], [], "PLACEMENT or PLACEMENT:HEAD"),
        (["7"], [], "no candidate at that placement"),
        (["0:zebra"], [], "the candidates there are a, b"),
        (["0:a"], ["0"], "forced in, and forbidden"),
        (["0:a", "0:b"], [], "contradicted by another"),
    ],
)
def test_wrong_force(force: list[str], forbid: list[str], message: str) -> None:
    problem = problem_of(EXITS, final=(8.0, 0.9), budget="uniform:0,10")
    with pytest.raises(InputError, match=message):
        forced(problem, force, forbid)


def test_no_trial_that_breaks_a_limit_is_taken() -> None:
    problem = replace(limited(3, "interruptible"), limits={"params": 3}, max_exits=None, min_values=(), forced=())
    result = run_study(problem, trials=30)
    assert problem.allows(result.choice)
    assert result.value <= solve(problem).value + 1e-12


def profile_with_bytes() -> Profile:
    """The toy profile, each segment with 100 bytes of weights, handing on 10; heads with 30 or 60 and 2 for answers."""
    data = toy_profile().model_dump()
    for part in (*data["segments"], data["final"]):
        part |= {"weight_bytes": 100, "activation_bytes": 10}
    for head in data["heads"]:
        head |= {"weight_bytes": 60 if head["head"] != "a" else 30, "activation_bytes": 2}
    return Profile.model_validate(data)


def test_memory_by_hand(tmp_path: Path) -> None:
    """Backbone 300 bytes, and 20 held between neighbouring parts: 320. Both heads a add 60, one of them 30.

    Without limits both are chosen (test_run.py: 0.69); a at placement 0 alone is worth 0.675; none 0.54.
    """
    outcomes = toy_outcomes(tmp_path / "outcomes")

    def value(limit: int) -> float:
        options = {"budget": "uniform:0,20", "trials": 0, "max_memory_bytes": limit}
        return search(profile_with_bytes(), outcomes, **options).value  # type: ignore[arg-type]

    found = search(profile_with_bytes(), outcomes, budget="uniform:0,20", trials=0).memory
    assert found == PathMemory(weight_bytes=360, activation_bytes=20)
    assert search(toy_profile(), outcomes, budget="uniform:0,20", trials=0).memory is None
    assert value(380) == pytest.approx(0.69)
    assert value(379) == value(350) == pytest.approx(0.675)
    assert value(349) == pytest.approx(0.54)
    with pytest.raises(InputError, match="the backbone alone takes 320 bytes"):
        value(319)
    with pytest.raises(InputError, match="does not know the bytes"):
        search(toy_profile(), outcomes, budget="uniform:0,20", trials=0, max_memory_bytes=380)


def profile_with_energies() -> Profile:
    """The toy profile, 10 mJ a millisecond for the backbone (80 in all), 5 for heads at placement 0, 40 at 1."""
    data = toy_profile().model_dump()
    for part in (*data["segments"], data["final"]):
        part["energy_mj"] = 10 * part["latency_ms"]
    for head in data["heads"]:
        head["energy_mj"] = 40.0 if head["placement"] else 5.0
    return Profile.model_validate(data)


@pytest.mark.parametrize(
    ("policy", "limit", "value", "energy"),
    [
        # Values by hand in test_run.py. A pass to the end runs both heads: 80 + 5 + 40 mJ; a at placement 0 alone: 85.
        ("interruptible", 125.0, 0.69, 125.0),
        ("interruptible", 124.9, 0.675, 85.0),
        ("interruptible", 84.9, 0.54, 80.0),
        # One head is run: a at placement 1 answers for 20 + 30 + 40 = 90 mJ, the final exit for 80, a at 0 for 25.
        ("contract", 90.0, 0.71, 90.0),
        ("contract", 89.9, 0.69, 80.0),
        ("contract", 80.0, 0.69, 80.0),
        # Equally sure answers: the same staircases as under contract, but every chosen head counts.
        ("confidence", 125.0, 0.71, 125.0),
        ("confidence", 124.9, 0.69, 85.0),
    ],
)
def test_energy_by_hand(tmp_path: Path, policy: str, limit: float, value: float, energy: float) -> None:
    outcomes = toy_outcomes(tmp_path / "outcomes")
    options = {"budget": "uniform:0,20", "policy": policy, "trials": 0, "max_energy_mj": limit}
    result = search(profile_with_energies(), outcomes, **options)  # type: ignore[arg-type]
    assert result.value == pytest.approx(value)
    assert result.problem.taken("energy", result.choice) == pytest.approx(energy)


def test_energies_that_cannot_hold(tmp_path: Path) -> None:
    outcomes = toy_outcomes(tmp_path / "outcomes")
    with pytest.raises(InputError, match=r"the backbone alone takes 80 mJ .* 79 mJ allowed"):
        search(profile_with_energies(), outcomes, budget="uniform:0,20", trials=0, max_energy_mj=79.0)
    with pytest.raises(InputError, match="exitsearch profile --energy"):
        search(toy_profile(), outcomes, budget="uniform:0,20", trials=0, max_energy_mj=125.0)


def test_limits_reach_every_policy(tmp_path: Path) -> None:
    outcomes = toy_outcomes(tmp_path / "outcomes")
    for policy in ("interruptible", "contract", "confidence"):
        result = search(
            toy_profile(), outcomes, budget="uniform:0,20", policy=policy, max_params=10, forbid=["0"], trials=4
        )  # type: ignore[arg-type]
        assert [(c.placement, c.head) for c in result.problem.chosen(result.choice)] == [(1, "a")], policy
    with pytest.raises(InputError, match="cannot be combined with the policy confidence"):
        search(toy_profile(), outcomes, budget="uniform:0,20", policy="confidence", min_values=["5=0.1"], trials=0)
