"""The whole search: choose with the exact solver and Optuna, compare with the baselines, judge on held-out samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from exitsearch.errors import InputError
from exitsearch.search.build import build_problem
from exitsearch.search.document import exit_scores, write_config
from exitsearch.search.evaluate import Evaluation, evaluate_samples, evaluate_values
from exitsearch.search.front.aims import Aims, read_objectives
from exitsearch.search.front.find import Front, find_front
from exitsearch.search.held_out import split_value
from exitsearch.search.problem import Choice, Problem
from exitsearch.search.result import ExitRow, FrontResult, FrontRow, SearchResult
from exitsearch.search.solver.exact import TOLERANCE, Solution, solve
from exitsearch.search.study import OnTrial, StudyResult, run_study
from exitsearch.search.study.front import FrontStudy
from exitsearch.search.thresholds.choose import choose
from exitsearch.search.untrained import Standing
from exitsearch.search.utility import Utility, given_utility
from exitsearch.search.valuation import Valuation, Valued
from exitsearch.search.value import contract_value, expected_value, finish_times
from exitsearch.specs.budget import BudgetDistribution, latest_in_time
from exitsearch.specs.config import Expected, MultiExitConfig, Optimum
from exitsearch.specs.memory import path_memory
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.candidates import Pair
from exitsearch.specs.question.request import TRIALS, AskedRequest, SearchRequest


def search(
    profile: Profile,
    outcomes: Outcomes,
    *,
    budget: BudgetDistribution | str,
    utility: Utility | None = None,
    trials: int = TRIALS,
    seed: int = 0,
    storage: str | None = None,
    on_trial: OnTrial | None = None,
    **asked: Any,
) -> SearchResult:
    """Choose exits for a budget distribution; `search_request` with the request made from keywords.

    Args:
        budget: a distribution or its text (`uniform:10,80`); shares (`10%`) are of the profile's full model.
        asked: the other keywords of `SearchRequest.asked`: policy, limits, candidates, a search space, objectives.
    """
    utility = given_utility(utility, asked)
    request = SearchRequest.asked(budget=budget, **asked)
    return search_request(
        profile, outcomes, request, utility=utility, trials=trials, seed=seed, storage=storage, on_trial=on_trial
    )


def search_request(
    profile: Profile,
    outcomes: Outcomes,
    request: SearchRequest,
    *,
    utility: Utility | None = None,
    trials: int = TRIALS,
    seed: int = 0,
    storage: str | None = None,
    on_trial: OnTrial | None = None,
    untrained: Iterable[Pair] | None = None,
) -> SearchResult:
    """Answer a request.

    Args:
        profile: costs of every segment and head; its times must be measured or given.
        outcomes: value of every head, of the same backbone.
        request: the question. With objectives the result has a front of them, into which Optuna's trials go; the
            choice itself is the point of the highest value.
        utility: what an answer is worth, where the request names it; `fallback` and least values are then utilities.
        trials: Optuna trials in all, those of earlier runs in the same storage included; 0 leaves Optuna out.
        seed: seed of Optuna's sampler and of the bootstrap.
        storage: where Optuna keeps its study; None for memory.
        on_trial: called after every trial with the number of finished trials and the best value so far.
        untrained: further candidates, whose heads could be trained. They are not chosen from; the result says what they
            could add. None: what the outcomes lack is no candidate, and nothing is said.

    Raises:
        InputError: an option or a combination of documents that cannot be searched.
        MismatchError: profile and outcomes are of different backbones.
    """
    given = utility.name if utility else None
    if given != request.worth:
        raise InputError(
            f"the request is for {request.worth or 'the metric'}, given is {given or 'no utility'}; give the one that "
            "it names with --worth or --class-weights"
        )
    if request.metric is not None and request.metric != outcomes.metric:
        raise InputError(f"the outcomes hold {outcomes.metric}, asked was for {request.metric}; leave --metric out")
    valued = Valuation(outcomes, utility, fallback=request.fallback)
    problem, notes, standing = _question(profile, valued, request, untrained)
    asked = AskedRequest(
        **dict(request),
        seed=seed,
        trials=trials,
        pairs=len(problem.candidates),
        choices=problem.choices,
    ).identified()
    aims = Aims(problem, read_objectives(request.objectives, problem, profile)) if request.objectives else None
    if request.policy == "confidence":
        found = choose(
            problem, valued, score=request.score, trials=trials, seed=seed, storage=storage, on_trial=on_trial
        )
        judged = evaluate_samples(problem, found, valued, seed=seed)
        solution = Solution(found.choice, judged.value, exact=found.exact, bound=found.bound, by_count=())
        if found.tried is not None:
            notes.append(f"the choices are few: every one that can be best was judged in full ({found.tried})")
        notes += _study_notes(found.study, trials)
        return _result(profile, valued, problem, asked, found.choice, solution, found.study, judged, notes, standing)
    solution = solve(problem)
    study = None
    choice = solution.choice
    if trials and aims is None:
        study = run_study(problem, trials=trials, seed=seed, storage=storage, first=choice, on_trial=on_trial)
        if expected_value(problem, study.choice) > solution.value + TOLERANCE * max(1.0, abs(solution.value)):
            assert not solution.exact, "a trial beats the optimum that the exact solver has proved"
            choice = study.choice
    front = None
    if aims is not None:
        front = find_front(aims, solution, trials=trials, seed=seed, storage=storage, on_trial=on_trial)
        # As valuable as the solver's or, where that is not proved, more; of equal ones one that costs no more.
        choice = front.points[0].choice
    judged = evaluate_values(problem, choice, valued, seed=seed)
    notes += _study_notes(front.study if front is not None else study, trials)
    result = _result(profile, valued, problem, asked, choice, solution, study, judged, notes, standing)
    if front is None:
        return result
    return replace(result, front=_front(profile, valued, problem, asked, solution, front))


def _question(
    profile: Profile, valued: Valuation, request: SearchRequest, untrained: Iterable[Pair] | None
) -> tuple[Problem, list[str], Standing | None]:
    """The problem of the trained candidates, warnings, and where the question stands, if that was asked."""
    lacking = None if untrained is None else list(untrained)
    if lacking is not None and not (lacking and request.policy == "confidence"):
        standing = Standing.of(profile, valued, request, lacking)
        return standing.choosable, [*standing.notes], standing
    problem, notes = build_problem(profile, valued, request)
    if lacking:
        notes.append(
            f"{len(lacking)} further candidates of the profile are not trained and take no part; the policy confidence "
            "has no optimum to ask for what they could add"
        )
    return problem, notes, None


def _result(
    profile: Profile,
    outcomes: Valued,
    problem: Problem,
    asked: AskedRequest,
    choice: Choice,
    solution: Solution,
    study: StudyResult | None,
    judged: Evaluation,
    notes: list[str],
    standing: Standing | None = None,
) -> SearchResult:
    value = judged.value
    contract = contract_value(problem, choice)
    if problem.policy == "contract":
        contract_optimum = solution.value
    else:
        contract_optimum = solve(replace(problem, policy="contract"), by_count=False).value
    optimum = max(solution.bound, value)
    regret = max(0.0, optimum - value)
    # Under confidence the optimum may be another choice's: exits that buy next to nothing are dropped.
    if choice == solution.choice and solution.exact and problem.policy != "confidence":
        regret = 0.0
    config = write_config(
        profile,
        outcomes,
        problem,
        choice,
        asked=asked,
        expected=_expected(problem, outcomes, value, judged.held_out, judged.interval),
        optimum=Optimum(
            value=optimum,
            exact=solution.exact,
            regret=regret,
            untrained=standing.could_add(value, optimum=optimum) if standing else None,
        ),
        confidence=judged.confidence,
    )
    without_first = study.value_without_first if study else float("-inf")
    return SearchResult(
        config=config,
        problem=problem,
        choice=choice,
        rows=_rows(problem, config, choice, outcomes, judged.chances),
        no_answer=judged.no_answer,
        baselines=judged.baselines,
        solution=solution,
        study=study,
        value=value,
        value_medians=judged.value_medians,
        contract_value=contract,
        price_of_not_knowing=config.price_of_not_knowing or 0.0,
        contract_optimum=contract_optimum,
        regret=regret,
        optuna_regret=None
        if without_first == float("-inf") or not solution.exact
        else max(0.0, optimum - without_first),
        held_out=judged.held_out,
        interval=judged.interval,
        optimism=None if judged.held_out is None else value - judged.held_out,
        notes=[*notes, *_budget_notes(problem), *_verdict_notes(profile)],
        memory=path_memory(profile, [(c.placement, c.head) for c in problem.chosen(choice)]),
    )


def _expected(
    problem: Problem, outcomes: Valued, value: float, held_out: float | None, interval: tuple[float, float] | None
) -> Expected:
    return Expected(
        value=value,
        metric=outcomes.document.metric,
        policy=problem.policy,
        split=outcomes.choice_split,
        held_out=held_out,
        interval=interval,
        worth=outcomes.utility_name,
    )


def _front(
    profile: Profile, outcomes: Valued, problem: Problem, asked: AskedRequest, solution: Solution, front: Front
) -> FrontResult:
    """The front with a document for every point. Regret is against the best of all choices, whatever they cost."""
    report = outcomes.report_split
    rows = []
    for point in front.points:
        value = point.amounts["value"]
        held_out = split_value(problem, point.choice, outcomes, report) if report else None
        expected = _expected(problem, outcomes, value, held_out, None)
        best = max(solution.bound, value)
        regret = 0.0 if point.choice == solution.choice and solution.exact else best - value
        optimum = Optimum(value=best, exact=solution.exact, regret=regret, proved_on_front=point.proved)
        config = write_config(profile, outcomes, problem, point.choice, asked=asked, expected=expected, optimum=optimum)
        rows.append(FrontRow(point.amounts, point.proved, held_out, config))
    return FrontResult(front.names, rows, front.complete, front.study)


def _rows(
    problem: Problem, config: MultiExitConfig, choice: Choice, outcomes: Valued, chances: list[float]
) -> list[ExitRow]:
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
            chance=chances[index],
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


def _study_notes(study: StudyResult | FrontStudy | None, trials: int) -> list[str]:
    """Whether a study is less than, or nothing but, what it was asked for."""
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
