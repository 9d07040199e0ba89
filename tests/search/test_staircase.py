from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_problems import all_choices, problem_of, random_problem
from tied_problems import tied_problem

from exitsearch.search.problem import Problem
from exitsearch.search.solver.staircase import FINAL, Staircase
from exitsearch.search.value import contract_value


def stairs_of(problem: Problem) -> Staircase:
    return Staircase(replace(problem, policy="contract"), tolerance=1e-13)


def taking(problem: Problem, *amounts: tuple[int, int]) -> Problem:
    """The problem with (parameters, bytes) of each candidate."""
    candidates = tuple(
        replace(c, takes={"params": params, "memory_bytes": size})
        for c, (params, size) in zip(problem.candidates, amounts, strict=True)
    )
    return replace(problem, candidates=candidates)


def test_items_by_hand() -> None:
    """At 5 + 1 ms, 2 + 3 and 2 + 1 (worth 0.5, 0.7, 0.6), final at 6 (0.9), uniform:0,10: by time, of equal times the
    lowest value first. Values: none 0, 0.5, 0.6, 0.7, 0.9."""
    exits = [(0, 2.0, 1.0, 0.6), (0, 2.0, 3.0, 0.7), (1, 5.0, 1.0, 0.5)]
    stairs = stairs_of(problem_of(exits, final=(6.0, 0.9), budget="uniform:0,10"))
    assert stairs.values.tolist() == [0.0, 0.5, 0.6, 0.7, 0.9]
    assert [(i.position, i.level, i.exits) for i in stairs.items] == [(0, 2, 1), (1, 3, 1), (2, 1, 1), (FINAL, 4, 0)]
    assert [i.reached for i in stairs.items] == pytest.approx([0.7, 0.5, 0.4, 0.4])
    # Placement 0 has two items, so a label remembers it, while one of them is still to come.
    assert [i.bit for i in stairs.items] == [0, 0, None, None]
    assert stairs.open[:, 0].tolist() == [True, True, False, False, False]


def test_a_head_goes_when_another_can_always_take_its_part() -> None:
    """The second is later and worth less; where bytes are limited it stays if it has fewer."""
    exits = [(0, 2.0, 1.0, 0.7), (0, 2.0, 3.0, 0.6)]
    problem = problem_of(exits, final=(6.0, 0.9), budget="uniform:0,10")
    heavy, light = taking(problem, (1, 10), (2, 20)), taking(problem, (1, 10), (1, 5))

    def kept(problem: Problem) -> list[int]:
        return [item.position for item in stairs_of(problem).items if item.position != FINAL]

    assert kept(heavy) == kept(light) == [0]
    assert kept(replace(heavy, limits={"memory": 30})) == [0]
    assert kept(replace(light, limits={"memory": 30})) == [0, 1]


def test_fillers_by_hand() -> None:
    """The forced placement begins with its head of 1 parameter and 9 bytes; the other takes 2 more and 5 bytes less."""
    exits = [(0, 2.0, 1.0, 0.6), (0, 2.0, 3.0, 0.7)]
    problem = taking(problem_of(exits, final=(6.0, 0.9), budget="uniform:0,10"), (1, 9), (3, 4))
    stairs = stairs_of(replace(problem, forced=(0,), limits={"memory": 30}))
    assert stairs.fillers == {0: 0}
    (other,) = stairs.others[0]
    assert (other.position, other.params, other.takes, other.exits) == (1, 2, (-5.0,), 0)
    assert [(i.position, i.params, i.takes, i.exits) for i in stairs.items[:2]] == [
        (0, 0, (0.0,), 0),
        (1, 2, (-5.0,), 0),
    ]
    assert stairs.spare().tolist() == [[5.0]]
    assert stairs.filled(()) == (0,)
    assert stairs.filled((1,)) == (1,)


def test_a_forced_placement_without_an_affordable_head_has_no_filler() -> None:
    """2 mJ to the placement and 3 of the head are more than 4 of an answer."""
    problem = problem_of([(0, 2.0, 1.0, 0.6)], final=(6.0, 0.9), budget="uniform:0,10")
    candidates = (replace(problem.candidates[0], takes={"arrival_mj": 2.0, "head_mj": 3.0}),)
    problem = replace(problem, candidates=candidates, forced=(0,))
    assert stairs_of(replace(problem, limits={"energy": 4.0})).fillers is None
    stairs = stairs_of(replace(problem, limits={"energy": 5.0}))
    assert stairs.fillers == {0: 0}
    # Each answer by itself is within the limit, so nothing of it is summed up.
    assert len(stairs.quotas) == 0


def test_the_value_of_items_is_that_of_the_choice() -> None:
    rng = np.random.default_rng(0)
    compared = 0
    for seed in range(60):
        problem = (random_problem if seed % 2 else tied_problem)(seed, policy="contract")
        stairs = stairs_of(problem)
        where = {item.position: index for index, item in enumerate(stairs.items)}
        choices = [choice for choice in all_choices(replace(problem, forced=())) if set(choice) <= where.keys()]
        for number in rng.permutation(len(choices))[:8]:
            choice = choices[number]
            expected = contract_value(problem, choice)
            assert stairs.value([where[position] for position in choice]) == pytest.approx(expected, abs=1e-12)
            compared += 1
    assert compared > 200


def test_bits_of_many_placements_are_read_from_words() -> None:
    exits = [(place, float(place), head, 0.01 * place + 0.1 * head) for place in range(70) for head in (1.0, 2.0)]
    stairs = stairs_of(problem_of(exits, final=(80.0, 0.9), budget="uniform:0,100"))
    assert stairs.bits == 70
    words = np.zeros((2, 2), dtype=np.uint64)
    words[0, 0], words[1, 1] = 1 << 5, 1 << 3  # the second word begins with placement 64
    used = stairs.used(words)
    assert np.argwhere(used).tolist() == [[0, 5], [1, 67]]
