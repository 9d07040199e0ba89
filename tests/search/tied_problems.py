"""Small random problems in which nearly everything ties: few distinct times, values, sizes, and limits that are hit."""

from __future__ import annotations

import numpy as np
from random_problems import given

from exitsearch.search.problem import Candidate, Problem
from exitsearch.specs.budget import Trace, parse_budget
from exitsearch.specs.question.request import Policy

# Steps at the very times at which answers finish, where survival is flat elsewhere; and families without steps.
BUDGETS = ("point:6", "discrete:2@0.25,5@0.5,8@0.25", "uniform:1,12", "uniform:4,5", None, "exponential:5", "point:20")


def tied_problem(seed: int, *, policy: Policy) -> Problem:
    """A problem of at most 4 placements and 3 heads in small whole numbers, zeros among them, with any limits at once.

    All times, sizes and energies are small whole numbers, and values halves or tenths, so that sums tie exactly.
    """
    rng = np.random.default_rng([seed, 77])
    values = [0.5, 1.0] if rng.random() < 0.3 else [0.0, 0.2, 0.5, 0.5, 0.8]
    most = int(rng.choice([1, 2, 3]))  # of times, sizes and energies
    candidates = []
    arrival = 0
    for placement in range(int(rng.integers(1, 5))):
        arrival += int(rng.integers(0, 3))
        for head in "abc"[: rng.integers(1, 4)]:
            candidates.append(
                Candidate(
                    placement=placement,
                    head=head,
                    arrival_ms=float(arrival),
                    head_ms=float(rng.integers(0, most + 1)),
                    value=float(rng.choice(values)),
                    takes={
                        "params": int(rng.integers(0, most + 1)),
                        "memory_bytes": int(rng.integers(0, most + 1)),
                        "arrival_mj": float(arrival),
                        "head_mj": float(rng.integers(0, most + 1)),
                    },
                )
            )
    final_ms = arrival + int(rng.integers(0, 4))
    places = sorted({c.placement for c in candidates})
    use = rng.random(8) < rng.choice([0.0, 0.25, 0.6])
    budget = BUDGETS[int(rng.integers(len(BUDGETS)))]
    return Problem(
        candidates=tuple(candidates),
        final_ms=float(max(1, final_ms)),
        final_value=float(rng.choice(values)),
        fallback=float(rng.choice([0.0, 0.0, 0.2])),
        budget=Trace("made", (2.0, 4.0, 4.0, 6.0, 11.0)) if budget is None else parse_budget(budget),
        slowdown=(1.0, 1.0, 2.0) if use[0] else (),
        policy=policy,
        max_exits=int(rng.integers(0, 4)) if use[1] else None,
        limits=given(
            params=int(rng.integers(0, 3 * most)) if use[2] else None,
            memory=int(rng.integers(0, 3 * most)) if use[3] else None,
            energy=float(final_ms + rng.integers(0, 2 * most)) if use[4] else None,
            time=float(rng.integers(0, 3 * most)) if use[5] and policy == "interruptible" else None,
        ),
        backbone={"energy": float(final_ms)},
        min_values=tuple((float(ms), float(rng.choice(values))) for ms in rng.permutation(9)[: rng.integers(1, 3)] + 1)
        if use[6]
        else (),
        forced=tuple(place for place in places if rng.random() < 0.5) if use[7] else (),
    )
