"""A choice as a document: `chosen.json` and its like."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

from exitsearch.search.problem import Choice, Problem
from exitsearch.search.valuation import Valued
from exitsearch.search.value import contract_value, finish_times, interruptible_value
from exitsearch.specs.backbone import BackboneFacts
from exitsearch.specs.config import Confidence, ExitChoice, Expected, MultiExitConfig, Optimum
from exitsearch.specs.head import HeadChoice
from exitsearch.specs.outcomes import as_value
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.request import AskedRequest


def write_config(
    profile: Profile,
    outcomes: Valued,
    problem: Problem,
    choice: Choice,
    *,
    asked: AskedRequest,
    expected: Expected,
    optimum: Optimum,
    confidence: Confidence | None = None,
) -> MultiExitConfig:
    """The document of a choice.

    Args:
        profile: that the problem was built from.
        outcomes: the same; scores are written as in the document that was read.
        asked: what was asked.
        expected: what is predicted of it.
        optimum: the proof.
        confidence: the operating points, under that policy.
    """
    modules = _modules(profile, outcomes)
    chosen = problem.chosen(choice)
    # Where some candidates are not trained yet, others may be by the time that the proof is repeated.
    scores = {} if optimum.untrained is None else {"scores": scores_digest(problem, outcomes)}
    return MultiExitConfig(
        schema_version=MultiExitConfig.current_version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        backbone=_merged_facts(profile, outcomes),
        exits=[
            ExitChoice(
                placement=c.placement,
                module=modules.get(c.placement),
                head=HeadChoice.parse(c.head).type,
                options=HeadChoice.parse(c.head).options,
            )
            for c in chosen
        ],
        policy=problem.policy,
        budget=str(problem.budget),
        expected=expected,
        optimum=optimum,
        latency_ms=[float(time) for time in finish_times(problem, choice, policy="interruptible")],
        exit_scores=exit_scores(problem, choice, outcomes.document),
        fallback=problem.fallback if expected.worth else as_value(problem.fallback, outcomes.metric),
        price_of_not_knowing=max(0.0, contract_value(problem, choice) - interruptible_value(problem, choice)),
        confidence=confidence,
        request=asked,
        profile={"identity": profile.identity, "condition": profile.condition()},
        outcomes={"identity": outcomes.document.identity, "source": outcomes.source, **scores},
    )


def exit_scores(problem: Problem, choice: Choice, outcomes: Valued) -> dict[str, list[float]]:
    """Per split, the score of each chosen exit and last of the final exit."""
    pairs = [(c.placement, c.head) for c in problem.chosen(choice)]
    return {
        split: [
            *(as_value(outcomes.values(split)[pair], outcomes.metric) for pair in pairs),
            as_value(outcomes.final_value(split), outcomes.metric),
        ]
        for split in outcomes.splits
    }


def scores_digest(problem: Problem, outcomes: Valued) -> str:
    """16 hexadecimal digits that stand for the scores of a problem's candidates and of the final exit.

    They stay the same when further heads are trained beside them.
    """
    document = outcomes.document
    scores = {(head.placement, head.head): head.scores for head in document.heads}
    rows = [[c.placement, c.head, scores[c.placement, c.head]] for c in problem.candidates]
    facts = [document.metric, document.fallback, document.splits, document.final.scores, rows]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _modules(profile: Profile, outcomes: Valued) -> dict[int, str]:
    """Module name of each placement, from whichever document knows it."""
    sources: list[list[tuple[int, str | None]]] = [
        [(placement.index, placement.module) for placement in profile.placements],
        [(segment.placement, segment.module) for segment in profile.segments],
        [(outcome.placement, outcome.module) for outcome in outcomes.document.heads],
    ]
    names: dict[int, str] = {}
    for source in sources:
        for placement, module in source:
            if module is not None:
                names.setdefault(placement, module)
    return names


def _merged_facts(profile: Profile, outcomes: Valued) -> BackboneFacts:
    """Facts of the backbone: those of the outcomes, whose heads were trained for it, completed from the profile."""
    mine, other = outcomes.backbone.model_dump(), profile.backbone.model_dump()
    return BackboneFacts(**{key: other[key] if fact is None else fact for key, fact in mine.items()})
