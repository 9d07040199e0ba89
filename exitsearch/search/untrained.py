"""What candidates without a trained head could add, and which of them are worth training next.

The exact solver is asked with every untrained candidate at the most that an exit can be worth. No expected value falls
when an exit is worth more, neither under `interruptible` nor under `contract`, and a minimum value that was met stays
met: so that optimum is an upper bound of what any training can bring, under every limit. Candidates that it does not
need are not worth training.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from exitsearch.errors import InputError
from exitsearch.search.build import build_problem
from exitsearch.search.problem import Array, Problem
from exitsearch.search.solver.exact import Solution, solve
from exitsearch.search.solver.limits import NothingAllowed
from exitsearch.search.valuation import Valuation
from exitsearch.specs.config import Untrained
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.candidates import Pair
from exitsearch.specs.question.limits import parse_exit
from exitsearch.specs.question.request import SearchRequest

# How much more may be left to gain where nothing else is asked: of an accuracy one point, of anything else this share
# of the way from no answer to a perfect one.
TOLERANCE = 0.01
# What training a head takes, forward and backward, in units of its forward pass. The backbone's forward pass, which
# every round pays again, counts once.
_TRAINING = 3.0
# Forward passes of the heads that are trained first, in units of the backbone's. On the digits these are linear, mlp
# and mlp_ee at every placement: a fifth of all candidates, 7% of their time, and under five families of budgets and
# both policies the best choice among them is within a thousandth of the best of all (scripts/check_rounds.py).
_FIRST = 1.25
# Optima that one round looks ahead. On made-up banks of 8 x 8 candidates it asked for the same heads as looking at one
# alone, in 3 or 4 rounds instead of up to 31.
_LOOKS = 64


@dataclass(frozen=True)
class Standing:
    """Where a question stands while some of its candidates are not trained.

    Attributes:
        problem: of all candidates, the untrained ones at the most that an exit can be worth.
        untrained: their positions in it.
        trained: the problem of the others alone; None where a placement that must carry an exit has none of them.
        notes: warnings of how profile and outcomes fit together.
        tolerance: the one where none is asked for.
        assumption: what the most that an exit can be worth takes for granted; None: nothing.
    """

    problem: Problem
    untrained: frozenset[int]
    trained: Problem | None
    notes: list[str]
    tolerance: float
    assumption: str | None = None

    @classmethod
    def of(cls, profile: Profile, valued: Valuation, request: SearchRequest, untrained: Iterable[Pair]) -> Standing:
        """Bring the documents of a question together.

        Args:
            profile: costs, of the untrained candidates too.
            valued: values of the trained ones.
            request: the question.
            untrained: (placement, head) pairs that could be trained; those that the request does not allow are left
                aside.

        Raises:
            InputError: what `build_problem` refuses.
        """
        known, ceiling = valued.values(), valued.ceiling
        supposed = {pair: ceiling.value for pair in untrained if pair not in known}
        problem, notes = build_problem(profile, valued, request, supposed=supposed)
        positions = frozenset(problem.positions[pair] for pair in supposed if pair in problem.positions)
        span = 1.0 if valued.metric == "accuracy" else max(0.0, ceiling.value - problem.fallback)
        return cls(
            problem=problem,
            untrained=positions,
            trained=_without(problem, positions),
            notes=notes,
            tolerance=TOLERANCE * span,
            assumption=ceiling.assumption if positions else None,
        )

    @property
    def choosable(self) -> Problem:
        """The problem of the trained candidates.

        Raises:
            InputError: an exit must stand where none is trained.
        """
        if self.trained is not None:
            return self.trained
        there = {c.placement for position, c in enumerate(self.problem.candidates) if position not in self.untrained}
        raise InputError(
            f"an exit must stand at placement {min(set(self.problem.forced) - there)}, and no head is trained there; "
            "train one (exitsearch train-heads), or leave --force out"
        )

    def could_add(self, value: float, *, optimum: float) -> Untrained:
        """What the untrained candidates could add to a choice, as chosen.json keeps it.

        Args:
            value: expected value of the choice.
            optimum: no choice of trained candidates is worth more.
        """
        names = [self.problem.candidates[position] for position in sorted(self.untrained)]
        bound = max(optimum, value)
        if names:
            bound = max(bound, _bound(self.problem))
        return Untrained(
            candidates=len(self.problem.candidates),
            trained=len(self.problem.candidates) - len(names),
            value=bound,
            could_add=bound - value if names else 0.0,
            assumption=self.assumption,
            exits=[f"{candidate.placement}:{candidate.head}" for candidate in names],
        )

    def next_round(self, tolerance: float | None = None) -> list[Pair]:
        """The candidates to train next; none where the others could add no more than is tolerated.

        What the best choice needs must be trained. What the best choice would need after that is looked for with these
        at their likely values, and so on, since another round is another pass of the backbone over the data; but a
        round takes no longer than all before it, for likely values may be wrong.

        Args:
            tolerance: what the untrained candidates may be able to add; 0 goes on until the best choice needs none
                of them. None takes `self.tolerance`.

        Raises:
            InputError: no choice keeps to all limits, whatever is trained.
        """
        allowed = self.tolerance if tolerance is None else tolerance
        problem, trained, left = self.problem, self.trained, set(self.untrained)
        likely, found = _likely_values(self.problem, self.untrained), set[int]()
        most = problem.final_ms + sum(_cost(problem, position) for position in set(range(len(likely))) - left)
        for _ in range(_LOOKS):
            try:
                best = _best(problem)
            except NothingAllowed:
                if found:  # likely values, unlike the best ones, may not reach a minimum value
                    break
                raise
            needed = [] if best is None else [position for position in best.choice if position in left]
            if not left or (best is not None and allowed > 0 and best.bound - _reached(trained) <= allowed):
                break
            if not needed:
                # Without a proof nothing says what is needed.
                if not found and (best is None or not best.exact):
                    found = left
                break
            if found and sum(_cost(problem, position) for position in (*found, *needed)) > most:
                break
            found |= set(needed)
            left -= found
            values = {position: likely[position] for position in found}
            problem = _with_values(problem, values)
            trained = _without(problem, left)
        return [(c.placement, c.head) for c in self.problem.chosen(tuple(sorted(found)))]


def candidates_of(profile: Profile, request: SearchRequest) -> list[Pair]:
    """The (placement, head) pairs of a profile that a request allows, trained or not."""
    there = {(cost.placement, cost.head) for cost in profile.heads}
    return request.candidates.among(there, len(profile.segments), facts=profile.placements)


def settled(outcomes: Outcomes) -> set[Pair]:
    """The (placement, head) pairs that need no training: those that are trained, and those that could not be."""
    found = {(head.placement, head.head) for head in outcomes.heads}
    return found | {(lost.placement, lost.head) for lost in outcomes.dropped}


def first_round(profile: Profile, request: SearchRequest, exits: Sequence[Pair]) -> list[Pair]:
    """The candidates to train before anything is known.

    The heads that must stand, the cheapest head of every placement, and the cheapest heads wherever they are
    candidates, as long as their forward passes all together take little longer than the backbone's.

    Args:
        profile: measured; a head's time stands for the cost of training it.
        exits: the candidates.
    """
    times = {pair: profile.head_ms(*pair) for pair in exits}
    forced = {parse_exit(text) for text in request.limits.force}
    found = {pair for pair in times if pair in forced}
    for pair in sorted(times, key=lambda pair: (times[pair], pair)):
        if all(place != pair[0] for place, _ in found):
            found.add(pair)
    heads: dict[str, list[Pair]] = {}
    for pair in times:
        heads.setdefault(pair[1], []).append(pair)
    for _, pairs in sorted(heads.items(), key=lambda item: (np.mean([times[pair] for pair in item[1]]), item[0])):
        more = found | set(pairs)
        if sum(times[pair] for pair in more) > _FIRST * profile.full_ms:
            break
        found = more
    return sorted(found)


def _cost(problem: Problem, position: int) -> float:
    """What training a candidate takes, in ms of the profile."""
    return _TRAINING * problem.candidates[position].head_ms


def _without(problem: Problem, positions: Collection[int]) -> Problem | None:
    """A problem without some candidates; None where a placement that must carry an exit has no other."""
    kept = tuple(c for position, c in enumerate(problem.candidates) if position not in positions)
    if not set(problem.forced) <= {candidate.placement for candidate in kept}:
        return None
    return replace(problem, candidates=kept)


def _with_values(problem: Problem, values: dict[int, float]) -> Problem:
    """A problem in which some candidates are worth something else."""
    candidates = list(problem.candidates)
    for position, value in values.items():
        candidates[position] = replace(candidates[position], value=value)
    return replace(problem, candidates=tuple(candidates))


def _reached(problem: Problem | None) -> float:
    """Value of the best choice of a problem; minus infinity where none is found that keeps to the limits."""
    try:
        return -math.inf if problem is None else solve(problem, by_count=False).value
    except NothingAllowed:
        return -math.inf


def _best(problem: Problem) -> Solution | None:
    """The best choice of all candidates; None where none is found, and there may be one.

    Raises:
        NothingAllowed: there is none.
    """
    try:
        return solve(problem, by_count=False)
    except NothingAllowed as nothing:
        if nothing.bound == -math.inf:
            raise
        return None


def _bound(problem: Problem) -> float:
    """No choice is worth more; minus infinity where there is none."""
    try:
        return solve(problem, by_count=False).bound
    except NothingAllowed as nothing:
        return nothing.bound


def _likely_values(problem: Problem, untrained: Collection[int]) -> Array:
    """What each candidate is likely to be worth: a trained one what it is, another what the best one near it is."""
    best: dict[int, float] = {}
    for position, candidate in enumerate(problem.candidates):
        if position not in untrained:
            best[candidate.placement] = max(candidate.value, best.get(candidate.placement, -math.inf))
    end = max(problem.by_placement, default=0) + 1
    places = [*sorted(best), end]
    values = [*(best[place] for place in places[:-1]), problem.final_value]
    likely: Array = np.interp([candidate.placement for candidate in problem.candidates], places, values)
    for position, candidate in enumerate(problem.candidates):
        if position not in untrained:
            likely[position] = candidate.value
    return likely
