from __future__ import annotations

import numpy as np

from exitsearch.search.solver.labels import History, Labels, undominated


def labels_of(rows: list[tuple[float, float, int, int]], used: list[int] | None = None) -> Labels:
    """Labels from (delay, value, exits, parameters); each one's node is its row."""
    delay, value, count, params = (np.array(column) for column in zip(*rows, strict=True))
    bits = np.array(used, dtype=np.uint64)[:, None] if used else np.zeros((len(rows), 0), dtype=np.uint64)
    return Labels(
        delay=delay, level=np.zeros(len(rows), dtype=np.int64), value=value, count=count, params=params,
        takes=np.zeros((len(rows), 0)),
        met=np.zeros(len(rows), dtype=np.int64), used=bits, node=np.arange(len(rows)),
    )  # fmt: skip


def kept(labels: Labels, best: list[float], ceiling: float, *, counted: bool = False) -> list[int]:
    result = undominated(labels, np.array(best), np.full(len(labels), ceiling), counted=counted, tolerance=1e-13)
    return sorted(result.node.tolist())


def test_a_label_later_and_worse_goes() -> None:
    assert kept(labels_of([(1.0, 0.5, 1, 1), (2.0, 0.4, 1, 1)]), [0.6, 0.6], 0.5) == [0]


def test_earlier_but_worse_and_later_but_better_both_stay() -> None:
    assert kept(labels_of([(1.0, 0.4, 1, 1), (2.0, 0.5, 1, 1)]), [0.6, 0.6], 0.5) == [0, 1]


def test_a_lower_best_value_can_catch_up_only_as_far_as_survival_allows() -> None:
    """Label 0: V 0.5, A 0.7. Label 1: V 0.4, A 0.5, which gains at most 0.2 g more: 0.1 at g = 0.5, 0.12 at g = 0.6.

    A later exit worth 0.7 or more that answers with chance 0.6 lifts label 1 to 0.4 + 0.12 > 0.5.
    """
    labels = labels_of([(1.0, 0.5, 1, 1), (1.0, 0.4, 1, 1)])
    assert kept(labels, [0.7, 0.5], 0.49) == [0]
    assert kept(labels, [0.7, 0.5], 0.6) == [0, 1]


def test_a_higher_best_value_is_no_merit_by_itself() -> None:
    """What label 1 has reached is in its V; label 0 with the same V can still gain what lies between the A's."""
    assert kept(labels_of([(1.0, 0.4, 1, 1), (1.0, 0.4, 1, 1)]), [0.5, 0.7], 0.5) == [0]


def test_among_equals_fewer_exits_then_fewer_parameters_stay() -> None:
    rows = [(1.0, 0.5, 2, 1), (1.0, 0.5, 1, 9), (1.0, 0.5, 1, 8)]
    assert kept(labels_of(rows), [0.6] * 3, 0.5) == [2]
    # A later label of the same value with fewer exits may end as the preferred one.
    assert kept(labels_of([(1.0, 0.5, 2, 1), (2.0, 0.5, 1, 1)]), [0.6] * 2, 0.5) == [0, 1]


def test_under_a_limit_more_exits_never_stand_in_for_fewer() -> None:
    labels = labels_of([(1.0, 0.5, 2, 1), (2.0, 0.4, 1, 1)])
    assert kept(labels, [0.6, 0.6], 0.5) == [0]
    assert kept(labels, [0.6, 0.6], 0.5, counted=True) == [0, 1]


def test_a_label_that_has_used_a_placement_never_stands_in_for_one_that_may_still_use_it() -> None:
    rows = [(0.0, 0.5, 1, 1), (0.0, 0.4, 1, 1)]
    assert kept(labels_of(rows, used=[0b01, 0b10]), [0.6, 0.6], 0.5) == [0, 1]
    assert kept(labels_of(rows, used=[0b10, 0b11]), [0.6, 0.6], 0.5) == [0]


def test_what_takes_less_of_a_limited_resource_stays() -> None:
    labels = labels_of([(1.0, 0.5, 1, 1), (2.0, 0.4, 1, 1)])
    for first, second, expected in (((3, 1), (3, 1), [0]), ((3, 1), (2, 9), [0, 1]), ((2, 9), (3, 10), [0])):
        labels.takes = np.array([first, second], dtype=np.float64)
        assert kept(labels, [0.6, 0.6], 0.5) == expected


def test_many_labels_are_those_that_no_other_makes_superfluous() -> None:
    """Where a few strong labels are asked first: 1500 in two scarce columns, of which many go, one by one."""
    rng = np.random.default_rng(1)
    delay, value = rng.uniform(size=(2, 1500))
    takes = np.round(rng.exponential(0.3, (1500, 2)) + 0.2 * rng.random((1500, 1)), 1)
    labels = labels_of([(d, v, 1, 1) for d, v in zip(delay, value, strict=True)])
    labels.takes = takes
    slow = [
        j for j in range(1500) if not ((delay <= delay[j]) & (value > value[j]) & (takes <= takes[j]).all(axis=1)).any()
    ]
    assert 20 < len(slow) < 500
    assert kept(labels, [0.5] * 1500, 0.3) == slow


def test_blocks_do_not_change_what_is_kept() -> None:
    rng = np.random.default_rng(0)
    rows = [(d, v, 1, 1) for d, v in rng.uniform(size=(700, 2))]
    best = rng.uniform(size=700)
    found = kept(labels_of(rows), list(best), 0.3)
    slow = [
        j for j, (d, v, _, _) in enumerate(rows)
        if not any(e <= d and min(w - v, w - v - (best[i] - best[j]) * 0.3) > 0 for i, (e, w, _, _) in enumerate(rows))
    ]  # fmt: skip
    assert found == slow


def test_history_reads_a_choice_back() -> None:
    history, start = History(), Labels.start(0.0)
    first = start.extended(level=1, gain=np.array([0.1]), delay=1.0, params=5)
    history.record(first, 3)
    none = first.take(np.array([], dtype=np.int64))
    history.record(none, 9)
    both = Labels.join([first, start]).extended(level=2, gain=np.array([0.1, 0.2]), delay=1.0, params=5)
    history.record(both, 7)
    assert [history.choice(int(node)) for node in (start.node[0], first.node[0], *both.node)] == [
        (),
        (3,),
        (3, 7),
        (7,),
    ]
    assert both.count.tolist() == [2, 1]
    assert both.params.tolist() == [10, 5]
