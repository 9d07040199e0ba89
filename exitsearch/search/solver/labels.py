"""Labels: partial choices that a solver carries along, and the test that drops one because another does all it can.

A solver sweeps over exits in an order in which the best value so far only rises. A label stands for what was chosen up
to a point of the sweep. Its future gain is, for whatever exits F follow, the integral over values x above its best
value A of g(x), the chance that the first answer worth at least x is in time. Two labels followed by the same F: the
one with the smaller delay has the larger g everywhere. So label 1, with delay d1 <= d2, does at least as well as
label 2 with every F when

    A1 <= A2 and V1 >= V2:  it gains from A1 on, label 2 only from A2 on;
    A1 >  A2 and V1 - V2 >= (A1 - A2) g2:  label 2 gains at most (A1 - A2) g2 more, where g2 is the largest survival
                                           that any later answer of label 2 can have.

Both are the one condition V1 - A1 g >= V2 - A2 g at the two ends g = 0 and g = g2, in which it is linear. Exits in F
worth between A1 and A2, or less than both, are covered: g(x) speaks of the first answer worth at least x.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Rows compared with all others at once; bounds the memory of the pairwise test.
_BLOCK = 128
# So many labels are asked first.
_STRONG = 32


@dataclass
class Labels:
    """Partial choices, one a row.

    Attributes:
        delay: milliseconds by which the chosen heads delay every later answer.
        level: position of the best value so far in the solver's table of values.
        value: expected value of the answers so far, the value of having no answer included.
        count: chosen exits.
        params: parameters of the chosen heads, of which fewer are preferred, limited or not.
        takes: what the chosen heads take of each limited resource [labels, resources].
        met: one bit for each minimum value that is kept to already.
        used: one bit for each placement that may not be chosen again [labels, words].
        node: where the label's history ends in `History`.
    """

    delay: Array
    level: Ints
    value: Array
    count: Ints
    params: Ints
    takes: Array
    met: Ints
    used: NDArray[np.uint64]
    node: Ints

    @classmethod
    def start(cls, fallback: float, *, resources: int = 0, words: int = 0) -> Self:
        """The one label from which a sweep starts: nothing chosen.

        Args:
            resources: how many are limited.
            words: of 64 placements each that may not be chosen again.
        """
        zero = np.zeros(1, dtype=np.int64)
        return cls(
            delay=np.zeros(1),
            level=zero,
            value=np.array([fallback]),
            count=zero,
            params=zero,
            takes=np.zeros((1, resources)),
            met=zero,
            used=np.zeros((1, words), dtype=np.uint64),
            node=zero - 1,
        )

    def __len__(self) -> int:
        return len(self.value)

    def take(self, rows: Ints | Bools) -> Self:
        """The labels of some rows."""
        return type(self)(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        """All labels of several groups."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    def extended(
        self,
        *,
        level: int,
        gain: Array,
        delay: float,
        params: int,
        exits: int = 1,
        takes: Array | float = 0.0,
        met: Ints | int = 0,
    ) -> Self:
        """Every label with one more exit; with `exits=0` it replaces one that was counted already.

        Args:
            takes: of each limited resource [resources].
        """
        return type(self)(
            delay=self.delay + delay,
            level=np.maximum(self.level, level),
            value=self.value + gain,
            count=self.count + exits,
            params=self.params + params,
            takes=self.takes + takes,
            met=self.met | met,
            used=self.used,
            node=self.node,
        )


class History:
    """Who extended whom, so that a label's choice can be read back."""

    def __init__(self) -> None:
        self._parents: list[Ints] = []
        self._items: list[int] = []
        self._starts: list[int] = [0]

    def record(self, labels: Labels, item: int) -> None:
        """Note that every one of these labels, now standing at its parent's node, has just chosen `item`."""
        self._parents.append(labels.node)
        self._items.append(item)
        labels.node = np.arange(self._starts[-1], self._starts[-1] + len(labels))
        self._starts.append(self._starts[-1] + len(labels))

    def choice(self, node: int) -> tuple[int, ...]:
        """The items chosen on the way to a node, ascending."""
        items = []
        while node >= 0:
            group = int(np.searchsorted(self._starts, node, side="right")) - 1
            items.append(self._items[group])
            node = int(self._parents[group][node - self._starts[group]])
        return tuple(sorted(items))


def undominated(
    labels: Labels,
    best: Array,
    ceiling: Array,
    *,
    counted: bool,
    tolerance: float,
) -> Labels:
    """The labels that no other makes superfluous.

    Between labels that do equally well, the one with fewer exits, then fewer parameters, stays. None makes one that
    takes less of a limited resource superfluous.

    Args:
        labels: labels at one point of the sweep.
        best: best value so far of each [labels].
        ceiling: largest survival that a later answer of each can have [labels].
        counted: whether a label must also have no more exits to make another superfluous (limits on their number).
        tolerance: difference of values that counts as none.
    """
    if len(labels) < 2:
        return labels
    # A label can only be dropped for one before it in this order, so of two equal ones the first stays.
    order = np.lexsort((labels.params, labels.count, -labels.value, labels.delay))
    labels = labels.take(order)
    pairs = _Pairs(labels, best[order], ceiling[order], counted=counted, tolerance=tolerance)
    keep = np.ones(len(labels), dtype=np.bool_)
    dropped = np.zeros(len(labels), dtype=np.int64)  # how many each label has made superfluous
    for start in range(0, len(labels), _BLOCK):
        block = mine = np.arange(start, min(start + _BLOCK, len(labels)))
        # Being superfluous passes on from label to label, so those dropped already need not be asked.
        others = np.concatenate([np.flatnonzero(keep[:start]), block])
        if 4 * _STRONG < len(others) < 0.8 * (start + len(block)):
            # Where many go, a few labels make most of them superfluous; only what is left is compared with all.
            strong = np.argpartition(dropped[others], -_STRONG)[-_STRONG:]
            gone = pairs.superfluous(others[strong], mine).any(axis=0)
            keep[mine[gone]] = False
            mine = mine[~gone]
        superfluous = pairs.superfluous(others, mine)
        if len(labels) > 4 * _STRONG:
            dropped[others] += np.count_nonzero(superfluous, axis=1)
        keep[mine] = ~superfluous.any(axis=0)
    return labels.take(keep)


class _Pairs:
    """Labels in an order, to be compared with each other; arguments as in `undominated`."""

    def __init__(self, labels: Labels, best: Array, ceiling: Array, *, counted: bool, tolerance: float) -> None:
        self._labels, self._best, self._ceiling, self._tolerance = labels, best, ceiling, tolerance
        # Fewer exits first, then fewer parameters, as one number.
        _, rank = np.unique(np.stack([labels.count, labels.params]), axis=1, return_inverse=True)
        self._rank = rank.reshape(-1)
        # What must be no more: contiguous columns are compared quicker.
        self._scarce = [np.ascontiguousarray(amounts) for amounts in labels.takes.T]
        if counted:
            self._scarce.append(labels.count)
        self._any_met = bool(labels.met.any())

    def superfluous(self, others: Ints, mine: Ints) -> Bools:
        """Whether some labels make others superfluous, that come behind them [others, mine]."""
        labels, best = self._labels, self._best
        lead = labels.value[others, None] - labels.value[mine]
        margin = np.minimum(lead, lead - (best[others, None] - best[mine]) * self._ceiling[mine])
        found: Bools = margin > self._tolerance
        found |= (margin >= -self._tolerance) & (self._rank[others, None] <= self._rank[mine])
        found &= others[:, None] < mine
        for amounts in self._scarce:
            found &= amounts[others, None] <= amounts[mine]
        if self._any_met:
            found &= (labels.met[mine] & ~labels.met[others, None]) == 0
        for word in range(labels.used.shape[1]):
            bits = labels.used[:, word]
            found &= (bits[others, None] & ~bits[mine]) == 0
        return found
