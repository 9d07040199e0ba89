"""Choosing exits under the policy confidence: greedy adding, then Optuna, with an upper bound.

What a choice is worth depends on its best thresholds, so no sum over exits exists that a dynamic program could run on.
Greedy adding gives Optuna its first trial. While choosing, every choice is judged by a quick staircase of operating
points on a part of the samples; the winner's is made from all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from exitsearch.search.answers import Answers, build_answers
from exitsearch.search.baselines import greedy
from exitsearch.search.confidence import Replay, Staircase
from exitsearch.search.exact import solve
from exitsearch.search.held_out import split_weights
from exitsearch.search.problem import Array, Choice, Problem
from exitsearch.search.quantile import operating_points, quantile_bound
from exitsearch.search.rules import greedy_thresholds, quota
from exitsearch.search.study import OnTrial, StudyResult, run_study
from exitsearch.specs.config import Confidence, OperatingPoint
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.request import Score

# Samples, levels and prices while choosing: a choice then takes some milliseconds. 2,000 samples know an accuracy to a
# hundredth, and all choices are judged on the same ones.
_QUICK_SAMPLES, _QUICK_LEVELS, _QUICK_PRICES = 2000, 32, 8
# An exit must add this much to the expected value: a hundredth of a point, far below what samples can tell.
_WORTH_AN_EXIT = 1e-4
# Prices of latency (cheapest, dearest, how many) and number of latencies by which the bound for answers of any worth is
# made. More of either lower it a little.
_PRICES_OF_BOUND, _CELLS_OF_BOUND = (1e-2, 1e3, 48), 2000
# Operating points that are written: enough that a staircase of a thousand loses less than a thousandth.
MOST_POINTS = 32


@dataclass(frozen=True)
class ConfidentResult:
    """What was found.

    Attributes:
        choice: the exits.
        staircase: their operating points, at most `MOST_POINTS`.
        answers: of the split that was chosen on.
        bound: no choice with any thresholds is worth more.
        study: Optuna's result; None without trials.
        rules: expected value of the same exits with thresholds set as others do.
    """

    choice: Choice
    staircase: Staircase
    answers: Answers
    bound: float
    study: StudyResult | None
    rules: dict[str, float]

    def table(self, problem: Problem, outcomes: Outcomes) -> Confidence:
        """The operating points as a part of a document, judged on the report split too."""
        report = outcomes.report_split
        other = None
        if report:
            answers = build_answers(
                problem, outcomes, report, score=self.answers.score, like=self.answers, only=self.choice
            )
            other = Replay(problem, answers, self.choice)
        mine = Replay(problem, self.answers, self.choice)
        points = []
        for cost, value, thresholds in zip(
            self.staircase.costs_ms, self.staircase.values, self.staircase.thresholds, strict=True
        ):
            report_ms, report_value = other.point(thresholds) if other else (None, None)
            points.append(
                OperatingPoint(
                    budget_ms=float(cost),
                    thresholds=[None if threshold == np.inf else float(threshold) for threshold in thresholds],
                    exit_rates=mine.rates(thresholds)[0].tolist(),
                    value=float(value),
                    report_ms=report_ms,
                    report_value=report_value,
                )
            )
        temperatures = [float(self.answers.temperatures[row]) for row in self.choice]
        return Confidence(score=self.answers.score, temperatures=temperatures, points=points, quantile=problem.quantile)

    def sample_values(self, problem: Problem, outcomes: Outcomes, split: str) -> Array:
        """Expected value of every sample of a split, over the budgets [samples]; times its weight, where it has one."""
        answers = build_answers(problem, outcomes, split, score=self.answers.score, like=self.answers, only=self.choice)
        replay = Replay(problem, answers, self.choice)
        chances, nothing = self.staircase.chances(problem)
        weights = split_weights(outcomes, split)
        total = nothing * problem.fallback * (np.ones(replay.samples) if weights is None else weights)
        for chance, thresholds in zip(chances, self.staircase.thresholds, strict=True):
            if chance > 0:
                total += chance * replay.right[replay.leaves(thresholds), np.arange(replay.samples)]
        return total


def choose(
    problem: Problem,
    outcomes: Outcomes,
    *,
    score: Score = "softmax",
    trials: int,
    seed: int = 0,
    storage: str | None = None,
    on_trial: OnTrial | None = None,
) -> ConfidentResult:
    """Choose exits and thresholds.

    Args:
        problem: of the policy `confidence`.
        outcomes: with samples.
        score: how confidence is measured.
        trials: Optuna trials in all; 0 leaves Optuna out.
        seed: of Optuna's sampler.
        storage: where Optuna keeps its study; None for memory.
        on_trial: called after every trial.

    Raises:
        InputError: outcomes without samples or classes, or limits that exclude everything.
    """
    answers = build_answers(problem, outcomes, outcomes.choice_split, score=score)
    quick = quick_value(problem, answers)
    starts = [solve(replace(problem, policy="contract"), by_count=False).choice, greedy(problem, value=quick)]
    starts = [start for start in starts if problem.allows(start)]
    if not starts:
        # Greedy adding knows no forced exits, and one head at a time may take energy that all together do not have. The
        # limits are those of `interruptible`, whose solver finds what keeps to them, or says that nothing does.
        starts = [solve(replace(problem, policy="interruptible"), by_count=False).choice]
    study = None
    if trials:
        study = run_study(
            problem,
            trials=trials,
            seed=seed,
            storage=storage,
            first=max(starts, key=quick),
            on_trial=on_trial,
            value=quick,
            key=answers.identity,
        )
        if study.value > -np.inf:
            starts.append(study.choice)
    choice = max(starts, key=lambda start: written_staircase(problem, answers, start).value(problem))
    choice, staircase = _without_idle_exits(problem, answers, choice)
    replay = Replay(problem, answers, choice)
    return ConfidentResult(
        choice=choice,
        staircase=staircase,
        answers=answers,
        bound=oracle_bound(problem, answers),
        study=study,
        rules={
            "the choice, MSDNet's quota thresholds": quota(replay).value(problem),
            "the choice, greedy thresholds": greedy_thresholds(replay).value(problem),
        },
    )


def written_staircase(problem: Problem, answers: Answers, choice: Choice) -> Staircase:
    """The operating points of a choice as they are written: optimised on all samples, the most valuable ones kept."""
    replay = Replay(problem, answers, choice)
    return replay.tidied(operating_points(replay)).thinned(problem, MOST_POINTS)


def _without_idle_exits(problem: Problem, answers: Answers, choice: Choice) -> tuple[Choice, Staircase]:
    """Drop exits that buy next to nothing, the least valuable first. A head that is off costs no time, so some stay
    in a choice by chance."""
    staircase = written_staircase(problem, answers, choice)
    while choice:
        options = [choice[:k] + choice[k + 1 :] for k in range(len(choice))]
        options = [option for option in options if problem.allows(option)]
        found = {option: written_staircase(problem, answers, option) for option in options}
        best = max(found, key=lambda option: found[option].value(problem), default=choice)
        if best == choice or found[best].value(problem) < staircase.value(problem) - _WORTH_AN_EXIT:
            break
        choice, staircase = best, found[best]
    return choice, staircase


def quick_value(problem: Problem, answers: Answers) -> Callable[[Choice], float]:
    """The expected value of a choice at good thresholds on a part of the samples, each choice judged once."""
    part = answers.every(-(-answers.samples // _QUICK_SAMPLES))
    known: dict[Choice, float] = {}

    def value(choice: Choice) -> float:
        if choice not in known:
            replay = Replay(problem, part, choice)
            staircase = operating_points(replay, prices=_QUICK_PRICES, levels=_QUICK_LEVELS, polish=0, before=0)
            known[choice] = staircase.value(problem)
        return known[choice]

    return value


def oracle_bound(problem: Problem, answers: Answers) -> float:
    """What no choice can exceed: an oracle sends every sample to the fastest candidate that answers it rightly.

    Every way to leave costs at least the backbone up to a placement and the head there, so at any price of latency the
    accuracy within a mean latency c is at most price * c + the mean of each sample's best (right - price * latency).
    """
    if problem.quantile is not None:
        return quantile_bound(problem, answers, problem.quantile)
    times = np.array([*(c.arrival_ms + c.head_ms for c in problem.candidates), problem.final_ms])
    if answers.right.dtype != np.bool_:
        return _priced_bound(problem, times, answers.right.astype(np.float64))
    first = np.where(answers.right, times[:, None], np.inf).min(axis=0)  # [samples]
    fastest, solved = float(times.min()), np.isfinite(first)
    # Serving the cheapest right answers first: accuracy as a function of mean latency, concave, linear in between.
    extra = np.sort(first[solved] - fastest)
    costs = fastest + np.concatenate([[0.0], np.cumsum(extra)]) / answers.samples
    free = np.count_nonzero(extra <= 0)
    costs, accuracies = costs[free:], np.arange(free, len(extra) + 1) / answers.samples
    reached = problem.survival(costs)
    # Between two of these points the accuracy is at most the later one's, and is reached at the earlier one's cost.
    steps = np.append(np.diff(accuracies), 0.0)
    start = max(float(accuracies[0]) - problem.fallback, 0.0) * float(reached[0])
    return float(problem.fallback + start + steps @ reached)


def _priced_bound(problem: Problem, times: Array, worth: Array) -> float:
    """The same for answers of any worth: the least of the lines that some prices give, at every mean latency."""
    fastest, slowest = float(times.min()), float(times.max())
    unit = max(float(worth.max() - worth.min()), 1e-12) / max(slowest - fastest, 1e-12)
    prices = np.concatenate([[0.0], unit * np.geomspace(*_PRICES_OF_BOUND)])
    heights = np.array([(worth - price * times[:, None]).max(axis=0).mean() for price in prices])
    costs = np.linspace(fastest, slowest, _CELLS_OF_BOUND)
    best = (heights[:, None] + prices[:, None] * costs).min(axis=0)
    # Of what is gained between two latencies all is counted at the first. At the fastest itself nothing is saved.
    reached = problem.survival(costs)
    gains = np.diff(np.maximum(best, problem.fallback))
    start = max(float(best[0]) - problem.fallback, 0.0) * float(reached[0])
    return float(problem.fallback + start + np.maximum(gains, 0.0) @ reached[:-1])
