"""Repeating the proof of a chosen.json: the question is built again from the file, solved, and held against it.

Under `interruptible` and `contract` everything follows from the documents, and must be the same. Under `confidence` the
operating points are replayed, and the optimum is an upper bound: the file may say more than what is proved now, not
less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exitsearch.errors import InputError
from exitsearch.search.build import build_problem
from exitsearch.search.document import exit_scores, scores_digest
from exitsearch.search.problem import Choice, Problem
from exitsearch.search.solver import solve
from exitsearch.search.thresholds.bounds import upper_bound
from exitsearch.search.thresholds.choose import choose_from
from exitsearch.search.thresholds.replay import Replay, Staircase
from exitsearch.search.thresholds.scores import Answers, build_answers
from exitsearch.search.untrained import Standing, candidates_of, settled
from exitsearch.search.utility import Utility
from exitsearch.search.valuation import Valuation, Valued
from exitsearch.search.value import expected_value, finish_times
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.outcomes import Outcomes, as_value
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.request import AskedRequest

# Numbers this close are the same, in units of the larger one or of 1.
TOLERANCE = 1e-9

Shown = str | float | None


@dataclass(frozen=True)
class Finding:
    """One thing that was held against the file.

    Attributes:
        what: in words.
        written: what the file says.
        found: what follows from the documents.
        same: whether they agree.
    """

    what: str
    written: Shown
    found: Shown
    same: bool

    def __str__(self) -> str:
        if self.same:
            return f"{self.what}: the same ({_shown(self.found)})"
        return f"{self.what}: {_shown(self.written)} in the file, {_shown(self.found)} found"


def repeat_proof(
    config: MultiExitConfig, profile: Profile, outcomes: Outcomes, *, utility: Utility | None = None
) -> list[Finding]:
    """Hold a chosen.json against the documents that it was computed from.

    Args:
        config: with the request that it answers.
        profile: of the costs; of several batch sizes the one that the file is of is taken.
        outcomes: of the values.
        utility: that the request names.

    Returns:
        What was compared: identities of the documents, budget, choice, limits, latencies, scores, value and optimum.

    Raises:
        InputError: the file holds no request, or was made with a utility that is not given.
    """
    asked = config.request
    if asked is None:
        raise InputError(
            "this chosen.json was written before requests were kept, so its proof cannot be repeated; search again"
        )
    if asked.worth != (utility.name if utility else None):
        raise InputError(
            f"this chosen.json was made for {asked.worth or 'the metric'}; name that with --worth or --class-weights"
        )
    profile = at_its_batch(config, profile)
    valued, standing, problem = _question(config, profile, outcomes, utility)
    findings = [
        _compared("profile", config.profile.get("identity"), profile.identity),
        _same_outcomes(config, outcomes, scores_digest(problem, valued)),
        _compared("request", asked.identity, asked.digest),
        _compared("policy", config.policy, problem.policy),
        _compared("budget", config.budget, str(problem.budget)),
        _compared("candidates", asked.pairs, len(problem.candidates)),
        _compared("fallback", config.fallback, _fallback(problem, valued, asked)),
    ]
    pairs = [(exit_.placement, str(exit_.choice)) for exit_ in config.exits]
    unknown = [f"{place}:{head}" for place, head in pairs if (place, head) not in problem.positions]
    findings.append(_compared("exits among the candidates", ", ".join(unknown) or "all", "all"))
    if unknown:
        return findings
    choice = tuple(sorted(problem.positions[pair] for pair in pairs))
    broken = [limit for limit, excess in problem.excess(choice).items() if excess > 0]
    findings.append(_compared("limits that are broken", ", ".join(broken) or "none", "none"))
    findings += _times_and_scores(config, problem, choice, valued)
    if config.policy == "confidence":
        return findings + _replayed(config, problem, choice, valued, asked)
    return findings + _solved(config, problem, choice, standing)


def _question(
    config: MultiExitConfig, profile: Profile, outcomes: Outcomes, utility: Utility | None
) -> tuple[Valuation, Standing | None, Problem]:
    """What was asked, from the documents: of the heads that were trained then, where more have been trained since."""
    asked, then = config.request, config.optimum.untrained
    assert asked is not None  # refused before
    if then is None:
        valued = Valuation(outcomes, utility, fallback=asked.fallback)
        return valued, None, build_problem(profile, valued, asked.question)[0]
    heads = [head for head in outcomes.heads if f"{head.placement}:{head.head}" not in then.exits]
    outcomes = outcomes.model_copy(update={"heads": heads})
    valued = Valuation(outcomes, utility, fallback=asked.fallback)
    lacking = [pair for pair in candidates_of(profile, asked.question) if pair not in settled(outcomes)]
    standing = Standing.of(profile, valued, asked.question, lacking)
    return valued, standing, standing.choosable


def _same_outcomes(config: MultiExitConfig, outcomes: Outcomes, scores: str) -> Finding:
    """Whether the outcomes are those of the file, or hold the same scores of its candidates beside further heads."""
    written, found = config.outcomes.get("identity"), outcomes.identity
    if written != found and config.optimum.untrained is not None and config.outcomes.get("scores") == scores:
        return _compared("scores of the candidates in the outcomes", scores, scores)
    return _compared("outcomes", written, found)


def _times_and_scores(config: MultiExitConfig, problem: Problem, choice: Choice, outcomes: Valued) -> list[Finding]:
    times = finish_times(problem, choice, policy="interruptible")
    findings = [
        _compared(f"latency_ms of {_name(config, k)}", written, float(found))
        for k, (written, found) in enumerate(zip(config.latency_ms, times, strict=True))
    ]
    for split, scores in exit_scores(problem, choice, outcomes.document).items():
        written: list[float | None] = [*config.exit_scores.get(split, [None] * len(scores))]
        pairs = enumerate(zip(written, scores, strict=True))
        findings += [_compared(f"{split} score of {_name(config, k)}", *pair) for k, pair in pairs]
    return findings


def _solved(config: MultiExitConfig, problem: Problem, choice: Choice, standing: Standing | None) -> list[Finding]:
    """Value and optimum, where the exact solver finds it, and what untrained candidates could add."""
    value, solution = expected_value(problem, choice), solve(problem, by_count=False)
    best = max(solution.bound, value)
    regret = 0.0 if choice == solution.choice and solution.exact else best - value
    findings = [
        _compared("expected value", config.expected.value, value),
        _compared("optimum", config.optimum.value, best),
        _compared("whether the optimum is exact", str(config.optimum.exact), str(solution.exact)),
        _compared("regret", config.optimum.regret, regret),
    ]
    if standing is None:
        return findings
    written, found = config.optimum.untrained, standing.could_add(value, optimum=best)
    assert written is not None  # without it there is no standing
    return [
        _compared("candidates, trained or not", written.candidates, found.candidates),
        _compared("untrained candidates", ", ".join(written.exits) or "none", ", ".join(found.exits) or "none"),
        _compared("assumption", written.assumption, found.assumption),
        *findings,
        _compared("upper bound of all candidates", written.value, found.value),
        _compared("what the untrained could add", written.could_add, found.could_add),
    ]


def _replayed(
    config: MultiExitConfig, problem: Problem, choice: Choice, outcomes: Valued, asked: AskedRequest
) -> list[Finding]:
    """Value and bound, where thresholds are replayed."""
    assert config.confidence is not None  # a rule of the document
    answers = build_answers(problem, outcomes, outcomes.choice_split, score=asked.score)
    replay = Replay(problem, answers, choice)
    temperatures = [float(answers.temperatures[row]) for row in choice]
    findings = [
        _compared(f"temperature of {_name(config, k)}", *pair)
        for k, pair in enumerate(zip(config.confidence.temperatures, temperatures, strict=False))
    ]
    points = config.confidence.points
    thresholds = np.array(
        [[np.inf if q is None else q for q in point.thresholds] for point in points], dtype=np.float64
    ).reshape(len(points), len(choice))
    found = np.array([replay.point(row) for row in thresholds]).reshape(len(points), 2)
    for number, (point, (cost, value)) in enumerate(zip(points, found.tolist(), strict=True)):
        findings.append(_compared(f"latency of operating point {number}", point.budget_ms, cost))
        findings.append(_compared(f"value of operating point {number}", point.value, value))
    staircase = Staircase(found[:, 0], found[:, 1], thresholds)
    value = staircase.value(problem)
    bound = _bound(config, problem, answers, staircase, asked)
    claimed = config.optimum.value
    holds = claimed >= bound - TOLERANCE * max(1.0, abs(bound))
    return [
        *findings,
        _compared("expected value", config.expected.value, value),
        Finding("upper bound", claimed, claimed if holds else bound, holds),
        _compared("regret", config.optimum.regret, max(0.0, claimed - value)),
    ]


def _bound(
    config: MultiExitConfig, problem: Problem, answers: Answers, staircase: Staircase, asked: AskedRequest
) -> float:
    """An upper bound as low as the file's, where one is found: quickly, or by the whole search again."""
    bound = upper_bound(problem, answers, staircase)
    if config.optimum.value >= bound:
        return bound
    return min(bound, choose_from(problem, answers, trials=asked.trials, seed=asked.seed).bound)


def at_its_batch(config: MultiExitConfig, profile: Profile) -> Profile:
    """The part of a profile that a file was made from; the whole profile where none is."""
    for size in profile.batch_sizes:
        part = profile.at_batch(size)
        if part.identity == config.profile.get("identity"):
            return part
    return profile


def _fallback(problem: Problem, outcomes: Valued, asked: AskedRequest) -> float:
    return problem.fallback if asked.worth else as_value(problem.fallback, outcomes.metric)


def _name(config: MultiExitConfig, number: int) -> str:
    """An exit by its number; the last one is the final exit."""
    if number >= len(config.exits):
        return "the final exit"
    return f"exit {config.exits[number].placement}:{config.exits[number].choice}"


def _compared(what: str, written: Shown, found: Shown) -> Finding:
    if isinstance(written, int | float) and isinstance(found, int | float):
        same = abs(written - found) <= TOLERANCE * max(1.0, abs(written), abs(found))
    else:
        same = written == found
    return Finding(what, written, found, same)


def _shown(value: Shown) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)
