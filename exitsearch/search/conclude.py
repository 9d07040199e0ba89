"""From the choice that was found to the result of a search: its document, its exits, its regret, and its notes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from exitsearch.search.document import exit_scores, write_config
from exitsearch.search.evaluate import Evaluation
from exitsearch.search.front.find import Front
from exitsearch.search.held_out import split_value
from exitsearch.search.problem import Choice, Problem
from exitsearch.search.result import ExitRow, FrontResult, FrontRow, SearchResult
from exitsearch.search.solver.exact import Solution, solve
from exitsearch.search.study import StudyResult
from exitsearch.search.study.front import FrontStudy
from exitsearch.search.untrained import Standing
from exitsearch.search.valuation import Valuation
from exitsearch.search.value import contract_value, finish_times
from exitsearch.specs.budget import latest_in_time
from exitsearch.specs.config import Confidence, Expected, MultiExitConfig, Optimum
from exitsearch.specs.memory import path_memory
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.request import AskedRequest


@dataclass(frozen=True)
class Question:
    """A request over the documents that answer it.

    Attributes:
        profile: costs of every segment and head.
        outcomes: what the heads are worth.
        problem: of the candidates that are trained.
        asked: the request as it is written down.
        notes: sentences that a user should read.
        standing: what the candidates that are not trained could add; None where nobody asked.
    """

    profile: Profile
    outcomes: Valuation
    problem: Problem
    asked: AskedRequest
    notes: tuple[str, ...]
    standing: Standing | None

    def config(
        self, choice: Choice, *, expected: Expected, optimum: Optimum, confidence: Confidence | None = None
    ) -> MultiExitConfig:
        """The document of a choice."""
        return write_config(
            self.profile,
            self.outcomes,
            self.problem,
            choice,
            asked=self.asked,
            expected=expected,
            optimum=optimum,
            confidence=confidence,
        )


@dataclass(frozen=True)
class Found:
    """A choice, and how it was found.

    Attributes:
        choice: positions of the chosen candidates in the problem.
        solution: the exact solver's.
        study: Optuna's; None without trials.
        judged: what the choice is worth.
        notes: sentences that a user should read.
    """

    choice: Choice
    solution: Solution
    study: StudyResult | None
    judged: Evaluation
    notes: tuple[str, ...] = ()


def conclude(question: Question, found: Found) -> SearchResult:
    """The result of a question whose choice was found."""
    problem, choice, judged = question.problem, found.choice, found.judged
    optimum = max(found.solution.bound, judged.value)
    config = _config(question, found, optimum=optimum)
    return SearchResult(
        config=config,
        problem=problem,
        choice=choice,
        rows=_rows(question, found, config),
        no_answer=judged.no_answer,
        baselines=judged.baselines,
        solution=found.solution,
        study=found.study,
        value=judged.value,
        value_medians=judged.value_medians,
        contract_value=contract_value(problem, choice),
        price_of_not_knowing=config.price_of_not_knowing or 0.0,
        contract_optimum=_contract_optimum(problem, found.solution),
        regret=config.optimum.regret,
        optuna_regret=_optuna_regret(found, optimum=optimum),
        held_out=judged.held_out,
        interval=judged.interval,
        optimism=None if judged.held_out is None else judged.value - judged.held_out,
        notes=[*question.notes, *found.notes, *_budget_notes(problem), *_verdict_notes(question.profile)],
        memory=path_memory(question.profile, [(c.placement, c.head) for c in problem.chosen(choice)]),
    )


def conclude_front(question: Question, solution: Solution, front: Front) -> FrontResult:
    """The front with a document for every point. Regret is against the best of all choices, whatever they cost."""
    problem, outcomes = question.problem, question.outcomes
    report = outcomes.report_split
    rows = []
    for point in front.points:
        value = point.amounts["value"]
        held_out = split_value(problem, point.choice, outcomes, report) if report else None
        best = max(solution.bound, value)
        regret = 0.0 if point.choice == solution.choice and solution.exact else best - value
        config = question.config(
            point.choice,
            expected=_expected(question, value=value, held_out=held_out, interval=None),
            optimum=Optimum(value=best, exact=solution.exact, regret=regret, proved_on_front=point.proved),
        )
        rows.append(FrontRow(point.amounts, point.proved, held_out, config))
    return FrontResult(front.names, rows, front.complete, front.study)


def _config(question: Question, found: Found, *, optimum: float) -> MultiExitConfig:
    """The document of the choice.

    Args:
        optimum: no choice is worth more.
    """
    solution, judged, standing = found.solution, found.judged, question.standing
    # Under confidence the optimum may be another choice's: exits that buy next to nothing are dropped.
    is_optimum = found.choice == solution.choice and solution.exact and question.problem.policy != "confidence"
    return question.config(
        found.choice,
        expected=_expected(question, value=judged.value, held_out=judged.held_out, interval=judged.interval),
        optimum=Optimum(
            value=optimum,
            exact=solution.exact,
            regret=0.0 if is_optimum else max(0.0, optimum - judged.value),
            untrained=standing.could_add(judged.value, optimum=optimum) if standing else None,
        ),
        confidence=judged.confidence,
    )


def _expected(
    question: Question, *, value: float, held_out: float | None, interval: tuple[float, float] | None
) -> Expected:
    outcomes = question.outcomes
    return Expected(
        value=value,
        metric=outcomes.document.metric,
        policy=question.problem.policy,
        split=outcomes.choice_split,
        held_out=held_out,
        interval=interval,
        worth=outcomes.utility_name,
    )


def _contract_optimum(problem: Problem, solution: Solution) -> float:
    """Best value of any choice when budgets are known beforehand."""
    if problem.policy == "contract":
        return solution.value
    return solve(replace(problem, policy="contract"), by_count=False).value


def _optuna_regret(found: Found, *, optimum: float) -> float | None:
    """Optimum minus the best trial that Optuna drew itself; None without such a trial or without a proof."""
    without_first = found.study.value_without_first if found.study else float("-inf")
    if without_first == float("-inf") or not found.solution.exact:
        return None
    return max(0.0, optimum - without_first)


def _rows(question: Question, found: Found, config: MultiExitConfig) -> list[ExitRow]:
    problem, choice, outcomes = question.problem, found.choice, question.outcomes
    times = finish_times(problem, choice)
    report = outcomes.report_split
    modules = {exit_.placement: exit_.module for exit_ in config.exits}
    scores = exit_scores(problem, choice, outcomes)
    return [
        ExitRow(
            placement=c.placement if c else None,
            module=modules[c.placement] if c else None,
            head=c.head if c else None,
            arrives_ms=float(times[index]),
            head_ms=c.head_ms if c else 0.0,
            choice_score=scores[outcomes.choice_split][index],
            report_score=scores[report][index] if report else None,
            chance=found.judged.chances[index],
        )
        for index, c in enumerate([*problem.chosen(choice), None])
    ]


def _budget_notes(problem: Problem) -> list[str]:
    """Whether the budgets are such that no choice matters, with the range that would be meaningful."""
    low, high = problem.budget.support()
    first = min([problem.final_ms, *(c.arrival_ms + c.head_ms for c in problem.candidates)])
    full = f"the full model's latency of {problem.final_ms:.4g} ms"
    hint = f"meaningful budgets lie between {first:.4g} ms, the fastest answer, and {full}"
    found = f"({low:.4g} to {high:.4g} ms)" if high > low else f"({low:.4g} ms)"
    if low > problem.final_ms:
        return [f"every budget {found} lies above {full}, so the backbone alone is always in time; {hint}"]
    if latest_in_time(high) < first:
        return [
            f"every budget {found} lies below the first possible answer at {first:.4g} ms, so none is in time; {hint}"
        ]
    return []


def study_notes(study: StudyResult | FrontStudy | None, *, trials: int) -> list[str]:
    """Whether a study is less than, or nothing but, what it was asked for: so many trials."""
    if study is None:
        return []
    if study.interrupted:
        return [f"interrupted after {study.trials} of {trials} trials; run the same command again to go on"]
    if not study.drawn:
        return [
            f"no new trial was drawn, whatever the seed: the study {study.name} holds {study.trials} trials of earlier "
            "runs; for more give a larger --trials, for those of another seed another --storage"
        ]
    return []


def _verdict_notes(profile: Profile) -> list[str]:
    if profile.verdict.status in ("ok", "given"):
        return []
    first = profile.verdict.reasons[0] if profile.verdict.reasons else None
    why = f" for {first.what} ({first.number:.3g}); {first.remedy}" if first else ""
    others = len(profile.verdict.reasons) - 1
    more = f"; exitsearch check names {others} more reasons" if others > 0 else ""
    return [f"the times of the profile are in doubt: its verdict is {profile.verdict.status}{why}{more}"]
