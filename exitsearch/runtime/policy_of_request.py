"""The policy that a request asks for, by what it says of confidence and budgets."""

from __future__ import annotations

from .bundle.manifest import Manifest
from .deadline import Plan
from .errors import RequestError
from .policies import Confident, Contract, Policy
from .requests import LONGEST_MS, check_number


def policy_of(
    manifest: Manifest, plan: Plan, *, confidence: float | None, mean_budget_ms: float | None
) -> Policy | None:
    """The policy; None: no operating point of the bundle is within the mean budget.

    Args:
        manifest: of the bundle.
        plan: what can be reached.
        confidence: the score at which inputs leave.
        mean_budget_ms: that requests may take in the mean.

    Raises:
        RequestError: the model has no such answers, or the bundle no operating points; an argument is out of its range.
    """
    if confidence is None and mean_budget_ms is None:
        return Contract(manifest.values, plan)
    table, early = manifest.confidence, len(manifest.exits) - 1
    if manifest.task != "classification" or manifest.num_outputs < 2:
        raise RequestError(
            f"how sure an answer is can be told of classes, this bundle's task is {manifest.task} with "
            f"{manifest.num_outputs} outputs; ask with budget_ms alone, or with start()"
        )
    if confidence is not None and mean_budget_ms is not None:
        raise RequestError("a mean_budget_ms means thresholds too, found it beside a confidence; give one of them")
    score = table.score if table else "softmax"
    thresholds: tuple[float | None, ...]
    if confidence is not None:
        check_number("confidence", confidence, high=early + 1 if score == "patience" else 1.0)
        thresholds = (float(confidence),) * early
    else:
        assert mean_budget_ms is not None
        check_number("mean_budget_ms", mean_budget_ms, high=LONGEST_MS)
        if table is None:
            raise RequestError(
                "the bundle has no operating points, since its exits were not chosen with --policy confidence; ask "
                "with confidence= or budget_ms="
            )
        within = [point for point in table.points if point.budget_ms <= mean_budget_ms * (1 + 1e-9)]
        if not within:
            return None
        thresholds = within[-1].thresholds
    temperatures = table.temperatures if table else (1.0,) * early
    return Confident(manifest.values, plan, thresholds=thresholds, score=score, temperatures=temperatures)
