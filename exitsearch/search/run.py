"""The whole search: choose with the exact solver and Optuna, compare with the baselines, judge on held-out samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from exitsearch.errors import InputError, one_of
from exitsearch.search.confident import choose
from exitsearch.search.exact import TOLERANCE, Solution, solve
from exitsearch.search.front import Front, find_front
from exitsearch.search.held_out import split_value
from exitsearch.search.judge import Judgement, judge_by_samples, judge_by_values
from exitsearch.search.limits import with_limits
from exitsearch.search.objectives import Aims, check_objectives, read_objectives
from exitsearch.search.problem import Choice, Problem, allowed_placements, build_problem
from exitsearch.search.result import ExitRow, FrontResult, FrontRow, SearchResult
from exitsearch.search.study import OnTrial, StudyResult, run_study
from exitsearch.search.value import contract_value, expected_value, finish_times
from exitsearch.search.worth import Worth, by_worth
from exitsearch.search.written import exit_scores, write_config
from exitsearch.specs.budget import BudgetDistribution
from exitsearch.specs.config import POLICIES, SCORES, Expected, MultiExitConfig, Optimum, Policy, Score
from exitsearch.specs.limits import Limits
from exitsearch.specs.memory import path_memory
from exitsearch.specs.outcomes import Metric, Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.space import SearchSpace


def search(
    profile: Profile,
    outcomes: Outcomes,
    *,
    budget: BudgetDistribution | str,
    policy: Policy = "interruptible",
    score: Score = "softmax",
    quantile: float | None = None,
    max_exits: int | None = None,
    max_params: int | None = None,
    max_memory_bytes: int | None = None,
    max_energy_mj: float | None = None,
    min_values: Sequence[str] = (),
    force: Sequence[str] = (),
    forbid: Sequence[str] = (),
    heads: Sequence[str] | None = None,
    placements: str | Iterable[int] | None = None,
    space: SearchSpace | None = None,
    fallback: float | None = None,
    metric: Metric | None = None,
    worth: Worth | None = None,
    objectives: Sequence[str] = (),
    trials: int = 200,
    seed: int = 0,
    storage: str | None = None,
    on_trial: OnTrial | None = None,
) -> SearchResult:
    """Choose exits for a budget distribution.

    Args:
        profile: costs of every segment and head; its times must be measured or given.
        outcomes: value of every head, of the same backbone.
        budget: a distribution or its text (`uniform:10,80`); shares (`10%`) are of the profile's full model.
        policy: `interruptible` (the budget strikes unannounced), `contract` (it is known beforehand) or `confidence`
            (an input leaves at the first exit that is sure enough; the budget limits the mean latency).
        score: how sure an answer is, under `confidence`: `softmax`, `entropy`, `margin` or `patience`.
        quantile: above 0 and below 1: under `confidence` a budget limits this quantile of the latency over samples, as
            0.95, instead of the mean.
        max_exits: most exits beside the final one.
        max_params: most parameters of all exit heads.
        max_memory_bytes: most bytes of the whole model, weights and activations.
        max_energy_mj: most energy of an answer, for one batch.
        min_values: what the answer must be worth within a budget, as `20ms=0.7`.
        force: exits that must stand, `PLACEMENT` or `PLACEMENT:HEAD`.
        forbid: exits that must not.
        heads: heads to choose from; None allows all that both documents hold.
        placements: placements to choose from, numbers or a text like `0,2,4-8`; None allows all.
        space: further bounds on heads and placements, and further limits: each holds beside those given here.
        fallback: score of having no answer in time; None takes the one that the outcomes know.
        metric: what the outcomes must hold; None takes what they hold.
        worth: what an answer is worth instead of the metric (`worth.py`); `fallback` and `min_values` are then worths.
        objectives: `value` and one or two of `params`, `energy` and `time` (`objectives.py`): the result then has a
            front of them, into which Optuna's trials go; the choice itself is the point of the highest value.
        trials: Optuna trials in all, those of earlier runs in the same storage included; 0 leaves Optuna out.
        seed: seed of Optuna's sampler and of the bootstrap.
        storage: where Optuna keeps its study; None for memory.
        on_trial: called after every trial with the number of finished trials and the best value so far.

    Raises:
        InputError: an option or a combination of documents that cannot be searched.
        MismatchError: profile and outcomes are of different backbones.
    """
    check_questions(policy=policy, score=score, quantile=quantile, objectives=objectives)
    if metric is not None and metric != outcomes.metric:
        raise InputError(f"the outcomes hold {outcomes.metric}, asked was for {metric}; leave --metric out")
    if worth is not None:
        outcomes, fallback = by_worth(outcomes, worth, fallback=fallback), None
    # The one place where the limits of the options and of the space meet: both hold.
    limits = Limits.checked(
        max_exits=max_exits,
        max_extra_params=max_params,
        max_memory=max_memory_bytes,
        max_energy=max_energy_mj,
        min_value_at=list(min_values),
        force=list(force),
        forbid=list(forbid),
    ).tightened(space.limits if space else Limits())
    problem, notes = build_problem(
        profile,
        outcomes,
        budget=budget,
        policy=policy,
        fallback=fallback,
        candidates=space.candidates(len(profile.segments), placements=profile.placements) if space else None,
        heads=heads,
        placements=_placements(placements, space, profile),
        max_exits=limits.max_exits,
    )
    problem = with_limits(problem, profile, limits, metric=outcomes.metric)
    problem = replace(problem, quantile=quantile)
    aims = Aims(problem, read_objectives(objectives, problem, profile)) if objectives else None
    if policy == "confidence":
        found = choose(problem, outcomes, score=score, trials=trials, seed=seed, storage=storage, on_trial=on_trial)
        judged = judge_by_samples(problem, found, outcomes, seed=seed)
        solution = Solution(found.choice, judged.value, exact=found.exact, bound=found.bound, by_count=())
        if found.tried is not None:
            notes = [*notes, f"the choices are few: all {found.tried} that can be best were judged in full"]
        return _result(profile, outcomes, problem, found.choice, solution, found.study, judged, notes)
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
    judged = judge_by_values(problem, choice, outcomes, seed=seed)
    result = _result(profile, outcomes, problem, choice, solution, study, judged, notes)
    if front is None:
        return result
    return replace(result, front=_front(profile, outcomes, problem, solution, front))


def check_questions(*, policy: Policy, score: Score, quantile: float | None, objectives: Sequence[str]) -> None:
    """Whether a search can be asked for these, before profile and outcomes are at hand; arguments as in `search`.

    Raises:
        InputError: an unknown name, or a combination that no profile makes possible.
    """
    if policy not in POLICIES:
        raise one_of("policy", policy, POLICIES)
    if score not in SCORES:
        raise one_of("confidence", score, SCORES)
    if quantile is not None and (policy != "confidence" or not 0 < quantile < 1):
        raise InputError(
            f"a quantile of the latency, above 0 and below 1, goes with the policy confidence, whose inputs take "
            f"different times; found {quantile:g} with {policy}"
        )
    if objectives:
        check_objectives(objectives, policy)


def _placements(asked: str | Iterable[int] | None, space: SearchSpace | None, profile: Profile) -> list[int]:
    """Placements that both the user and the space allow."""
    texts = (asked, space.placements if space else None)
    both = [allowed_placements(text, len(profile.segments), facts=profile.placements) for text in texts]
    return sorted(both[0] & both[1])


def _result(
    profile: Profile,
    outcomes: Outcomes,
    problem: Problem,
    choice: Choice,
    solution: Solution,
    study: StudyResult | None,
    judged: Judgement,
    notes: list[str],
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
        expected=_expected(problem, outcomes, value, judged.held_out, judged.interval),
        optimum=Optimum(value=optimum, exact=solution.exact, regret=regret),
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
    problem: Problem, outcomes: Outcomes, value: float, held_out: float | None, interval: tuple[float, float] | None
) -> Expected:
    return Expected(
        value=value,
        metric=outcomes.document.metric,
        policy=problem.policy,
        split=outcomes.choice_split,
        held_out=held_out,
        interval=interval,
        worth=outcomes.worth_name,
    )


def _front(profile: Profile, outcomes: Outcomes, problem: Problem, solution: Solution, front: Front) -> FrontResult:
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
        config = write_config(profile, outcomes, problem, point.choice, expected=expected, optimum=optimum)
        rows.append(FrontRow(point.amounts, point.proved, held_out, config))
    return FrontResult(front.names, rows, front.complete, front.study)


def _rows(
    problem: Problem, config: MultiExitConfig, choice: Choice, outcomes: Outcomes, chances: list[float]
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
    first = min(candidate.arrival_ms + candidate.head_ms for candidate in problem.candidates)
    first = min(first, problem.final_ms)
    full = f"the full model's latency of {problem.final_ms:.4g} ms"
    hint = f"meaningful budgets lie between {first:.4g} ms, the fastest answer, and {full}"
    found = f"({low:.4g} to {high:.4g} ms)" if high > low else f"({low:.4g} ms)"
    if low > problem.final_ms:
        return [f"every budget {found} lies above {full}, so the backbone alone is always in time; {hint}"]
    if high < first:
        return [
            f"every budget {found} lies below the first possible answer at {first:.4g} ms, so none is in time; {hint}"
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
