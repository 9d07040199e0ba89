"""The whole search: choose with the exact solver and Optuna, compare with the baselines, judge on held-out samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from exitsearch.errors import InputError
from exitsearch.search.build import build_problem
from exitsearch.search.conclude import Found, Question, conclude, conclude_front, study_notes
from exitsearch.search.evaluate import evaluate_samples, evaluate_values
from exitsearch.search.front.aims import Aims, read_objectives
from exitsearch.search.front.find import find_front
from exitsearch.search.result import SearchResult
from exitsearch.search.solver.exact import TOLERANCE, Solution, solve
from exitsearch.search.study import OnTrial, run_study
from exitsearch.search.thresholds.choose import choose
from exitsearch.search.untrained import Standing
from exitsearch.search.utility import Utility, given_utility
from exitsearch.search.valuation import Valuation
from exitsearch.search.value import expected_value
from exitsearch.specs.budget import BudgetDistribution
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
    valued, effort = Valuation(outcomes, utility, fallback=request.fallback), _Effort(trials, seed, storage, on_trial)
    question = _question(profile, valued, request, untrained, effort)
    return _by_samples(question, effort) if request.policy == "confidence" else _by_values(question, effort)


@dataclass(frozen=True)
class _Effort:
    """How much is searched: what `search_request` is given under these names."""

    trials: int
    seed: int
    storage: str | None
    on_trial: OnTrial | None

    @property
    def study(self) -> dict[str, Any]:
        """The keywords of a study."""
        return {"trials": self.trials, "seed": self.seed, "storage": self.storage, "on_trial": self.on_trial}


def _question(
    profile: Profile, valued: Valuation, request: SearchRequest, untrained: Iterable[Pair] | None, effort: _Effort
) -> Question:
    """The problem of the trained candidates, warnings, and where the question stands, if that was asked."""
    lacking = None if untrained is None else list(untrained)
    standing: Standing | None = None
    if lacking is not None and not (lacking and request.policy == "confidence"):
        standing = Standing.of(profile, valued, request, lacking)
        problem, notes = standing.choosable, [*standing.notes]
    else:
        problem, notes = build_problem(profile, valued, request)
    if lacking and standing is None:
        notes.append(
            f"{len(lacking)} further candidates of the profile are not trained and take no part; the policy confidence "
            "has no optimum to ask for what they could add"
        )
    asked = AskedRequest(
        **dict(request),
        seed=effort.seed,
        trials=effort.trials,
        pairs=len(problem.candidates),
        choices=problem.choices,
    )
    return Question(profile, valued, problem, asked.identified(), tuple(notes), standing)


def _by_samples(question: Question, effort: _Effort) -> SearchResult:
    """Choose exits and their thresholds, every choice judged over the samples: the policy confidence."""
    problem, valued = question.problem, question.outcomes
    found = choose(problem, valued, score=question.asked.score, **effort.study)
    judged = evaluate_samples(problem, found, valued, seed=effort.seed)
    solution = Solution(found.choice, judged.value, exact=found.exact, bound=found.bound, by_count=())
    notes = study_notes(found.study, trials=effort.trials)
    if found.tried is not None:
        tried = f"the choices are few: every one that can be best was judged in full ({found.tried})"
        notes = [tried, *notes]
    return conclude(question, Found(found.choice, solution, found.study, judged, tuple(notes)))


def _by_values(question: Question, effort: _Effort) -> SearchResult:
    """Choose exits with the exact solver, and Optuna beside it or, with objectives, along their front."""
    problem, objectives = question.problem, question.asked.objectives
    aims = Aims(problem, read_objectives(objectives, problem, question.profile)) if objectives else None
    solution = solve(problem)
    choice, study, front = solution.choice, None, None
    if aims is not None:
        front = find_front(aims, solution, **effort.study)
        # As valuable as the solver's or, where that is not proved, more; of equal ones one that costs no more.
        choice = front.points[0].choice
    elif effort.trials:
        study = run_study(problem, first=choice, **effort.study)
        if expected_value(problem, study.choice) > solution.value + TOLERANCE * max(1.0, abs(solution.value)):
            assert not solution.exact, "a trial beats the optimum that the exact solver has proved"
            choice = study.choice
    judged = evaluate_values(problem, choice, question.outcomes, seed=effort.seed)
    notes = study_notes(front.study if front is not None else study, trials=effort.trials)
    result = conclude(question, Found(choice, solution, study, judged, tuple(notes)))
    return result if front is None else replace(result, front=conclude_front(question, solution, front))
