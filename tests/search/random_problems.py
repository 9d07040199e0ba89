"""Small random problems, and the best choice of each by trying all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from exitsearch.search.problem import Candidate, Choice, Problem
from exitsearch.search.value import expected_value
from exitsearch.specs.budget import Trace, parse_budget
from exitsearch.specs.question.request import Policy

# Every family, on a backbone of about 10 ms. `None` stands for a trace, which is made here and not read from a file.
BUDGETS = (
    "uniform:1,14",
    "uniform:4,6",
    "normal:6,3",
    "lognormal:5,0.6",
    "exponential:5",
    "point:7",
    "discrete:3@0.2,6@0.5,9@0.3",
    "mix:0.6*uniform:2,8+0.4*point:9",
    None,
)


def problem_of(
    exits: list[tuple[int, float, float, float]],
    *,
    final: tuple[float, float],
    budget: str,
    fallback: float = 0.0,
    policy: Policy = "interruptible",
    max_exits: int | None = None,
    slowdown: tuple[float, ...] = (),
) -> Problem:
    """A problem from (placement, arrival ms, head ms, value) of each exit and (ms, value) of the final one.

    Heads are named a, b, ... at each placement in the order given, with 100 parameters for a, 200 for b, ...
    """
    seen: dict[int, int] = {}
    candidates = []
    for placement, arrival, head_ms, value in exits:
        number = seen.setdefault(placement, 0)
        seen[placement] += 1
        candidates.append(
            Candidate(placement, "abcdefgh"[number], arrival, head_ms, value, {"params": 100 * (number + 1)})
        )
    return Problem(
        candidates=tuple(sorted(candidates, key=lambda c: (c.placement, c.head))),
        final_ms=final[0],
        final_value=final[1],
        fallback=fallback,
        budget=parse_budget(budget),
        slowdown=slowdown,
        policy=policy,
        max_exits=max_exits,
    )


def given(**limits: float | None) -> dict[str, float]:
    """Those limits that are not None."""
    return {name: most for name, most in limits.items() if most is not None}


def random_problem(seed: int, *, policy: Policy) -> Problem:
    """A problem of at most 5 placements and 3 heads; a third of them with coarse numbers, so that values tie."""
    rng = np.random.default_rng(seed)
    budget = BUDGETS[seed % len(BUDGETS)]
    coarse = seed % 3 == 0
    arrivals = np.sort(rng.uniform(1, 9, size=rng.integers(1, 6)))
    error = rng.random() < 0.2  # values of an error metric are below 0
    candidates = []
    for placement, arrival in enumerate(arrivals):
        for head in "abc"[: rng.integers(1, 4)]:
            head_ms, value = rng.uniform(0, 3), rng.random() - error
            if coarse:
                arrival, head_ms, value = round(float(arrival)), round(head_ms), round(value, 1)
            candidates.append(
                Candidate(
                    placement, head, float(arrival), float(head_ms), float(value), {"params": int(rng.integers(1, 4))}
                )
            )
    final_value = float(rng.random() - error)
    return Problem(
        candidates=tuple(candidates),
        final_ms=10.0,
        final_value=round(final_value, 1) if coarse else final_value,
        fallback=-0.9 if error else float(rng.choice([0.0, 0.3])),
        budget=Trace("made", (2.5, 4.0, 4.0, 6.5, 11.0)) if budget is None else parse_budget(budget),
        slowdown=tuple(rng.lognormal(0, 0.15, size=4)) if rng.random() < 0.5 else (),
        policy=policy,
        max_exits=int(rng.integers(0, 4)) if rng.random() < 0.5 else None,
    )


def all_choices(problem: Problem) -> Iterator[Choice]:
    """Every choice that the problem allows."""
    options = [(None, *positions) for positions in problem.by_placement.values()]
    for picked in itertools.product(*options):
        choice = tuple(position for position in picked if position is not None)
        if problem.allows(choice):
            yield choice


def brute_force(problem: Problem) -> tuple[float, int, int]:
    """Best value, and the fewest exits and then parameters that reach it up to rounding."""
    scored = [(expected_value(problem, choice), choice) for choice in all_choices(problem)]
    best = max(value for value, _ in scored)
    exits, params = min((len(choice), problem.params(choice)) for value, choice in scored if value >= best - 1e-12)
    return best, exits, params
