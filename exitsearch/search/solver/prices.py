"""Upper bounds for the exact solver of contract budgets: prices, and what a priced staircase can still gain.

Each use of a placement has a price, paid back once, and so has each unit of something limited, paid back for what is
left: Lagrangian multipliers, found by subgradient steps on the staircase without a limit on the number of exits. At any
prices the best staircase is a bound; with layers it knows how many exits are left. The table of all layers would take
more memory than everything else, so only every so many rows are kept, and those between are made again when needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isqrt

import numpy as np

from exitsearch.search.solver.labels import Array, Bools, Ints, Labels
from exitsearch.search.solver.staircase import FINAL, Filler, Item, Staircase

_SUBGRADIENT_STEPS = 60
# After so many subgradient steps without a lower bound the step is halved (Held, Wolfe and Crowder 1974).
_PATIENCE = 4


@dataclass(frozen=True)
class Prices:
    """What each use of a placement costs [bits], a unit of each limited resource [resources], and an exit.

    None is less than 0.
    """

    places: Array
    units: tuple[float, ...]
    exits: float = 0.0

    def payment(self, thing: Item | Filler, bit: int | None) -> float:
        """What an item or a filler pays."""
        paid = 0.0 if bit is None else float(self.places[bit])
        priced = sum(price * amount for price, amount in zip(self.units, thing.takes, strict=True))
        return paid + float(priced + self.exits * thing.exits)

    def bonus(self, stairs: Staircase) -> Array:
        """The most that exchanging the filler of a placement brings back [bits]."""
        found = np.zeros(stairs.bits)
        for bit, fillers in stairs.others.items():
            found[bit] = max([0.0, *(-self.payment(filler, None) for filler in fillers)])
        return found


class PricedStaircase:
    """At some prices, what can still be gained before each item: [items + 1][layers, values].

    Args:
        exits: most exits of any layer, beside those that replace fillers: layer r stands for at most r more. None makes
            one layer without a limit.
    """

    def __init__(self, stairs: Staircase, prices: Prices, exits: int | None) -> None:
        self.stairs = stairs
        self.free = exits is None
        self.layers = 1 if exits is None else exits + 1
        count = len(stairs.items)
        self._every = 1 if self.free else max(1, isqrt(count))
        # Memory is taken once: page faults would cost more than the sums.
        self._kept: Array = np.zeros((count // self._every + 1, self.layers, len(stairs.values)))
        self._between: Array = np.zeros((self._every + 1, self.layers, len(stairs.values)))
        self._bits = np.array([0 if item.bit is None else 1 + item.bit for item in stairs.items], dtype=np.int64)
        # What each item takes of each resource, and last whether it counts as an exit [resources + 1, items].
        self._amounts = _amounts(stairs.items, len(stairs.quotas))
        self.reprice(prices)

    def reprice(self, prices: Prices) -> None:
        """Make the table again at other prices."""
        self.prices = prices
        # Whichever of the two is more is an upper bound, for a placement is used once or keeps a filler.
        self.credit = np.maximum(prices.places, prices.bonus(self.stairs))
        self._payments = np.append(0.0, prices.places)[self._bits]
        for price, amounts in zip((*prices.units, prices.exits), self._amounts, strict=True):
            self._payments += price * amounts
        self._block, count = -1, len(self.stairs.items)
        now = np.zeros_like(self._kept[0])  # behind the last item nothing is gained
        turns = [now, self._between[0], self._between[1]] if not self.free else []
        for index in range(count, -1, -1):
            kept = index % self._every == 0
            out = self._kept[index // self._every] if kept else turns[1 + index % 2]
            if index == count:
                out[...] = now
            else:
                self._before(index, now, out)
            now = out

    def _before(self, index: int, after: Array, now: Array) -> None:
        """Fill in the table before an item from the one after it."""
        item, values = self.stairs.items[index], self.stairs.values
        level = item.level
        now[...] = after
        gain = (values[level] - values[:level]) * item.reached
        if item.position == FINAL:
            now[:, :level] = gain + after[:, level, None]
            return
        gain = gain - self._payments[index]
        if self.free or not item.exits:
            np.maximum(now[:, :level], gain + after[:, level, None], out=now[:, :level])
        else:
            np.maximum(now[1:, :level], gain + after[:-1, level, None], out=now[1:, :level])

    def at(self, index: int) -> Array:
        """What can be gained before item `index` [layers, values]; to be asked for in order."""
        block, place = divmod(index, self._every)
        if not place:
            kept: Array = self._kept[block]
            return kept
        if block != self._block:
            self._block = block
            first, count = block * self._every, len(self.stairs.items)
            end = min(first + self._every, count)
            # Behind the last item nothing is gained, also where its row is not one of those that are kept.
            self._between[end - first] = 0.0 if end == count else self._kept[block + 1]
            for number in range(end - 1, first, -1):
                self._before(number, self._between[number - first + 1], self._between[number - first])
        between: Array = self._between[place]
        return between

    def bound(self, start: Labels) -> float:
        """No choice within the limits is worth more, without a limit on the number of exits."""
        gain = float(self.at(0)[-1, 0]) + float(self.credit.sum())
        return self.stairs.problem.fallback + gain + float(self._unspent(start)[0])

    def _unspent(self, labels: Labels) -> Array:
        """The price of what is left of the limits [labels]."""
        left = np.zeros(len(labels))
        for column, price in enumerate(self.prices.units):
            left += price * (self.stairs.quotas.most[column] - labels.takes[:, column])
        return left

    def paths(self) -> list[list[int]]:
        """For each layer the items of a best staircase at these prices."""
        if self.free:
            return [self._path()]
        found: list[list[int]] = [[] for _ in range(self.layers)]
        best, layer = np.zeros(self.layers, dtype=np.int64), np.arange(self.layers)
        for index, item in enumerate(self.stairs.items):
            rises = best < item.level
            if not rises.any():
                continue
            if item.position == FINAL:
                best = np.maximum(best, item.level)
                continue
            taken = rises & (self.at(index)[layer, best] > self.at(index + 1)[layer, best])
            for number in np.flatnonzero(taken).tolist():
                found[number].append(index)
            best = np.where(taken, item.level, best)
            if item.exits:
                layer = layer - taken
        return found

    def _path(self) -> list[int]:
        """The items of a best staircase without a limit on their number."""
        table, found, best = self._kept[:, 0], [], 0
        for index, item in enumerate(self.stairs.items):
            if item.level <= best:
                continue
            if item.position == FINAL:
                best = item.level
            elif table[index, best] > table[index + 1, best]:
                found.append(index)
                best = item.level
        return found

    def known(self, path: list[int]) -> list[int]:
        """The items of a path with one a placement: where there are several, the ones that matter least go."""
        stairs, kept = self.stairs, list(path)
        for bit in {stairs.items[index].bit for index in path} - {None}:
            while len(same := [index for index in kept if stairs.items[index].bit == bit]) > 1:
                without = {index: [other for other in kept if other != index] for index in same}
                kept = max(without.values(), key=stairs.value)
        return kept

    def _so_far(self, labels: Labels, index: int) -> Array:
        """Value of labels that stand before item `index`, with what is paid back at most [labels]."""
        credit = np.where(self.stairs.open[index], self.credit, 0.0)
        result: Array = labels.value + self._unspent(labels) + (credit.sum() - self.stairs.used(labels.used) @ credit)
        return result

    def upper_bound(self, labels: Labels, index: int) -> Array:
        """The most that each label, standing before item `index`, can come to in the top layer."""
        layers: Ints = np.zeros(len(labels), dtype=np.int64) if self.free else self.layers - 1 - labels.count
        return self._so_far(labels, index) + self.at(index)[layers, labels.level]

    def promising(self, labels: Labels, index: int, known: Array) -> Bools:
        """Whether each label may still reach what is known already, for one of the limits at least.

        Args:
            known: a value that is known for each limit [layers].
        """
        gains = self.at(index)[:, labels.level]  # [layers, labels]
        so_far = self._so_far(labels, index)
        if self.free:
            return np.asarray(so_far + gains[0] >= known[0])
        # Under a limit a label stands in the layer of the exits that are left; none has more.
        beyond = np.append(known, np.full(self.layers, np.inf))
        needed = beyond[labels.count + np.arange(self.layers)[:, None]]
        return np.asarray((so_far + gains >= needed).any(axis=0))


def _amounts(things: Sequence[Item | Filler], resources: int) -> Array:
    """What items or fillers take of each resource, and last whether they count as an exit [resources + 1, things]."""
    rows = [(*thing.takes, thing.exits) for thing in things]
    return np.ascontiguousarray(np.array(rows, dtype=np.float64).reshape(len(things), resources + 1).T)


def find_prices(stairs: Staircase, start: Labels, exits: int | None, *, tolerance: float) -> tuple[Prices, list[int]]:
    """Prices at which the bound is low, and the items of the best staircase met on the way that fits the limits.

    Args:
        start: the label of a sweep.
        exits: most exits, those that replace fillers left out; None means no limit.
    """
    limits = _Limits(stairs, start, exits)
    prices = best = Prices(np.zeros(stairs.bits), (0.0,) * len(stairs.quotas))
    known: list[int] = []
    best_bound, best_value = np.inf, stairs.value(known)
    step, waited = 1.0, 0
    table = PricedStaircase(stairs, prices, None)
    for _ in range(_SUBGRADIENT_STEPS):
        table.reprice(prices)
        path = table.paths()[0]
        bound = table.bound(start) + prices.exits * (exits or 0)
        waited += 1
        if bound < best_bound - 1e-9 * abs(bound):
            best, best_bound, waited = prices, bound, 0
        kept = table.known(path)
        value = stairs.value(kept)
        if value > best_value and limits.hold(kept):
            known, best_value = kept, value
        slope, rises = limits.slopes(prices, path)
        steepness = float(slope @ slope) + sum(rise**2 for rise in rises)
        if not steepness or best_bound - best_value <= tolerance:
            break
        if waited >= _PATIENCE:
            step, waited = step / 2, 0
        prices = limits.moved(prices, slope, rises, stride=step * (bound - best_value) / steepness)
    return replace(best, exits=0.0), known


class _Limits:
    """The limits that have prices: on each resource, and last that on the number of exits.

    Args:
        exits: most exits; None means no limit, and no price.
    """

    def __init__(self, stairs: Staircase, start: Labels, exits: int | None) -> None:
        self.stairs = stairs
        self.most = [*stairs.quotas.most.tolist(), np.inf if exits is None else float(exits)]
        self.begin = [*start.takes[0].tolist(), 0.0]
        # In units of a typical item, so that bytes do not drown the placements.
        amounts = np.abs(_amounts(stairs.items, len(stairs.quotas)))
        self.units = [max(1e-12, float(np.mean(row))) if len(row) else 1.0 for row in amounts]

    def _taken(self, things: Sequence[Item | Filler]) -> list[float]:
        return [sum(row) for row in _amounts(things, len(self.stairs.quotas)).tolist()]

    def hold(self, items: Sequence[int]) -> bool:
        """Whether some items keep to all limits."""
        taken = self._taken([self.stairs.items[index] for index in items])
        return all(a + b <= most for a, b, most in zip(self.begin, taken, self.most, strict=True))

    def slopes(self, prices: Prices, path: list[int]) -> tuple[Array, list[float]]:
        """Slopes of the bound: by how much a path overuses each placement, and each limit in its unit.

        Where a price is 0 already, and would fall, the slope is 0.
        """
        items = [self.stairs.items[index] for index in path]
        uses = np.zeros(self.stairs.bits)
        for item in items:
            if item.bit is not None:
                uses[item.bit] += 1
        things: list[Item | Filler] = [*items]
        for bit, fillers in self.stairs.others.items():
            cheapest = min(fillers, key=lambda filler: prices.payment(filler, None), default=None)
            if cheapest is not None and -prices.payment(cheapest, None) > prices.places[bit]:
                things.append(cheapest)  # what is paid back is the bonus, so the price of the placement only costs
            else:
                uses[bit] -= 1
        rises = []
        for price, *amounts, unit in zip(
            (*prices.units, prices.exits), self.begin, self._taken(things), self.most, self.units, strict=True
        ):
            begin, taken, most = amounts
            rise = (begin + taken - most) / unit
            rises.append(rise if rise > 0 or price > 0 else 0.0)
        return np.where((uses > 0) | (prices.places > 0), uses, 0.0), rises

    def moved(self, prices: Prices, slope: Array, rises: Sequence[float], *, stride: float) -> Prices:
        """Prices after a step along the slopes."""
        *units, exits = (
            max(0.0, price + stride * rise / unit)
            for price, rise, unit in zip((*prices.units, prices.exits), rises, self.units, strict=True)
        )
        return Prices(np.maximum(0.0, prices.places + stride * slope), tuple(units), exits)
