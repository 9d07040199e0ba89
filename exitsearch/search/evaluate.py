"""What a choice comes to: its value on both splits, the chances of its exits, and the baselines beside it.

Under `interruptible` and `contract` all follows from one value an exit; under `confidence` from the replayed samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exitsearch.search.baselines import baselines
from exitsearch.search.held_out import bootstrap_interval, mean_interval, split_value, split_weights
from exitsearch.search.problem import Choice, Problem
from exitsearch.search.result import BaselineRow
from exitsearch.search.thresholds.choose import ThresholdChoice, quick_value, written_staircase
from exitsearch.search.valuation import Valued
from exitsearch.search.value import exit_probabilities, expected_value
from exitsearch.specs.config import Confidence


@dataclass(frozen=True)
class Evaluation:
    """A choice, judged.

    Attributes:
        value: expected value on the split that was chosen on, with latency noise.
        value_medians: the same with every latency at its median.
        held_out: expected value on the report split; None when there is none.
        interval: bootstrap 95% interval of `held_out`; None when there are no samples.
        chances: how likely each exit's answer is the one in hand, the final one last.
        no_answer: chance that there is none.
        baselines: what a user would do without a search.
        confidence: the operating points, under that policy.
    """

    value: float
    value_medians: float
    held_out: float | None
    interval: tuple[float, float] | None
    chances: list[float]
    no_answer: float
    baselines: list[BaselineRow]
    confidence: Confidence | None = None


def evaluate_values(problem: Problem, choice: Choice, outcomes: Valued, *, seed: int) -> Evaluation:
    """Under `interruptible` or `contract`."""
    report = outcomes.report_split
    chances, nothing = exit_probabilities(problem, choice)
    return Evaluation(
        value=expected_value(problem, choice),
        value_medians=expected_value(problem, choice, noise=False),
        held_out=split_value(problem, choice, outcomes, report) if report else None,
        interval=bootstrap_interval(problem, choice, outcomes, report, seed=seed) if report else None,
        chances=chances.tolist(),
        no_answer=nothing,
        baselines=[
            BaselineRow(
                name=baseline.name,
                exits=_pairs(problem, baseline.choice),
                value=baseline.value,
                held_out=split_value(problem, baseline.choice, outcomes, report) if report else None,
            )
            for baseline in baselines(problem)
        ],
    )


def evaluate_samples(problem: Problem, found: ThresholdChoice, outcomes: Valued, *, seed: int) -> Evaluation:
    """Under `confidence`. Baselines get the same optimised thresholds as the choice; only their exits differ."""
    report = outcomes.report_split
    each = found.sample_values(problem, outcomes, report) if report else None
    interval = None
    if report and each is not None:
        interval = mean_interval(each, weights=split_weights(outcomes, report), seed=seed)
    table = found.table(problem, outcomes)
    points, nothing = found.staircase.chances(problem)
    rows = [
        BaselineRow(
            name=baseline.name,
            exits=_pairs(problem, baseline.choice),
            value=written_staircase(problem, found.answers, baseline.choice).value(problem),
            held_out=None,
        )
        for baseline in baselines(problem, value=quick_value(problem, found.answers))
    ]
    rows += [
        BaselineRow(name=name, exits=_pairs(problem, found.choice), value=value, held_out=None)
        for name, value in found.rules.items()
    ]
    rates = np.array([point.exit_rates for point in table.points]).reshape(len(points), len(found.choice) + 1)
    return Evaluation(
        value=found.staircase.value(problem),
        value_medians=found.staircase.value(problem, noise=False),
        held_out=None if each is None else float(each.mean()),
        interval=interval,
        chances=(points @ rates).tolist() if len(points) else [0.0] * (len(found.choice) + 1),
        no_answer=nothing,
        baselines=rows,
        confidence=table,
    )


def _pairs(problem: Problem, choice: Choice) -> tuple[tuple[int, str], ...]:
    return tuple((candidate.placement, candidate.head) for candidate in problem.chosen(choice))
