"""Choosing exits under the policy confidence: greedy adding, then Optuna, with an upper bound.

What a choice is worth depends on its best thresholds, so no sum over exits exists that a dynamic program could run on.
Greedy adding gives Optuna its first trial. While choosing, every choice is judged by a quick staircase of operating
points on a part of the samples; the winner's is made from all of them. Where all choices are few, every one that can be
best is judged in full, and where all their thresholds can be tried too (`patience.py`), the best is proved.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from exitsearch.search.baselines import greedy
from exitsearch.search.held_out import split_weights
from exitsearch.search.problem import Array, Choice, Problem
from exitsearch.search.solver.exact import TOLERANCE, solve
from exitsearch.search.study import OnTrial, StudyResult, run_study
from exitsearch.search.thresholds.bounds import upper_bound
from exitsearch.search.thresholds.patience import every_threshold
from exitsearch.search.thresholds.quantile import operating_points
from exitsearch.search.thresholds.replay import Replay, Staircase
from exitsearch.search.thresholds.rules import greedy_thresholds, quota
from exitsearch.search.thresholds.scores import Answers, build_answers
from exitsearch.search.valuation import Valued
from exitsearch.specs.config import Confidence, OperatingPoint
from exitsearch.specs.question.request import Score

# Samples while choosing: a choice then takes some milliseconds. 2,000 samples know an accuracy to a hundredth, and all
# choices are judged on the same ones.
_QUICK_SAMPLES = 2000
# An exit must add this much to the expected value: a hundredth of a point, far below what samples can tell.
_WORTH_AN_EXIT = 1e-4
# All choices are tried where they are no more than so many, and judging them takes no more than so many seconds.
_MOST_TRIED, _TRIED_SECONDS = 4096, 10.0
# Operating points that are written: enough that a staircase of a thousand loses less than a thousandth.
MOST_POINTS = 32


@dataclass(frozen=True)
class ThresholdChoice:
    """What was found.

    Attributes:
        choice: the exits.
        staircase: their operating points, at most `MOST_POINTS`.
        answers: of the split that was chosen on.
        bound: no choice with any thresholds is worth more.
        exact: whether some choice is proved to be worth as much.
        tried: how many choices were judged in full when all were (`few_choices`); None when they were too many.
        study: Optuna's result; None without trials.
        rules: expected value of the same exits with thresholds set as others do.
    """

    choice: Choice
    staircase: Staircase
    answers: Answers
    bound: float
    exact: bool
    tried: int | None
    study: StudyResult | None
    rules: dict[str, float]

    def table(self, problem: Problem, outcomes: Valued) -> Confidence:
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

    def sample_values(self, problem: Problem, outcomes: Valued, split: str) -> Array:
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
    outcomes: Valued,
    *,
    score: Score = "softmax",
    trials: int,
    seed: int = 0,
    storage: str | None = None,
    on_trial: OnTrial | None = None,
) -> ThresholdChoice:
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
    return choose_from(problem, answers, trials=trials, seed=seed, storage=storage, on_trial=on_trial)


def choose_from(
    problem: Problem,
    answers: Answers,
    *,
    trials: int,
    seed: int = 0,
    storage: str | None = None,
    on_trial: OnTrial | None = None,
) -> ThresholdChoice:
    """Choose exits and thresholds for answers that are at hand; arguments and errors as in `choose`."""
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
    every = few_choices(problem, answers)
    found = {choice: judged(problem, answers, choice) for choice in every or dict.fromkeys(starts)}
    choice = max(found, key=lambda one: found[one].staircase.value(problem))
    choice, staircase = _without_idle_exits(problem, answers, choice, found[choice].staircase)
    best = max(found.values(), key=lambda one: one.most)
    exact = bool(every) and all(one.proved for one in found.values())
    bound = best.most if exact else upper_bound(problem, answers, best.whole)
    replay = Replay(problem, answers, choice)
    return ThresholdChoice(
        choice=choice,
        staircase=staircase,
        answers=answers,
        bound=bound,
        exact=exact or bound - best.most <= TOLERANCE,
        tried=len(every) if every else None,
        study=study,
        rules={
            "the choice, MSDNet's quota thresholds": quota(replay).value(problem),
            "the choice, greedy thresholds": greedy_thresholds(replay).value(problem),
        },
    )


def few_choices(problem: Problem, answers: Answers) -> list[Choice]:
    """Every choice that the best can be among, where all of them can be judged in full; else none.

    Where a head that is off costs nothing, a choice is worth no less than any part of it: those are left out to which
    an exit could be added.
    """
    if math.prod(len(heads) + 1 for heads in problem.by_placement.values()) > _MOST_TRIED:
        return []
    whole = answers.score != "patience"
    options = [(None, *heads) for heads in problem.by_placement.values()]
    choices = [tuple(p for p in picked if p is not None) for picked in itertools.product(*options)]
    allowed = [choice for choice in choices if problem.allows(choice)]
    if whole:
        parts = {choice[:k] + choice[k + 1 :] for choice in allowed for k in range(len(choice))}
        allowed = [choice for choice in allowed if choice not in parts]
    seconds = sum(_judging_seconds(problem, answers, len(choice)) for choice in allowed)
    return allowed if seconds <= _TRIED_SECONDS else []


def _judging_seconds(problem: Problem, answers: Answers, exits: int) -> float:
    """How long it takes to judge a choice in full, roughly, on a slow core. No clock is read: results must repeat."""
    if answers.score == "patience":
        return 0.001 * 2.0 ** max(0, exits - 5)
    if problem.quantile is not None:
        return 0.003 * exits + 1.7e-6 * exits**2 * answers.samples
    return 0.05 + 2e-5 * exits * answers.samples


@dataclass(frozen=True)
class Judged:
    """A choice, judged in full.

    Attributes:
        whole: its operating points.
        staircase: those that are written: the most valuable ones, at most `MOST_POINTS`.
        most: expected value with all operating points.
        proved: whether no thresholds are worth more.
    """

    whole: Staircase
    staircase: Staircase
    most: float
    proved: bool


def judged(problem: Problem, answers: Answers, choice: Choice) -> Judged:
    """The operating points of a choice, optimised on all samples."""
    replay = Replay(problem, answers, choice)
    every = None if replay.skippable else every_threshold(replay)
    whole = replay.tidied(every or operating_points(replay))
    return Judged(whole, whole.thinned(problem, MOST_POINTS), whole.value(problem), every is not None)


def written_staircase(problem: Problem, answers: Answers, choice: Choice) -> Staircase:
    """The operating points of a choice as they are written: optimised on all samples, the most valuable ones kept."""
    return judged(problem, answers, choice).staircase


def _without_idle_exits(
    problem: Problem, answers: Answers, choice: Choice, staircase: Staircase
) -> tuple[Choice, Staircase]:
    """Drop exits that buy next to nothing, the least valuable first. A head that is off costs no time, so some stay
    in a choice by chance."""
    if answers.score != "patience":
        choice, staircase = _without_unused_exits(problem, choice, staircase)
    while choice:
        options = [choice[:k] + choice[k + 1 :] for k in range(len(choice))]
        options = [option for option in options if problem.allows(option)]
        found = {option: written_staircase(problem, answers, option) for option in options}
        best = max(found, key=lambda option: found[option].value(problem), default=choice)
        if best == choice or found[best].value(problem) < staircase.value(problem) - _WORTH_AN_EXIT:
            break
        choice, staircase = best, found[best]
    return choice, staircase


def _without_unused_exits(problem: Problem, choice: Choice, staircase: Staircase) -> tuple[Choice, Staircase]:
    """Drop exits that are off at every operating point, which changes nothing."""
    for k in reversed(range(len(choice))):
        fewer = choice[:k] + choice[k + 1 :]
        if np.isinf(staircase.thresholds[:, k]).all() and problem.allows(fewer):
            choice = fewer
            thresholds = np.delete(staircase.thresholds, k, axis=1)
            staircase = replace(staircase, thresholds=thresholds)
    return choice, staircase


def quick_value(problem: Problem, answers: Answers) -> Callable[[Choice], float]:
    """The expected value of a choice at good thresholds on a part of the samples, each choice judged once."""
    part = answers.every(-(-answers.samples // _QUICK_SAMPLES))
    known: dict[Choice, float] = {}

    def value(choice: Choice) -> float:
        if choice not in known:
            replay = Replay(problem, part, choice)
            staircase = operating_points(replay, quick=True)
            known[choice] = staircase.value(problem)
        return known[choice]

    return value
