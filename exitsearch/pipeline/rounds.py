"""Heads trained in rounds, as a search needs them: the cheap ones first, then what could still make a difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from exitsearch.errors import InputError
from exitsearch.search.untrained import Standing, first_round, settled
from exitsearch.search.utility import Utility
from exitsearch.search.valuation import Valuation
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.candidates import Pair
from exitsearch.specs.question.request import SearchRequest


class Trains(Protocol):
    """Whoever trains heads."""

    def __call__(self, exits: Sequence[Pair], *, words: str) -> Outcomes:
        """Train some (placement, head) pairs; the outcomes are of these and of all that were trained before.

        A pair that is missing in them could not be trained and is no candidate any more.

        Args:
            words: what is trained, for people.
        """


@dataclass(frozen=True)
class Rounds:
    """What came of training in rounds.

    Attributes:
        outcomes: of all that is trained.
        untrained: candidates that are not.
        trained: what was trained now, a list for each round.
    """

    outcomes: Outcomes
    untrained: tuple[Pair, ...]
    trained: tuple[tuple[Pair, ...], ...]


def train_in_rounds(
    profile: Profile,
    request: SearchRequest,
    exits: Sequence[Pair],
    *,
    train: Trains,
    outcomes: Outcomes | None = None,
    utility: Utility | None = None,
    tolerance: float | None = None,
    everything: bool = False,
) -> Rounds:
    """Train the candidates of a question until the others could add no more than is tolerated.

    Under the policy `confidence`, and with several objectives, no single optimum says what is needed: then all of them
    are trained.

    Args:
        profile: costs of the candidates.
        request: the question.
        exits: its candidates.
        train: trains some of them.
        outcomes: of those that are trained already; None: there are none.
        utility: that the request names.
        tolerance: in units of the value; 0 goes on until the best choice needs none of the others. None takes
            `untrained.TOLERANCE`.
        everything: train all candidates.

    Raises:
        InputError: there are no candidates, or no choice keeps to all limits, whatever is trained.
    """
    if not exits:
        raise InputError(
            "no exit head is left to choose from: heads, placements and space allow none of those in the profile; "
            "allow more with --heads, --placements or --space, or measure others with exitsearch profile"
        )
    known = set() if outcomes is None else settled(outcomes)
    left = [pair for pair in exits if pair not in known]
    done: list[tuple[Pair, ...]] = []
    everything = everything or needs_all(request)
    wanted = left if everything else []
    if not everything and len(left) == len(exits):
        wanted = first_round(profile, request, exits)
    while True:
        if wanted:
            count = len(exits) - len(left)
            words = f"{len(wanted)} heads" if everything else f"{len(wanted)} heads (round {len(done) + 1})"
            outcomes = train(wanted, words=f"{words}, {count} of {len(exits)} candidates trained before")
            done.append(tuple(wanted))
            left = [pair for pair in left if pair not in wanted]
        if everything or outcomes is None:
            break
        valued = Valuation(outcomes, utility, fallback=request.fallback)
        wanted = Standing.of(profile, valued, request, left).next_round(tolerance)
        assert set(wanted) <= set(left), "only what is not trained can be asked for"
        if not wanted:
            break
    assert outcomes is not None, "the first round is never empty"
    return Rounds(outcomes, tuple(left), tuple(done))


def needs_all(request: SearchRequest) -> bool:
    """Whether all candidates of a question are trained, since no single optimum says which are needed."""
    return request.policy == "confidence" or bool(request.objectives)
