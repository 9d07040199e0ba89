"""What a run of rounds says of every peer: value with its interval, also against another's, misses, refusals, times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitsearch.deploy.verify_figures import bootstrap_interval
from exitsearch.specs.budget import TIME_TOLERANCE
from peers.asking import Reply, Round
from peers.graphs import Static

Floats = NDArray[np.float64]

SHELF = "static models, best by budget"
SHELF_WORDS = "every static model in memory, for each budget the best that is in time at p99: put together afterwards"


def in_time(reply: Reply, budget_ms: float) -> bool:
    """Whether an answer was in hand within the budget; rounding alone makes none late."""
    return reply.outputs is not None and reply.time_ms <= budget_ms * (1 + TIME_TOLERANCE)


def values(rounds: Sequence[Round], name: str, *, labels: NDArray[Any], fallback: float) -> Floats:
    """What a peer's answers are worth [rounds]: 1 for the right class in time, 0 for a wrong one, else `fallback`."""
    found = [
        float(reply.outputs.argmax() == labels[each.sample])
        if (reply := each.replies[name]).outputs is not None and in_time(reply, each.budget_ms)
        else fallback
        for each in rounds
    ]
    return np.array(found, dtype=np.float64)


def with_shelf(rounds: Sequence[Round], statics: Sequence[Static]) -> list[Round]:
    """Rounds with what a user gets who holds every static model ready.

    Of the models that are planned to be in time the best on the choice split answers (of equal ones the quicker); where
    none is, the request is refused.
    """
    best_first = sorted(statics, key=lambda static: (-static.score, static.times.late))
    found = []
    for each in rounds:
        fitting = (static for static in best_first if static.times.late <= each.budget_ms)
        chosen = next(fitting, None)
        reply = Reply(None, 0.0, refused=True) if chosen is None else each.replies[chosen.name]
        found.append(Round(each.sample, each.fixed_ms, each.drawn_ms, each.budget_ms, {**each.replies, SHELF: reply}))
    return found


def summary(
    rounds: Sequence[Round], name: str, *, against: str, labels: NDArray[Any], fallback: float, seed: int
) -> dict[str, Any]:
    """The figures of one peer over drawn and over fixed budgets.

    Args:
        rounds: of drawn and of fixed budgets.
        name: of the peer.
        against: a peer whose value is taken from this one's, round by round.
        labels: classes of the samples.
        fallback: what having no answer in time is worth.
        seed: of the bootstrap.
    """
    drawn = [each for each in rounds if each.fixed_ms is None]
    fixed = sorted({each.fixed_ms for each in rounds if each.fixed_ms is not None})
    mine = values(drawn, name, labels=labels, fallback=fallback)
    gain = mine - values(drawn, against, labels=labels, fallback=fallback)
    samples = np.array([each.sample for each in drawn])
    replies = [each.replies[name] for each in drawn]
    answered = [reply for reply in replies if reply.outputs is not None]
    behind = [
        reply.time_ms - each.budget_ms
        for each, reply in zip(drawn, replies, strict=True)
        if reply.outputs is not None and not in_time(reply, each.budget_ms)
    ]
    times = [reply.time_ms for reply in answered]
    exits = [reply.exit for reply in answered]
    return {
        "requests": len(drawn),
        "value": float(mine.mean()),
        "interval": bootstrap_interval(mine, samples, seed=seed),
        "against": against,
        "gain": float(gain.mean()),
        "gain_interval": bootstrap_interval(gain, samples, seed=seed),
        "refused": sum(reply.refused for reply in replies) / len(drawn),
        "no_answer": sum(reply.outputs is None and not reply.refused for reply in replies) / len(drawn),
        "late": len(behind) / len(drawn),
        "late_median_ms": float(np.median(behind)) if behind else None,
        "late_worst_ms": max(behind, default=None),
        "median_ms": float(np.median(times)) if times else None,
        "p99_ms": float(np.quantile(times, 0.99)) if times else None,
        "exits": {str(exit_): exits.count(exit_) / len(drawn) for exit_ in sorted({e for e in exits if e is not None})},
        "fixed": [
            _fixed([each for each in rounds if each.fixed_ms == budget], name, labels, fallback, seed)
            for budget in fixed
        ],
    }


def _fixed(rounds: Sequence[Round], name: str, labels: NDArray[Any], fallback: float, seed: int) -> dict[str, Any]:
    found = values(rounds, name, labels=labels, fallback=fallback)
    replies = [each.replies[name] for each in rounds]
    late = [
        reply.outputs is not None and not in_time(reply, each.budget_ms)
        for each, reply in zip(rounds, replies, strict=True)
    ]
    return {
        "budget_ms": rounds[0].fixed_ms,
        "had_ms": float(np.median([each.budget_ms for each in rounds])),
        "requests": len(rounds),
        "value": float(found.mean()),
        "interval": bootstrap_interval(found, np.array([each.sample for each in rounds]), seed=seed),
        "refused": sum(reply.refused for reply in replies) / len(rounds),
        "late": sum(late) / len(rounds),
    }


def budgets_had(rounds: Sequence[Round]) -> Mapping[str, float]:
    """By how much budgets were longer than they were drawn, since an interrupting thread wakes late."""
    longer = np.array([each.budget_ms - each.drawn_ms for each in rounds])
    median, p99 = np.quantile(longer, [0.5, 0.99])
    return {"median_ms": float(median), "p99_ms": float(p99), "worst_ms": float(longer.max())}
