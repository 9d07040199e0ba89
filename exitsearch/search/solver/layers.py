"""A limit in which a maximum stands, as problems in which only sums do: that on memory.

A choice needs the weights of all its heads and, once, the input and output of the head that holds most. The solvers
know limits on sums. So for every amount that some head holds there is a problem, a *layer*, of the heads that hold no
more, in which that amount is taken off the limit for good: whatever keeps to the limit in a layer keeps to it in truth,
and whatever keeps to it in truth does so in the layer of its own largest head. The best of all layers is the best.

Where no head holds more than the backbone does anyhow, as is usual, there is one layer: the problem itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from exitsearch.search.problem import Choice, Problem
from exitsearch.search.resources import RESOURCES, Resource
from exitsearch.search.solver.limits import NothingAllowed

if TYPE_CHECKING:
    from exitsearch.search.solver.exact import Solution


def layered(problem: Problem) -> Resource | None:
    """A limited resource in which a maximum stands, or None where there is none."""
    for name, row in RESOURCES.items():
        if name in problem.limits and row.once is not None and any(c.amount(row.once) for c in problem.candidates):
            return row
    return None


def layers(problem: Problem, resource: Resource) -> Iterator[tuple[Problem, Choice]]:
    """The problems without a maximum in one resource, the one with the most candidates first.

    Yields:
        A problem, and the position in the whole problem of each of its candidates.
    """
    assert resource.once is not None
    once = [c.amount(resource.once) for c in problem.candidates]
    for held in sorted({0, *once}, reverse=True):
        positions = tuple(k for k, amount in enumerate(once) if amount <= held)
        chosen = problem.chosen(positions)
        candidates = tuple(replace(c, takes={**c.takes, resource.once: 0}) for c in chosen)
        left = problem.limits[resource.name] - held
        if problem.left(resource.name) < held or not set(problem.forced) <= {c.placement for c in candidates}:
            continue
        layer = replace(problem, candidates=candidates, limits={**problem.limits, resource.name: left})
        yield layer, positions
        largest = (max(candidates[k].amount(resource.amount) for k in here) for here in layer.by_placement.values())
        if sum(largest) <= layer.left(resource.name):
            return  # every choice of it keeps to the limit, those of the smaller layers among them


def best_of_layers(
    problem: Problem, resource: Resource, solve: Callable[[Problem], Solution], *, tolerance: float
) -> Solution:
    """The best choice of a problem that has layers.

    Args:
        resource: in which a maximum stands.
        solve: finds the best choice of one layer, or raises `NothingAllowed`.
        tolerance: values this close are equal; fewer exits are then preferred, and then fewer parameters.

    Raises:
        NothingAllowed: no choice keeps to all limits, or none was found.
    """
    found: list[Solution] = []
    untried = -math.inf
    for layer, positions in layers(problem, resource):
        try:
            solution = solve(layer)
        except NothingAllowed as nothing:
            untried = max(untried, nothing.bound)
            continue
        found.append(replace(solution, choice=tuple(positions[k] for k in solution.choice)))
    if not found:
        raise NothingAllowed(problem, bound=untried)
    highest = max(solution.value for solution in found)
    equal = [solution for solution in found if solution.value >= highest - tolerance]
    best = min(equal, key=lambda solution: (len(solution.choice), problem.params(solution.choice)))
    bound = max(best.value, untried, *(solution.bound for solution in found))
    return replace(
        best,
        exact=untried <= best.value + tolerance
        and all(solution.exact or solution.bound <= best.value + tolerance for solution in found),
        bound=bound if bound > best.value + tolerance else best.value,
        by_count=_by_count(found, best),
    )


def _by_count(found: list[Solution], best: Solution) -> tuple[tuple[int, float], ...]:
    """The best value with at most so many exits in any layer."""
    most = len(best.choice)
    if any(len(solution.by_count) == 1 for solution in found):  # a layer that knows no other number
        return ((most, best.value),) if best.by_count else ()
    table = []
    for count in range(most + 1):
        values = [value for solution in found for exits, value in solution.by_count if exits <= count]
        if values:
            table.append((count, max(values)))
    return tuple(table)
