"""What the solvers make of 300 random problems, to the last digit: written down once, and compared with ever after.

    python tests/search/solver_results.py        writes tests/data/solver_results.json anew

A change that is meant to leave every result as it is must leave that file as it is.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import exhaustive
import numpy as np
from random_problems import random_problem
from samples import random_answers
from tied_problems import tied_problem

from exitsearch.errors import InputError
from exitsearch.search.baselines import greedy
from exitsearch.search.problem import Problem
from exitsearch.search.solver import interruptible
from exitsearch.search.solver.exact import solve
from exitsearch.search.thresholds import bounds
from exitsearch.search.thresholds.choose import choose_from
from exitsearch.search.value import expected_value
from exitsearch.specs.question.request import Policy

RESULTS = Path(__file__).parents[1] / "data" / "solver_results.json"
OF_EACH_POLICY = 100


def environment() -> str:
    """On what the last digit of a sum may depend."""
    return f"{platform.machine()} numpy {np.__version__}"


def results() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and result of every problem."""
    for seed in range(OF_EACH_POLICY):
        for policy in ("interruptible", "contract"):
            yield f"{policy} {seed}", solved(posed(seed, policy), priced=seed % 10 == 9)  # type: ignore[arg-type]
        yield f"confidence {seed}", chosen(seed)


def posed(seed: int, policy: Policy) -> Problem:
    """Problems of three makers by turns, of which two have limits; and some in which heads hold more than others."""
    match seed % 4:
        case 0:
            return random_problem(seed, policy=policy)
        case 1:
            return tied_problem(seed, policy=policy)
        case 2:
            return exhaustive.tied_problem(seed, policy=policy, samples=(0, 1, 64)[seed % 3])
    return holding(random_problem(seed, policy=policy), seed)


def holding(problem: Problem, seed: int) -> Problem:
    """A problem with every limit that sums, in numbers that are no multiples of each other, and a maximum in one."""
    rng = np.random.default_rng([seed, 5])
    candidates = tuple(
        replace(
            c,
            takes={
                **c.takes,
                "memory_bytes": int(rng.integers(0, 5)),
                "held_bytes": int(rng.choice([0, 0, 2, 5])),
                "arrival_mj": 0.7 * c.placement,
                "head_mj": int(rng.integers(1, 9)) / 10,
            },
        )
        for c in problem.candidates
    )
    return replace(
        problem,
        candidates=candidates,
        backbone={"energy": 3.5},
        limits={
            "params": int(rng.integers(3, 9)),
            "memory": int(rng.integers(2, 16)),
            "energy": 3.5 + int(rng.integers(4, 20)) / 10,
        },
        forced=(int(rng.choice(sorted(problem.by_placement))),) if rng.random() < 0.3 else (),
    )


def solved(problem: Problem, *, priced: bool) -> dict[str, Any]:
    """The exact solver's result, and by how much greedy adding misses it.

    Args:
        priced: whether to find prices of what is limited, as for large problems.
    """
    try:
        with mock.patch.object(interruptible, "_MANY", 0 if priced else interruptible._MANY):
            found = solve(problem)
    except InputError as error:
        return {"error": str(error).partition(" (")[0]}
    quick = greedy(problem)
    return {
        "choice": list(found.choice),
        "value": found.value.hex(),
        "bound": found.bound.hex(),
        "exact": bool(found.exact),
        "by_count": [[count, value.hex()] for count, value in found.by_count],
        "greedy": list(quick),
        "regret": (found.value - expected_value(problem, quick)).hex(),
        "excess": {name: float(over).hex() for name, over in problem.excess(quick).items()},
    }


def chosen(seed: int) -> dict[str, Any]:
    """Exits and thresholds under `confidence`, half of the problems with limits; few steps towards the bound."""
    problem, answers = random_answers(seed, placements=2 + seed % 2, heads=2 - seed % 2, samples=15)
    if seed % 2:
        limited = holding(problem, seed)
        problem = replace(limited, max_exits=2 if seed % 4 == 1 else None)
    if seed % 5 == 4:
        problem = replace(problem, quantile=0.9)
    try:
        with mock.patch.object(bounds, "_MOST_STEPS", bounds._FEWEST_STEPS):
            found = choose_from(problem, answers, trials=0)
    except InputError as error:
        return {"error": str(error).partition(" (")[0]}
    value = float(found.staircase.value(problem))
    return {
        "choice": list(found.choice),
        "value": value.hex(),
        "bound": float(found.bound).hex(),
        "exact": bool(found.exact),
        "regret": (float(found.bound) - value).hex(),
    }


if __name__ == "__main__":
    RESULTS.write_text(json.dumps({"environment": environment(), "results": dict(results())}, indent=1) + "\n")
