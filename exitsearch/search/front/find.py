"""The front of several objectives: choices of which none is beaten in all of them, proved where the solver can.

With one objective beside value, the solver is asked again and again for the best value below some cost, in the widest
gap between the points so far: the points spread over the whole front before they fill it up. With two, it is asked on
a grid of limits. Optuna's trials add what they found; each of their points that nothing beats so far is put to the
solver with its own costs as limits, which either proves it or finds a better one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from exitsearch.errors import InputError
from exitsearch.search.front.aims import Aims
from exitsearch.search.problem import Choice
from exitsearch.search.solver.exact import Solution, solve
from exitsearch.search.study import OnTrial
from exitsearch.search.study.front import FrontStudy, run_front_study
from exitsearch.specs.question.request import Objective

# Problems given to the solver before Optuna starts, and after it. At 12 placements and 7 heads each takes milliseconds.
_SWEPT, _CHECKED = 40, 24
# Limits of each objective on the grid of two: 6 x 6.
_GRID = 6
# Share by which a limit stays below a cost that has been reached already.
_BELOW = 1e-9


@dataclass(frozen=True)
class FrontPoint:
    """One point of the front.

    Attributes:
        amounts: every objective, in its unit.
        proved: whether no choice at all that costs no more is worth more.
    """

    choice: Choice
    amounts: dict[str, float]
    proved: bool


@dataclass(frozen=True)
class Front:
    """What was found.

    Attributes:
        names: the objectives, value first.
        points: from the highest value to the lowest; none beats another.
        complete: whether these are proved to be all points: every gap between them was closed.
        study: Optuna's part; None when no trials were asked for.
    """

    names: tuple[Objective, ...]
    points: list[FrontPoint]
    complete: bool
    study: FrontStudy | None


def find_front(
    aims: Aims,
    best: Solution,
    *,
    trials: int,
    seed: int = 0,
    storage: str | None = None,
    on_trial: OnTrial | None = None,
) -> Front:
    """Choices that no other beats in all objectives.

    Args:
        aims: the problem and its objectives.
        best: the exact solver's result for value alone.
        trials: Optuna trials in all, those of earlier runs in the same storage included; 0 leaves Optuna out.
        seed: of Optuna's sampler.
        storage: where Optuna keeps its study; None for memory.
        on_trial: called after every trial with the number of finished trials and the highest value so far.
    """
    search = _Sweep(aims, best)
    complete = search.sweep()
    study = None
    if trials:
        study = run_front_study(
            aims, trials=trials, seed=seed, storage=storage, first=search.front()[: trials // 2], on_trial=on_trial
        )
        for choice in study.choices:
            search.proved.setdefault(choice, False)
        search.check()
    points = [FrontPoint(choice, aims.amounts(choice), search.proved[choice]) for choice in search.front()]
    return Front(aims.names, points, complete, study)


class _Sweep:
    """Choices so far, and whether each is proved."""

    def __init__(self, aims: Aims, best: Solution) -> None:
        self.aims = aims
        self.best = best
        self.proved: dict[Choice, bool] = {best.choice: best.exact}

    def front(self) -> list[Choice]:
        """The choices that no other beats, from the highest value to the lowest; of equal ones a proved small one."""
        order = sorted(self.proved, key=lambda choice: (not self.proved[choice], len(choice), choice))
        return self.aims.unbeaten(order)

    def sweep(self) -> bool:
        """Ask the solver for points; returns whether they are all there are."""
        limitable = self.aims.limitable
        if len(self.aims.others) == 1 and limitable:
            return self._along(limitable[0])
        if limitable:
            tops = {name: self.aims.cost(name, self.best.choice) for name in limitable}
            ends = [np.linspace(self.aims.cost(name, ()), top, _GRID) for name, top in tops.items()]
            for limits in itertools.product(*ends):
                self._ask({name: float(limit) for name, limit in zip(limitable, limits, strict=True)})
        return False

    def _along(self, name: Objective) -> bool:
        """Every point of the front of value and one cost, the widest gaps first."""
        least, top = self.aims.cost(name, ()), self.aims.cost(name, self.best.choice)
        cheapest = self._ask({name: least})
        complete = self.best.exact and (cheapest is None or cheapest.exact)
        # Gaps between two costs: all that costs at most the first is known, and so is the best at the second.
        whole = top - least
        gaps = [(least, top)] if self._open(name, (least, top), whole) else []
        for _ in range(_SWEPT):
            if not gaps:
                return complete
            low, high = gaps.pop(int(np.argmax([high - low for low, high in gaps])))
            just_below = high - max(_BELOW * abs(high), 1e-12)
            limit = (low + high) / 2 if high - low > whole / 8 else just_below
            if name == "params":
                limit = float(np.floor(limit))
            found = self._ask({name: limit})
            reached = low if found is None else self.aims.cost(name, found.choice)
            complete &= found is None or found.exact
            # Between what was reached and the limit there is nothing better; what lies on both sides is still open.
            gaps += [gap for gap in ((limit, high), (low, reached)) if self._open(name, gap, whole)]
        return complete and not gaps

    def _open(self, name: Objective, gap: tuple[float, float], whole: float) -> bool:
        low, high = gap
        return high - low > 1 if name == "params" else high - low > 4 * _BELOW * max(abs(high), whole)

    def _ask(self, most: dict[Objective, float]) -> Solution | None:
        """The best value within limits on the objectives, kept as a point; None where nothing keeps to them."""
        try:
            found = solve(self.aims.within(most), by_count=False)
        except InputError:  # a forced exit alone may cost more
            return None
        self.proved[found.choice] = self.proved.get(found.choice, False) or found.exact
        return found

    def check(self) -> None:
        """Put the points that nothing beats so far, and that are not proved, to the solver."""
        if not self.aims.limitable:
            return
        for choice in [choice for choice in self.front() if not self.proved[choice]][:_CHECKED]:
            found = self._ask({name: self.aims.cost(name, choice) for name in self.aims.limitable})
            if found is not None and found.exact and found.value <= self.aims.value(choice) + self.aims.tolerance:
                self.proved[choice] = True
