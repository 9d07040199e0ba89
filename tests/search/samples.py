"""Made-up answers of exits that grow better with depth, and a problem around them."""

from __future__ import annotations

import numpy as np

from exitsearch.search.problem import Candidate, Problem
from exitsearch.search.thresholds.scores import Answers
from exitsearch.specs.budget import parse_budget


def made_answers(exits: int, samples: int, *, seed: int, score: str = "softmax") -> tuple[Problem, Answers]:
    """Exits at 5, 10, ... ms with heads of 1 ms; the final one 5 ms after the last. Budgets uniform from 0 to its end.

    A sample has a difficulty; an exit is right where its skill and some noise exceed it, and roughly knows by how much.
    """
    rng = np.random.default_rng(seed)
    margin = np.linspace(-0.3, 1.2, exits + 1)[:, None] - rng.normal(size=samples)
    margin = margin + 0.5 * rng.normal(size=margin.shape)
    right = margin > 0
    felt = 1 / (1 + np.exp(-np.abs(margin) - 0.3 * rng.normal(size=margin.shape)))
    scores = np.where(right, felt, 1 - felt / 2).astype(np.float32)
    candidates = tuple(
        Candidate(k, "a", 5.0 * (k + 1), 1.0, float(right[k].mean()), {"params": 10}) for k in range(exits)
    )
    problem = Problem(
        candidates=candidates,
        final_ms=5.0 * (exits + 1),
        final_value=float(right[-1].mean()),
        fallback=0.0,
        budget=parse_budget(f"uniform:0,{6 * (exits + 1)}"),
        policy="confidence",
    )
    predicted = np.where(right, 0, 1 + rng.integers(3, size=right.shape)).astype(np.int32)
    return problem, Answers(score, scores, right, predicted, np.ones(exits + 1))  # type: ignore[arg-type]


def random_answers(
    seed: int, *, placements: int, heads: int, samples: int, score: str = "softmax"
) -> tuple[Problem, Answers]:
    """Exits of random skill, cost and sureness, which know other things; budgets of four kinds by turns."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.uniform(1, 6, placements + 1))
    places = [(place, head) for place in range(placements) for head in range(heads)]
    right = rng.random((len(places) + 1, samples)) < rng.uniform(0.2, 0.9, (len(places) + 1, 1))
    scores = np.where(right, rng.uniform(0.4, 1, right.shape), rng.uniform(0, 0.8, right.shape)).astype(np.float32)
    predicted = np.where(right, 0, 1 + rng.integers(3, size=right.shape)).astype(np.int32)
    candidates = tuple(
        Candidate(place, "abcdefgh"[head], float(arrivals[place]), float(rng.uniform(0.1, 1.5)), 0.5, {"params": 10})
        for place, head in places
    )
    final = float(arrivals[-1])
    budgets = (
        f"uniform:0,{1.3 * final}",
        f"point:{1.2 * final}",
        f"discrete:{0.4 * final}@0.5,{0.8 * final}@0.5",
        f"point:{0.6 * final}",
    )
    budget = parse_budget(budgets[seed % len(budgets)])
    problem = Problem(candidates, final, float(right[-1].mean()), 0.0, budget, policy="confidence")
    return problem, Answers(score, scores, right, predicted, np.ones(len(right)))  # type: ignore[arg-type]
