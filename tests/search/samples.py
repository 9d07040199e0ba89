"""Made-up answers of exits that grow better with depth, and a problem around them."""

from __future__ import annotations

import numpy as np

from exitsearch.search.answers import Answers
from exitsearch.search.problem import Candidate, Problem
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
    candidates = tuple(Candidate(k, "a", 5.0 * (k + 1), 1.0, float(right[k].mean()), 10) for k in range(exits))
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
