"""The operating points of a bundle: by the answers of the trained exits, and by the bundle's own times.

The search sets thresholds on heads over the frozen backbone, and counts what they cost in the profile's times. What is
deployed is another thing in both: trained exits are sure of other samples, and graphs in their engine take other times
(on the digits 0.6 of torch's). A session compares the mean budget of a request with the cost of a point, so both are
found anew for a bundle, on the split that is chosen on; the report split is looked at too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from exitsearch.pipeline.bundle_prediction import bundle_problem, full_ms, point_times
from exitsearch.search.problem import Problem
from exitsearch.search.thresholds.choose import choose_from
from exitsearch.search.thresholds.scores import build_answers
from exitsearch.specs.budget import parse_budget
from exitsearch.specs.bundle import Bundle
from exitsearch.specs.config import Confidence, OperatingPoint
from exitsearch.specs.outcomes import Outcomes


def deployed_points(bundle: Bundle, outcomes: Outcomes | None) -> Confidence:
    """The operating points of a bundle of the policy `confidence`.

    Args:
        bundle: its manifest, with its own latency table and the points of the search.
        outcomes: of the trained model, with samples; without (None, scores alone, or other exits), and where exits were
            chosen by a utility, the thresholds, exit rates and values of the search stay as they are, and only what
            they cost is counted anew.

    Raises:
        InputError: the outcomes are of no classes.
    """
    assert bundle.confidence is not None
    problem = bundle_problem(bundle, parse_budget(bundle.budget).resolved(full_ms(bundle)), "confidence")
    by_utility = bundle.request is not None and bundle.request.worth is not None
    if outcomes is None or by_utility or not _has_samples(outcomes, problem):
        return _counted_anew(problem, bundle.confidence)
    # All exits are in the bundle, whether they are worth it or not.
    problem = replace(problem, forced=tuple(candidate.placement for candidate in problem.candidates))
    answers = build_answers(problem, outcomes, outcomes.choice_split, score=bundle.confidence.score)
    return choose_from(problem, answers, trials=0).table(problem, outcomes)


def _has_samples(outcomes: Outcomes, problem: Problem) -> bool:
    samples = outcomes.samples(outcomes.choice_split)
    wanted = {(candidate.placement, candidate.head) for candidate in problem.candidates}
    return samples is not None and wanted <= set(samples.outputs)


def _counted_anew(problem: Problem, confidence: Confidence) -> Confidence:
    """The same thresholds at other times: by rising cost, those left out that are dearer and no better."""
    costs = [_cost(problem, confidence, point) for point in confidence.points]
    kept: list[OperatingPoint] = []
    for cost, point in sorted(zip(costs, confidence.points, strict=True), key=lambda pair: (pair[0], -pair[1].value)):
        if not kept or point.value > kept[-1].value:
            kept.append(point.model_copy(update={"budget_ms": cost, "report_ms": None}))
    return confidence.model_copy(update={"points": kept})


def _cost(problem: Problem, confidence: Confidence, point: OperatingPoint) -> float:
    """Mean time of an answer at a point, or its quantile over samples."""
    times, rates = point_times(problem, confidence, point), np.array(point.exit_rates, dtype=np.float64)
    if confidence.quantile is None:
        return float(rates @ times)
    # The first exit by which so many have left; rates are counts over samples.
    return float(times[int(np.argmax(np.cumsum(rates) >= confidence.quantile - 1e-9))])
