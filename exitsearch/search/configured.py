"""A chosen configuration as a problem again, in which nothing but its own exits may be chosen.

What its exits are worth is given anew, so that the configuration can be valued with other scores than those that it was
chosen for: those of a trained model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exitsearch.errors import InputError
from exitsearch.search.build import exit_times
from exitsearch.search.problem import Candidate, Choice, Problem
from exitsearch.search.thresholds.replay import Staircase
from exitsearch.specs.budget import parse_budget
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.profile import Profile


def configured_problem(
    config: MultiExitConfig, *, values: Sequence[float], fallback: float, profile: Profile | None = None
) -> tuple[Problem, Choice]:
    """The problem of a configuration's own exits, and the choice of all of them.

    Args:
        config: with its own budget, which is in milliseconds.
        values: of every chosen exit and last of the final one; higher is better.
        fallback: value of having no answer in time.
        profile: for the times of single heads and for the latency noise. None takes the configuration's `latency_ms`:
            medians, at which each exit waits for the heads before it under every policy.

    Raises:
        InputError: there is not a value for every exit, or the profile lacks one of them.
        FileError: the budgets' trace cannot be read.
        MismatchError: the profile is of another backbone.
    """
    needed = len(config.exits) + 1
    if len(values) != needed:
        raise InputError(
            f"{needed} scores are needed, of every chosen exit and last of the final one, found {len(values)}; "
            "give as many"
        )
    pairs = [(exit_.placement, str(exit_.choice)) for exit_ in config.exits]
    final_ms, slowdown = config.latency_ms[-1], tuple[float, ...]()
    times = [(ms, 0.0) for ms in config.latency_ms[:-1]]
    if profile is not None:
        config.backbone.check_same(profile.backbone, mine="the configuration", others="the profile")
        times = exit_times(profile, pairs)
        final_ms, slowdown = profile.full_ms, tuple(sorted(profile.slowdown))
    candidates = tuple(
        Candidate(placement=place, head=head, arrival_ms=arrival_ms, head_ms=head_ms, value=float(value))
        for (place, head), (arrival_ms, head_ms), value in zip(pairs, times, values[:-1], strict=True)
    )
    problem = Problem(
        candidates=candidates,
        final_ms=final_ms,
        final_value=float(values[-1]),
        fallback=fallback,
        budget=parse_budget(config.budget).resolved(final_ms),
        slowdown=slowdown,
        policy=config.policy,
        quantile=config.confidence.quantile if config.confidence else None,
    )
    return problem, tuple(range(len(candidates)))


def budget_words(config: MultiExitConfig) -> str:
    """The budgets of a configuration as they were asked for, for people."""
    asked = config.request
    if asked is None or "%" not in asked.budget:
        return f"{config.budget} ms"
    return f"{asked.budget} of the full model's latency"


def written_points(config: MultiExitConfig) -> Staircase:
    """The operating points that a configuration of the policy `confidence` runs by."""
    assert config.confidence is not None
    points = config.confidence.points
    thresholds = [[np.inf if q is None else q for q in point.thresholds] for point in points]
    return Staircase(
        costs_ms=np.array([point.budget_ms for point in points], dtype=np.float64),
        values=np.array([point.value for point in points], dtype=np.float64),
        thresholds=np.array(thresholds, dtype=np.float64).reshape(len(points), len(config.exits)),
    )
