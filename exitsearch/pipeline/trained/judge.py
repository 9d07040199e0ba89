"""What a configuration's own question says of scores: how likely each exit is used, and what a list of scores is worth.

For training. With chosen exits of values a_k that answer at T_k, the final one last, budgets B, and G(t) = P(B >= t):

    interruptible   the answer in hand is the best one so far, so exit k is used from T_k until the next better exit n:
                    chance_k = G(T_k) - G(T_n), and 0 for an exit that an earlier one beats
    contract        the same with the times at which an exit answers when no other head is run: the share of the budgets
                    for which it is the one to be run
    confidence      operating points j, used with chance p_j = G(c_j) - G(c_(j+1)), at each of which a share r_jk of the
                    inputs leaves at exit k: chance_k = sum_j p_j r_jk

The expected value of scores is, under the first two, exactly that of the search with these scores. Under `confidence` a
score says nothing of which inputs an exit answers rightly, so a change of it is taken to be the same for all of them:

    V = p_0 a_0 + sum_j p_j (A_j + sum_k r_jk (a_k - a'_k))

with the value A_j of a point, and the scores a'_k, of the configuration. At its own scores that is its own expected
value; the search, asked again after training, replays the samples.

With the profile that the configuration was computed from, times are those of the search, latency noise included.
Without it they are `latency_ms` of the configuration: medians, and under `contract` later than need be, since each exit
then waits for the heads before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from exitsearch.search.configured import budget_words, configured_problem, written_points
from exitsearch.search.problem import Array, Problem
from exitsearch.search.value import exit_probabilities, expected_value
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.outcomes import as_value
from exitsearch.specs.profile import Profile


def chances_of(
    config: MultiExitConfig, *, scores: Sequence[float] | None = None, profile: Profile | None = None
) -> tuple[float, ...]:
    """How likely each exit's answer is the one that is used, by the formulas above.

    Args:
        config: a chosen configuration.
        scores: metric of every exit, the final one last, by which the best answer so far is known; None takes those
            that it was chosen with, or where it holds none each exit for better than the one before.
        profile: that it was computed from; None takes the times of the configuration itself.

    Returns:
        Chances of every chosen exit and last of the final one. Their sum is at most 1: the rest is the chance that no
        answer is in time.

    Raises:
        InputError: there is not a score for every exit, or the profile lacks one of them.
        FileError: the budgets' trace cannot be read.
        MismatchError: the profile is of another backbone.
    """
    values, fallback = _values(config, scores)
    problem, choice = configured_problem(config, values=values, fallback=fallback, profile=profile)
    if config.confidence is not None:
        chances = _point_chances(config, problem)[0] @ _rates(config)
    else:
        chances = exit_probabilities(problem, choice)[0]
    return tuple(float(chance) for chance in chances)


@dataclass(frozen=True)
class ExpectedValue:
    """The expected value of scores under a configuration's own budgets, policy and latencies, by the formulas above.

    Attributes:
        config: a chosen configuration.
        profile: that it was computed from; None takes the times of the configuration itself.
    """

    config: MultiExitConfig
    profile: Profile | None = None

    @property
    def words(self) -> str:
        """What it is, for people."""
        return f"expected value under {budget_words(self.config)}, {self.config.policy}"

    def __call__(self, scores: Sequence[float]) -> float:
        """Higher is better: of an error, minus the error.

        Args:
            scores: metric of every exit on one split, in its own sign, the final exit last.

        Raises:
            InputError: there is not a score for every exit.
        """
        config = self.config
        values, fallback = _values(config, scores)
        problem, choice = configured_problem(config, values=values, fallback=fallback, profile=self.profile)
        if config.confidence is None:
            return expected_value(problem, choice)
        points, nothing = _point_chances(config, problem)
        rates, at_points = _rates(config), written_points(config).values
        known = config.exit_scores.get(config.expected.split)
        if known is None or config.expected.worth is not None:
            # What stands in the points is not of this metric, or not of known scores.
            return float(nothing * fallback + points @ rates @ np.asarray(values))
        change = np.asarray(values) - np.array([as_value(score, config.expected.metric) for score in known])
        return float(nothing * fallback + points @ (at_points + rates @ change))


def judge_of(config: MultiExitConfig, *, profile: Profile | None = None) -> ExpectedValue:
    """What scores are worth under a configuration's own question: what training keeps the best of.

    Args:
        config: a chosen configuration.
        profile: that it was computed from; None takes the times of the configuration itself.

    Raises:
        InputError: the profile lacks an exit of the configuration.
        FileError: the budgets' trace cannot be read.
        MismatchError: the profile is of another backbone.
    """
    chances_of(config, profile=profile)  # what is wrong is said before any training
    return ExpectedValue(config, profile)


def _values(config: MultiExitConfig, scores: Sequence[float] | None) -> tuple[list[float], float]:
    """Values of every exit, and of having no answer."""
    metric = config.expected.metric
    scores = config.exit_scores.get(config.expected.split) if scores is None else scores
    if scores is None:
        count = len(config.exits) + 1
        return [k / count for k in range(1, count + 1)], 0.0
    values = [as_value(score, metric) for score in scores]
    if config.fallback is not None and config.expected.worth is None:
        return values, as_value(config.fallback, metric)
    # The fallback of a utility is none of the metric's. Having no answer is then worse than any exit.
    return values, 0.0 if metric == "accuracy" else 2 * min(values, default=0.0)


def _point_chances(config: MultiExitConfig, problem: Problem) -> tuple[Array, float]:
    """How likely each operating point is used, and the chance that none is within the budget.

    Points are compared with the fallback in the unit in which both were written.
    """
    own = config.fallback
    if own is not None and config.expected.worth is None:
        own = as_value(own, config.expected.metric)
    return written_points(config).chances(problem if own is None else replace(problem, fallback=own))


def _rates(config: MultiExitConfig) -> Array:
    """Share of inputs leaving at each exit, the final one last [points, exits + 1]."""
    assert config.confidence is not None
    points = config.confidence.points
    rates = [point.exit_rates for point in points]
    return np.array(rates, dtype=np.float64).reshape(len(points), len(config.exits) + 1)
