"""What the published accuracies imply: the best exits for five families of budgets on every profile at hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from exitsearch.search.baselines import Baseline, baselines
from exitsearch.search.build import build_problem, forced
from exitsearch.search.problem import Choice, Problem
from exitsearch.search.solver.exact import Solution, solve
from exitsearch.search.value import contract_value, expected_value
from exitsearch.specs.budgets.steps import Trace
from exitsearch.specs.load import load_outcomes, load_profile
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.request import SearchRequest
from reproduce.page import Figures

DATA = {"CIFAR-10": "published:mevit-cifar10", "CIFAR-100": "published:mevit-cifar100"}
COUNTS = "published:mevit-gmacs"
POLICIES = ("interruptible", "contract")
# In shares of the full model's time, so that every profile is asked the same. The trace is made below.
FAMILIES = {
    "uniform": "uniform:10%,150%",
    "lognormal": "lognormal:60%,0.6",
    "exponential": "exponential:60%",
    "mixture of points": "mix:0.5*point:60%+0.5*discrete:15%@0.4,35%@0.4,120%@0.2",
    "trace": "trace",
}
HEADS = ("mlp_ee", "cnn_ignore_ee", "cnn_add_ee", "cnn_project_ee", "vit_ee", "mlp_mixer_ee", "resmlp_ee")
_RULES = ("at every placement", "equally spaced")
# What an independent solver found once (not this one): values to four decimals.
INDEPENDENT = {
    "no exits": 0.3163,
    "best single exit": 0.6734,
    "interruptible optimum": 0.7912,
    "contract, all 77 heads": 0.8214,
}
# For the heads together: no resmlp_ee, mlp_mixer_ee or vit_ee has as few.
FEW_PARAMS = 3_000_000
# What changes a value less than this is rounding.
NOTHING = 1e-9


def trace_shares(length: int = 600) -> list[float]:
    """Budgets as shares of the full model's time, as a load that comes and goes leaves them.

    Two waves of 97 and 13 requests around 60%: `max(8, 60 + 45 sin(2 pi i / 97) + 20 sin(2 pi i / 13))`, in percent.
    """
    turns = [2 * math.pi * i for i in range(length)]
    return [max(8.0, 60 + 45 * math.sin(turn / 97) + 20 * math.sin(turn / 13)) / 100 for turn in turns]


def profiles(folder: Path) -> dict[str, Profile]:
    """The published counts and every measured profile that holds all seven heads, by name."""
    found = {COUNTS: load_profile(COUNTS)}
    for path in sorted(folder.glob("*/*.json")):
        profile = load_profile(path)
        if profile.is_timed and set(HEADS) <= {cost.head for cost in profile.heads}:
            found[path.stem] = profile
    return found


def find(folder: Path, *, only: Sequence[tuple[str, str, str, str]] | None = None) -> Figures:
    """The optimum of every case, what one would do without a search, and what each head type is worth in it.

    Args:
        folder: of the measured profiles.
        only: which (data, profile, policy, family) to do; None: all.
    """
    known = profiles(folder)
    cases = []
    for data, name, policy, family in only or [
        (data, name, policy, family) for data in DATA for name in known for policy in POLICIES for family in FAMILIES
    ]:
        problem = _problem(known[name], data, policy, family)
        own = known[name].backbone.name == load_outcomes(DATA[data]).backbone.name
        cases.append({"data": data, "profile": name, "own_backbone": own, "family": family, **_case(problem)})
    return {
        "anchor": anchor(),
        "families": FAMILIES,
        "profiles": {
            name: {
                "backbone": profile.backbone.name,
                "full_ms": profile.full_ms,
                "verdict": profile.verdict.status,
                "head_shares": _head_shares(profile),
            }
            for name, profile in known.items()
        },
        "cases": cases,
    }


def _head_shares(profile: Profile) -> dict[str, float]:
    """What each head type takes at the median placement, as a share of the full model."""
    found = {}
    for head in HEADS:
        times = sorted(cost.latency_ms or 0.0 for cost in profile.heads if cost.head == head)
        found[head] = times[len(times) // 2] / profile.full_ms
    return found


def _problem(profile: Profile, data: str, policy: str, family: str) -> Problem:
    outcomes = load_outcomes(DATA[data])
    # The accuracies stand in for those of the other backbones, of which nothing was published.
    profile = profile.model_copy(update={"backbone": outcomes.backbone})
    text = "point:100%" if family == "trace" else FAMILIES[family]
    request = SearchRequest.asked(budget=text, policy=policy, heads=",".join(HEADS), placements="0-10")
    problem, _ = build_problem(profile, outcomes, request)
    if family != "trace":
        return problem
    made = Trace("made", tuple(100 * share for share in trace_shares()), profile.full_ms / 100)
    return replace(problem, budget=made)


def _case(problem: Problem) -> Figures:
    best = _solved(problem)
    shown = {row.name: row for row in baselines(problem)}
    rules = [row for row in shown.values() if row.name.endswith(_RULES)]
    rule = max(rules, key=lambda row: row.value)
    used = {problem.candidates[position].head for position in best.choice}
    return {
        "policy": problem.policy,
        "value": best.value,
        "proved": best.exact,
        "exits": _exits(problem, best.choice),
        "backbone_alone": shown["backbone alone"].value,
        "best_single": _baseline(problem, shown["best single exit"]),
        "best_rule": _baseline(problem, rule),
        "greedy": _baseline(problem, shown["greedy adding"]),
        "used": [head for head in HEADS if head in used],
        "worth": {head: max(0.0, best.value - _without(problem, head)) for head in HEADS},
        "alone": {head: best.value - _only(problem, head) for head in HEADS},
        "loss": {head: _loss(problem, head, best.value) for head in HEADS if head not in used},
    }


def _solved(problem: Problem) -> Solution:
    found = solve(problem, by_count=False)
    assert found.exact, "problems of 77 candidates are solved exactly"
    return found


def _without(problem: Problem, head: str) -> float:
    """The best value where a head type may not be chosen."""
    return _solved(replace(problem, candidates=tuple(c for c in problem.candidates if c.head != head))).value


def _only(problem: Problem, head: str) -> float:
    """The best value where no other head type may be chosen."""
    return _solved(replace(problem, candidates=tuple(c for c in problem.candidates if c.head == head))).value


def _loss(problem: Problem, head: str, best: float) -> float | None:
    """The least that is lost where a head type must be chosen at least once.

    None under `contract`, where a head that is not run costs nothing.
    """
    if problem.policy == "contract":
        return None
    places = [c.placement for c in problem.candidates if c.head == head]
    return max(0.0, best - max(_solved(forced(problem, [f"{place}:{head}"], [])).value for place in places))


def _exits(problem: Problem, choice: Choice) -> list[list[object]]:
    return [[problem.candidates[position].placement, problem.candidates[position].head] for position in choice]


def _baseline(problem: Problem, row: Baseline) -> Figures:
    return {"name": row.name, "value": row.value, "exits": _exits(problem, row.choice)}


def anchor() -> Figures:
    """What an independent solver was asked: CIFAR-100, counts as times, `uniform:10,80`; its answers and ours."""
    request = SearchRequest.asked(budget="uniform:10,80")
    problem, _ = build_problem(load_profile(COUNTS), load_outcomes(DATA["CIFAR-100"]), request)
    best = _solved(problem)
    singles = [expected_value(problem, (position,)) for position in range(len(problem.candidates))]
    return {
        "expected": INDEPENDENT,
        "found": {
            "no exits": expected_value(problem, ()),
            "best single exit": max(singles),
            "interruptible optimum": best.value,
            "contract, all 77 heads": contract_value(problem, tuple(range(len(problem.candidates)))),
        },
        "exits": _exits(problem, best.choice),
        "limited": _limited(),
    }


def _limited() -> Figures:
    """The same question where all heads together may have few parameters."""
    request = SearchRequest.asked(budget="uniform:10,80", max_extra_params=FEW_PARAMS)
    problem, _ = build_problem(load_profile(COUNTS), load_outcomes(DATA["CIFAR-100"]), request)
    best = _solved(problem)
    heads = {problem.candidates[position].head for position in best.choice}
    return {
        "max_extra_params": FEW_PARAMS,
        "value": best.value,
        "exits": _exits(problem, best.choice),
        "used": [head for head in HEADS if head in heads],
    }
