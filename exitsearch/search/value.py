"""Expected value of a choice: the formulas of DESIGN section 5.

With chosen exits of values a_k that answer at T_k, and G(t) the chance that a budget is at least t, both policies have
the form V = a_0 + sum_k (A_k - A_(k-1)) G(T_k), where A_k is the best value among the answers up to T_k, taken in order
of time, and A starts at a_0, the value of having no answer. They differ in the times: under `interruptible` every
chosen head on the way is run, so each exit waits for the heads before it; under `contract` only one head is run, so no
exit waits. Under `confidence` an expected value takes the samples (`thresholds/replay.py`); only its times are here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exitsearch.search.problem import Array, Choice, Problem
from exitsearch.specs.budget import latest_in_time
from exitsearch.specs.question.request import Policy


def finish_times(problem: Problem, choice: Choice, *, policy: Policy | None = None) -> Array:
    """When each chosen exit answers, and last the final exit, in ms [exits + 1].

    Args:
        choice: positions of the chosen candidates.
        policy: None takes the problem's own.
    """
    chosen = problem.chosen(choice)
    heads = np.array([*(c.head_ms for c in chosen), 0.0])
    waits = heads if (policy or problem.policy) == "contract" else np.cumsum(heads)
    times: Array = np.array([*(c.arrival_ms for c in chosen), problem.final_ms]) + waits
    return times


def expected_value(problem: Problem, choice: Choice, *, noise: bool = True, policy: Policy | None = None) -> float:
    """Expected value of a choice under the problem's policy.

    Args:
        choice: positions of the chosen candidates.
        noise: False takes every latency as exactly its median.
        policy: None takes the problem's own.
    """
    times, gains, _ = _staircase(problem, choice, policy or problem.policy)
    return float(problem.fallback + gains @ problem.survival(times, noise=noise))


def interruptible_value(problem: Problem, choice: Choice, *, noise: bool = True) -> float:
    """Expected value when the budget is not known until it strikes: every chosen head on the way is run."""
    return expected_value(problem, choice, noise=noise, policy="interruptible")


def contract_value(problem: Problem, choice: Choice, *, noise: bool = True) -> float:
    """Expected value when the budget is known as the request arrives: only the head that will answer is run."""
    return expected_value(problem, choice, noise=noise, policy="contract")


def exit_probabilities(
    problem: Problem, choice: Choice, *, noise: bool = True, policy: Policy | None = None
) -> tuple[Array, float]:
    """How likely each exit's answer is the one in hand when the budget strikes.

    Under `contract`, how likely that exit is the one to be run. Which answer is kept is decided by the values that the
    problem was built with, so these chances also weigh scores on another split.

    Returns:
        Chances of every chosen exit and last of the final exit [exits + 1], and the chance of no answer. They add up
        to 1. An exit worth no more than an earlier answer, or than having none, is never used.
    """
    times, gains, order = _staircase(problem, choice, policy or problem.policy)
    reached = problem.survival(times, noise=noise)
    used = np.flatnonzero(gains > 0)  # steps of the staircase, in order of time
    chances = np.zeros(len(order))
    if not len(used):
        return chances, 1.0
    chances[order[used]] = reached[used] - np.append(reached[used][1:], 0.0)
    return chances, float(1.0 - reached[used[0]])


def budget_curve(
    problem: Problem,
    choice: Choice,
    budgets_ms: ArrayLike,
    *,
    policy: Policy | None = None,
    noise: bool = False,
    scores: ArrayLike | None = None,
) -> Array:
    """Value of a choice as a function of one known budget, for plots: the accuracy-budget curve.

    Args:
        budgets_ms: budgets in ms, any shape.
        policy: None takes the problem's own.
        noise: True averages over the slow-down samples, which smooths the steps.
        scores: what the answers of the chosen exits and of the final one are worth [exits + 1], where that is not what
            decides which of them is used, as on another split; None takes the values that decide.
    """
    times, gains, order = _staircase(problem, choice, policy or problem.policy)
    if scores is not None:
        gains = _gains_of(np.asarray(scores, dtype=np.float64)[order], gains > 0, problem.fallback)
    result: Array = problem.fallback + chances_in_time(problem, times, budgets_ms, noise=noise) @ gains
    return result


def chances_in_time(problem: Problem, times_ms: ArrayLike, budgets_ms: ArrayLike, *, noise: bool = False) -> Array:
    """How likely an answer of some median time is in time within each budget [*budgets, times].

    Args:
        times_ms: median times in ms [times].
        budgets_ms: budgets in ms, any shape.
        noise: True averages over the slow-down samples; False says 0 or 1.
    """
    times, budgets = np.asarray(times_ms, dtype=np.float64), np.asarray(budgets_ms, dtype=np.float64)
    factors = np.sort(problem.slowdown if noise and problem.slowdown else (1.0,))
    with np.errstate(divide="ignore", invalid="ignore"):  # an answer at time 0 is in time
        slowest = np.where(times > 0, latest_in_time(budgets)[..., None] / times, np.inf)
    return np.asarray(np.searchsorted(factors, slowest, side="right") / len(factors))


def _gains_of(scores: Array, used: NDArray[np.bool_], fallback: float) -> Array:
    """What each answer that is used changes over the one before, 0 for the others."""
    gains = np.zeros(len(scores))
    gains[used] = np.diff(scores[used], prepend=fallback)
    return gains


def _staircase(problem: Problem, choice: Choice, policy: Policy) -> tuple[Array, Array, NDArray[np.intp]]:
    """Finish times in order, what the best answer so far gains at each, and whose times they are."""
    times = finish_times(problem, choice, policy=policy)
    values = np.array([*(c.value for c in problem.chosen(choice)), problem.final_value])
    # At equal times the lower value first, so that both steps stay non-negative; the sum is the same either way.
    order = np.lexsort((values, times)) if policy == "contract" else np.arange(len(times))
    best = np.maximum.accumulate(np.concatenate([[problem.fallback], values[order]]))
    return times[order], np.diff(best), order
