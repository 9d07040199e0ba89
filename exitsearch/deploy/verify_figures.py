"""What many requests say together: value with its interval, shares, times, and by how much they were late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exitsearch.deploy.verify import Request
from exitsearch.measure.timing import statistics
from exitsearch.specs.question.request import Policy
from exitsearch.specs.verification import ExitUse, Lateness, Observed

Array = NDArray[np.float64]

_RESAMPLED = 1000
# A waker that is no later than this woke in time: on a quiet machine it takes 0.1 ms.
_PROMPT_MS = 0.25


def observed(requests: Sequence[Request], *, names: Sequence[str], policy: Policy, seed: int = 0) -> Observed:
    """The figures of a phase.

    Args:
        requests: at least one.
        names: of the exits, the final one last.
        policy: how they were asked.
        seed: of the bootstrap.
    """
    count = len(requests)
    answered = [request for request in requests if request.exit is not None]
    values = np.array([request.value for request in requests])
    interval = bootstrap_interval(values, np.array([request.sample for request in requests]), seed=seed)
    return Observed(
        requests=count,
        value=float(values.mean()),
        interval=interval,
        no_answer=1 - len(answered) / count,
        refused=sum(request.status == "refused" for request in requests) / count,
        late=_lateness([request.late_ms for request in answered], least=0.0) if policy == "contract" else None,
        struck=_lateness([request.budget_ms - request.drawn_ms for request in requests], least=_PROMPT_MS)
        if policy == "interruptible"
        else None,
        exits=[_use(name, k, requests) for k, name in enumerate(names)],
    )


def bootstrap_interval(values: Array, samples: NDArray[Any], *, seed: int = 0) -> tuple[float, float]:
    """95% interval of a mean, by drawing the samples that were asked again, each with all of its requests.

    Requests of one sample are answered alike, so they do not count as so many different ones (a cluster bootstrap:
    Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).

    Args:
        values: [requests].
        samples: the sample of each [requests].
    """
    _, groups = np.unique(samples, return_inverse=True)
    sums, sizes = np.bincount(groups, weights=values), np.bincount(groups).astype(np.float64)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=_RESAMPLED)  # [resampled, groups]
    means = (drawn @ sums) / (drawn @ sizes)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def allowed_interval(
    predicted: float, observed: Observed, *, slack: float, most: float = float("inf")
) -> tuple[float, float]:
    """The prediction's interval: as far as so many requests may be from it by chance, and `slack` more.

    Chance is the wider side of the bootstrap interval of what was observed.

    Args:
        most: that a value can be, as 1 for an accuracy.
    """
    low, high = observed.interval
    far = max(high - observed.value, observed.value - low, 0.0) + slack
    return predicted - far, min(predicted + far, most)


def _use(name: str, exit_: int, requests: Sequence[Request]) -> ExitUse:
    times = [request.time_ms for request in requests if request.exit == exit_]
    return ExitUse(
        exit=name,
        share=len(times) / len(requests),
        median_ms=statistics.median(times) if times else None,
        p90_ms=statistics.percentile(times, 90),
        p99_ms=statistics.percentile(times, 99),
    )


def _lateness(behind_ms: Sequence[float], *, least: float) -> Lateness:
    late = [ms for ms in behind_ms if ms > least]
    if not late:
        return Lateness(share=0.0)
    return Lateness(share=len(late) / len(behind_ms), median_ms=statistics.median(late), worst_ms=max(late))
