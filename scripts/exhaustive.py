"""Small problems rich in ties and exact hits, and their best choices by trying all, with formulas of their own.

Nothing here calls the package's values, limits or survivals: choices are enumerated, the limits are checked and the
expected value is added up from the definitions, so that a mistake there cannot hide in both.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from exitsearch.errors import InputError
from exitsearch.search.problem import Candidate, Choice, Problem
from exitsearch.search.solver.exact import solve
from exitsearch.specs.budget import BudgetDistribution, Trace, parse_budget
from exitsearch.specs.question.request import Policy

SAMPLES = (0, 1, 64, 65, 3000)
# As the package states it: times that differ by less than a billionth are equal.
TOLERANCE = 1e-9

Array = NDArray[np.float64]
Survival = Callable[[Array], Array]


# --- problems -------------------------------------------------------------------------------------------------------


def tied_problem(seed: int, *, policy: Policy, samples: int) -> Problem:
    """A problem of at most 4 placements and 3 heads, every number one of a few.

    Heads may take no time, parameters, bytes or energy; placements may share an arrival; budgets and limits are
    drawn from what the choices come to, so that they are met exactly. Half of the problems count time in tenths of a
    millisecond, whose sums miss decimals by rounding, and half in halves, whose sums are exact.
    """
    rng = np.random.default_rng([seed, samples])
    tenths = bool(rng.random() < 0.5)
    unit = 0.1 if tenths else 0.5
    worths = [0.0, 0.25, 0.5, 0.5, 0.75, 1.0] if rng.random() < 0.8 else [-1.0, -0.5, -0.5, -0.25, 0.0]
    arrivals = np.cumsum(rng.integers(0, 4, size=rng.integers(1, 5)))
    energies = np.cumsum(rng.integers(0, 3, size=len(arrivals)))
    candidates = [
        Candidate(
            placement,
            head,
            arrival_ms=float(arrivals[placement] * unit),
            head_ms=float(rng.choice([0, 0, 1, 1, 2, 3]) * unit),
            value=float(rng.choice(worths)),
            takes={
                "params": int(rng.choice([0, 1, 1, 2])),
                "memory_bytes": int(rng.choice([0, 1, 1, 2])),
                "arrival_mj": float(energies[placement] * 0.25),
                "head_mj": float(rng.choice([0, 1, 1, 2]) * 0.25),
            },
        )
        for placement in range(len(arrivals))
        for head in "abc"[: rng.integers(1, 4)]
    ]
    problem = Problem(
        candidates=tuple(candidates),
        final_ms=float((arrivals[-1] + rng.integers(0, 4)) * unit),
        final_value=float(rng.choice(worths)),
        fallback=min(worths) if rng.random() < 0.7 else float(rng.choice(worths)),
        budget=parse_budget("point:1"),
        policy=policy,
        slowdown=_samples(rng, samples),
        backbone={"energy": float((energies[-1] + rng.integers(0, 3)) * 0.25)},
    )
    hits = sorted({round(time, 6) for choice in choices(problem) for time, _ in answers(problem, choice)})
    problem = replace(problem, budget=_budget(rng, hits, unit))
    return _limited(rng, problem, hits, unit, tenths=tenths) if rng.random() < 0.7 else problem


def _samples(rng: np.random.Generator, count: int) -> tuple[float, ...]:
    kind = rng.integers(0, 3)
    if kind == 0:  # ties, and budgets still met exactly
        return tuple(rng.choice([0.5, 1.0, 1.0, 2.0], size=count).tolist())
    found = rng.lognormal(0, 0.15, size=count)
    if kind == 1 and count:  # a busy machine: few samples many times as long
        found[rng.integers(0, count, size=1 + count // 50)] *= rng.uniform(2, 30)
    return tuple(found.tolist())


def _budget(rng: np.random.Generator, hits: list[float], unit: float) -> BudgetDistribution:
    some = sorted(rng.choice(hits, size=rng.integers(1, 6)).tolist())
    low, high = min(some), max(max(some), min(some) + unit)
    middle = max(float(np.median(some)), unit)
    budgets: list[BudgetDistribution] = [
        parse_budget(f"point:{some[0]!r}"),
        parse_budget(f"discrete:{some[0]!r}@0.3,{some[-1]!r}@0.7"),
        parse_budget(f"discrete:{some[0]!r}@0.25,{some[-1]!r}@0.25,{high!r}@0.5"),
        Trace("made", tuple(some)),
        parse_budget(f"uniform:{low!r},{high!r}"),
        parse_budget(f"normal:{middle!r},{middle / rng.choice([1, 4]):g}"),
        parse_budget(f"lognormal:{middle!r},0.5"),
        parse_budget(f"exponential:{middle!r}"),
        parse_budget(f"mix:0.5*point:{some[0]!r}+0.25*uniform:{low!r},{high!r}+0.25*exponential:{middle!r}"),
    ]
    return budgets[rng.integers(0, len(budgets))]


def _limited(rng: np.random.Generator, problem: Problem, hits: list[float], unit: float, *, tenths: bool) -> Problem:
    """All limits at once, or each with chance 1/2; sometimes more than any choice keeps to."""
    every = bool(rng.random() < 0.3)

    def draw() -> bool:
        return every or bool(rng.random() < 0.5)

    others: dict[str, Any] = {}
    limits: dict[str, float] = {}
    if draw():
        others["max_exits"] = int(rng.integers(0, 4))
    if draw():
        limits["params"] = int(rng.integers(0, 6))
    if draw():
        limits["memory"] = int(rng.integers(0, 6))
    if draw():
        limits["energy"] = problem.backbone["energy"] + float(rng.integers(0, 6)) * 0.25
    if draw() and problem.policy == "interruptible":
        # Not a time that is compared with a budget: sums of tenths are kept clear of it.
        limits["time"] = float(rng.integers(0, 6) + (0.5 if tenths else 0.0)) * unit
    if draw():
        worths = [c.value for c in problem.candidates]
        others["min_values"] = tuple(
            (float(rng.choice(hits)), float(rng.choice(worths))) for _ in range(int(rng.integers(1, 3)))
        )
    if draw():
        places = sorted(problem.by_placement)
        others["forced"] = tuple(sorted({int(place) for place in rng.choice(places, size=rng.integers(1, 3))}))
    return replace(problem, limits=limits, **others)


# --- values and limits by definition --------------------------------------------------------------------------------


def choices(problem: Problem) -> Iterator[Choice]:
    """Every choice of at most one head a placement, whatever the limits."""
    places: dict[int, list[int | None]] = {}
    for position, candidate in enumerate(problem.candidates):
        places.setdefault(candidate.placement, [None]).append(position)
    for picked in itertools.product(*places.values()):
        yield tuple(position for position in picked if position is not None)


def answers(problem: Problem, choice: Choice) -> list[tuple[float, float]]:
    """Time and value of every answer, the final one last."""
    found, waited = [], 0.0
    for candidate in (problem.candidates[position] for position in choice):
        own = candidate.head_ms
        waited += own
        found.append((candidate.arrival_ms + (own if problem.policy == "contract" else waited), candidate.value))
    return [*found, (problem.final_ms + (0.0 if problem.policy == "contract" else waited), problem.final_value)]


def in_time(times: Array | float, budget: float) -> NDArray[np.bool_]:
    return np.asarray(times) - budget <= TOLERANCE * budget


def survival_of(budget: BudgetDistribution) -> Survival:
    """P(B >= t) from the text of a distribution."""
    if isinstance(budget, Trace):
        return lambda t: np.mean([in_time(t, float(recorded)) for recorded in budget.recorded_ms], axis=0)
    name, _, rest = str(budget).partition(":")
    if name == "mix":
        parts = [part.partition("*") for part in rest.split("+")]
        weighted = [(float(weight), survival_of(parse_budget(text))) for weight, _, text in parts]
        return lambda t: np.sum([weight * part(t) for weight, part in weighted], axis=0)
    if name == "discrete":
        points = [tuple(map(float, point.split("@"))) for point in rest.split(",")]
        return lambda t: np.sum([weight * in_time(t, at) for at, weight in points], axis=0)
    numbers = [float(number) for number in rest.split(",")]
    match name:
        case "point":
            return lambda t: in_time(t, numbers[0]).astype(float)
        case "uniform":
            return lambda t: np.clip((numbers[1] - t) / (numbers[1] - numbers[0]), 0, 1)
        case "exponential":
            return lambda t: np.exp(-t / numbers[0])
        case "normal":
            mean, std = numbers
            return lambda t: erfc((t - mean) / (std * math.sqrt(2))) / math.erfc(-mean / (std * math.sqrt(2)))
    assert name == "lognormal"
    with np.errstate(divide="ignore"):
        return lambda t: 0.5 * erfc(np.log(np.maximum(t, 1e-300) / numbers[0]) / (numbers[1] * math.sqrt(2)))


def values(problem: Problem) -> Callable[[Choice], float]:
    """Expected value of any choice: over budgets and slow-downs, of the best answer in time."""
    survival = survival_of(problem.budget)
    factors = np.array(problem.slowdown or (1.0,))

    @cache
    def reached(time: float) -> float:
        return math.fsum(survival(factors * time).tolist()) / len(factors)

    def value(choice: Choice) -> float:
        best, terms = problem.fallback, [problem.fallback]
        for time, worth in sorted(answers(problem, choice)):
            if worth > best:
                terms.append((worth - best) * reached(time))
                best = worth
        return math.fsum(terms)

    return value


def keeps(problem: Problem, choice: Choice) -> bool:
    """Whether a choice keeps to every limit."""
    chosen = [problem.candidates[position] for position in choice]

    backbone, limits = problem.backbone.get("energy", 0.0), problem.limits

    def total(name: str) -> float:
        return sum(c.takes.get(name, 0) for c in chosen)

    energy = backbone + total("head_mj")
    if problem.policy == "contract":
        energy = max([backbone, *(c.takes.get("arrival_mj", 0) + c.takes.get("head_mj", 0) for c in chosen)])
    return (
        len(chosen) <= (math.inf if problem.max_exits is None else problem.max_exits)
        and total("params") <= limits.get("params", math.inf)
        and total("memory_bytes") <= limits.get("memory", math.inf)
        and energy <= limits.get("energy", math.inf)
        and sum(c.head_ms for c in chosen) <= limits.get("time", math.inf)
        and set(problem.forced) <= {c.placement for c in chosen}
        and all(
            least <= max([problem.fallback, *(v for t, v in answers(problem, choice) if in_time(t, budget))])
            for budget, least in problem.min_values
        )
    )


# --- judgement ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """How one solution compares with all choices.

    Attributes:
        feasible: whether some choice keeps to all limits.
        difference: largest difference of a value that was found, with any number of exits or with fewer, and the true
            one; also how far the value printed is from that of the choice. Infinite where there is none to judge.
        tie: whether the choice has the fewest exits, then parameters, of all that are worth as much.
        proved: whether it is called exact.
        wrong: a false "there is none" or "there is one", a choice that breaks a limit, or an error, in words.
    """

    feasible: bool
    difference: float = 0.0
    tie: bool = True
    proved: bool = True
    wrong: str = ""


def judge(problem: Problem) -> Verdict:
    """Solve a problem and compare with all of its choices."""
    value = values(problem)
    allowed = {choice: value(choice) for choice in choices(problem) if keeps(problem, choice)}
    try:
        solution = solve(problem)
    except InputError as error:
        said = "no choice of exits keeps to all limits" in str(error)
        return Verdict(bool(allowed), wrong="" if said and not allowed else f"false infeasibility: {error}")
    except AssertionError as error:
        return Verdict(bool(allowed), math.inf, wrong=f"assertion: {error}")
    if solution.choice not in allowed:
        return Verdict(bool(allowed), math.inf, wrong=f"the choice {solution.choice} breaks a limit")
    best = max(allowed.values())
    differences = [solution.value - best, solution.value - allowed[solution.choice]]
    for count, found in solution.by_count:
        few = (worth for choice, worth in allowed.items() if len(choice) <= count)
        differences.append(found - max(few, default=-math.inf))
    if solution.exact:
        differences.append(solution.bound - best)

    def cost(choice: Choice) -> tuple[int, int]:
        return len(choice), sum(problem.candidates[position].params for position in choice)

    # What is equal but for rounding; differences between this and the solver's tolerance are left to it.
    equal = [choice for choice, worth in allowed.items() if worth >= best - 1e-14]
    return Verdict(
        True,
        difference=max(map(abs, differences)),
        tie=cost(solution.choice) <= min(map(cost, equal)),
        proved=solution.exact,
    )
