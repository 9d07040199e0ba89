"""What a bundle's own manifest predicts of requests, by the formulas of the search.

The manifest's latency table and values make a problem of the search (`search/problem.py`) in which nothing but the
bundle's own exits may be chosen; times, chances and expected value are then those of `search/value.py`. Under
`contract` a session starts only what is in time at the quantile that it plans by, so there the times are the planned
ones, taken as certain. Under `confidence` a session takes the last operating point that the asked mean budget pays for,
by the point's own cost and however slow the machine is at that moment; so points are counted without noise, each worth
what the manifest says. The exits in them are not valued anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from exitsearch.runtime import Manifest
from exitsearch.runtime.deadline import Table
from exitsearch.search.problem import Array, Candidate, Problem
from exitsearch.search.thresholds.replay import Staircase
from exitsearch.search.value import exit_probabilities, expected_value, finish_times
from exitsearch.specs.budget import Amount, BudgetDistribution, Discrete
from exitsearch.specs.bundle import Bundle
from exitsearch.specs.config import Confidence, OperatingPoint
from exitsearch.specs.outcomes import as_value
from exitsearch.specs.question.request import Policy
from exitsearch.specs.verification import ExitUse, Predicted


def full_ms(bundle: Bundle) -> float:
    """Time of the bundle's backbone to its end without a head: what `%` of a budget is a share of."""
    return sum(segment.median for segment in bundle.latency.segments)


def fallback_value(bundle: Bundle) -> float:
    """Value of having no answer: the bundle's own, or where it names none that of a wrong one.

    Of an error it is then worse than any exit's, as elsewhere (`pipeline/trained/judge.py`).
    """
    metric = "accuracy" if bundle.model.task == "classification" else "mae"
    if bundle.fallback is not None and (bundle.request is None or bundle.request.worth is None):
        return as_value(bundle.fallback, metric)
    return 0.0 if metric == "accuracy" else 2 * min(bundle.values)


def bundle_problem(bundle: Bundle, budget: BudgetDistribution, policy: Policy) -> Problem:
    """A bundle's own exits as a problem of the search, at the medians of its latency table.

    Args:
        bundle: its manifest.
        budget: in ms.
        policy: by which requests are asked.
    """
    segments = [segment.median for segment in bundle.latency.segments]
    heads = [head.median for head in bundle.latency.heads]
    if policy == "interruptible" and bundle.latency.start is not None:
        segments[0] += bundle.latency.start.median
    arrivals = np.cumsum(segments)
    confidence = bundle.confidence
    return Problem(
        candidates=tuple(
            Candidate(exit_.placement, str(exit_.choice), float(arrival), head, value)
            for exit_, arrival, head, value in zip(bundle.exits, arrivals[:-1], heads, bundle.values[:-1], strict=True)
        ),
        final_ms=float(arrivals[-1]),
        final_value=bundle.values[-1],
        fallback=fallback_value(bundle),
        budget=budget,
        slowdown=tuple(sorted(bundle.latency.slow_down)),
        policy=policy,
        quantile=confidence.quantile if confidence and policy == "confidence" else None,
    )


def budgets_of(budgets_ms: Sequence[float]) -> BudgetDistribution:
    """The distribution of budgets that requests really had."""
    counts = sorted(Counter(budgets_ms).items())
    return Discrete(tuple((Amount(ms), count / len(budgets_ms)) for ms, count in counts))


@dataclass(frozen=True)
class BundlePrediction:
    """What requests under one policy should show.

    Attributes:
        bundle: its manifest.
        manifest: the same, as a session reads it.
        policy: how requests are asked.
        quantile: by which hard deadlines are planned.
    """

    bundle: Bundle
    manifest: Manifest
    policy: Policy
    quantile: float

    def predict(
        self,
        distribution: BudgetDistribution,
        *,
        budgets_ms: Sequence[float],
        extras_ms: Sequence[float] | None = None,
        worths: NDArray[np.float64] | None = None,
    ) -> Predicted:
        """The prediction of a phase.

        Args:
            distribution: that budgets were drawn from, in ms.
            budgets_ms: that requests had.
            extras_ms: by which each took longer for the pause before it; None: there was none.
            worths: mean value of every exit over the samples that were asked, the final one last [exits + 1].
        """
        asked = self.problem(distribution)
        extras = np.zeros(len(budgets_ms)) if extras_ms is None or self.policy == "confidence" else np.array(extras_ms)
        had = replace(asked, budget=budgets_of(np.maximum(np.array(budgets_ms) - extras, 0.0).tolist()))
        chances, nothing = self._chances(had)
        samples_value = None
        if worths is not None and self.policy != "confidence":
            samples_value = float(chances @ worths + nothing * had.fallback)
        return Predicted(
            value=self._value(had),
            distribution_value=self._value(asked),
            samples_value=samples_value,
            no_answer=min(1.0, max(0.0, nothing)),
            exits=self._exits(had, chances, extra_ms=float(extras.mean())),
        )

    def problem(self, budget: BudgetDistribution) -> Problem:
        """The bundle's own exits as a problem of the search; under `contract` at the times that are planned."""
        problem = bundle_problem(self.bundle, budget, self.policy)
        if self.policy != "contract":
            return problem
        table = Table(self.manifest.latency, quantile=self.quantile)
        planned = [table.way(done=0, to=k).planned() for k in range(len(self.bundle.values))]
        return replace(_answering_at(problem, planned), slowdown=())

    def _value(self, problem: Problem) -> float:
        if self.policy == "confidence":
            return self._points().value(problem, noise=False)
        return expected_value(problem, tuple(range(len(problem.candidates))))

    def _chances(self, problem: Problem) -> tuple[Array, float]:
        """Chance of every exit, the final one last, and of no answer."""
        if self.policy != "confidence":
            return exit_probabilities(problem, tuple(range(len(problem.candidates))))
        assert self.bundle.confidence is not None
        used, nothing = self._points().chances(problem, noise=False)
        rates = np.array([point.exit_rates for point in self.bundle.confidence.points], dtype=np.float64)
        return used @ rates.reshape(len(used), len(self.bundle.values)), nothing

    def _points(self) -> Staircase:
        """The operating points; of their thresholds nothing is asked here."""
        assert self.bundle.confidence is not None
        points = self.bundle.confidence.points
        costs, values = [point.budget_ms for point in points], [point.value for point in points]
        return Staircase(np.array(costs, dtype=float), np.array(values, dtype=float), np.zeros((len(points), 0)))

    def _exits(self, problem: Problem, chances: Array, *, extra_ms: float) -> list[ExitUse]:
        """Times at the medians of the table, and at quantiles of its slow-down samples; behind the mean pause."""
        medians = self._medians(problem)
        slow = self.bundle.latency.slow_down
        p90, p99 = (max(1.0, float(np.quantile(slow, q))) if slow else None for q in (0.9, 0.99))
        return [
            ExitUse(
                exit=name,
                share=min(1.0, max(0.0, float(chance))),
                median_ms=float(ms) + extra_ms,
                p90_ms=None if p90 is None else float(ms * p90) + extra_ms,
                p99_ms=None if p99 is None else float(ms * p99) + extra_ms,
            )
            for name, chance, ms in zip(self.manifest.exits, chances, medians, strict=True)
        ]

    def _medians(self, problem: Problem) -> Array:
        """The times that answers take, not those that are planned [exits]."""
        choice = tuple(range(len(problem.candidates)))
        if self.policy == "contract":
            problem = _answering_at(problem, self.bundle.latency.answers_ms("contract"))
        if self.policy != "confidence":
            return finish_times(problem, choice)
        # Heads that are off at an operating point are not run there: the mean over the answers of each exit.
        assert self.bundle.confidence is not None
        used, _ = self._points().chances(problem, noise=False)
        points = self.bundle.confidence.points
        weights = used[:, None] * np.array([point.exit_rates for point in points]).reshape(len(points), -1)
        times = np.array([point_times(problem, self.bundle.confidence, point) for point in points])
        shares = weights.sum(axis=0)
        mixed = (weights * times).sum(axis=0) / np.where(shares > 0, shares, 1.0)
        return np.where(shares > 0, mixed, finish_times(problem, choice))


def point_times(problem: Problem, confidence: Confidence, point: OperatingPoint) -> Array:
    """When every exit answers at an operating point, the final one last [exits + 1].

    Args:
        problem: of the bundle's own exits.
        confidence: says whether heads that are off are run all the same.
        point: with its thresholds.
    """
    arrivals = np.array([*(candidate.arrival_ms for candidate in problem.candidates), problem.final_ms])
    runs = np.array([confidence.score == "patience" or threshold is not None for threshold in point.thresholds])
    heads = np.array([candidate.head_ms for candidate in problem.candidates]) * runs
    return np.asarray(arrivals + np.cumsum([*heads, 0.0]))


def _answering_at(problem: Problem, answers_ms: Sequence[float]) -> Problem:
    """The same with exits that answer at given times, whatever other heads are run; the final one last."""
    return replace(
        problem,
        candidates=tuple(
            replace(candidate, arrival_ms=float(ms), head_ms=0.0)
            for candidate, ms in zip(problem.candidates, answers_ms, strict=False)
        ),
        final_ms=float(answers_ms[-1]),
    )
