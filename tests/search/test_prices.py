from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from random_problems import all_choices, problem_of, random_problem
from tied_problems import tied_problem

from exitsearch.search.problem import Problem
from exitsearch.search.solver import prices as module
from exitsearch.search.solver.contract import ContractSolver
from exitsearch.search.solver.labels import Labels
from exitsearch.search.solver.prices import PricedStaircase, Prices, find_prices
from exitsearch.search.solver.staircase import FINAL, Item, Staircase
from exitsearch.search.value import contract_value


def start_of(problem: Problem) -> tuple[Staircase, Labels]:
    """The staircase of a problem, and the label of a sweep: the fillers of forced placements."""
    solver = ContractSolver(problem, tolerance=1e-13, most_labels=1000)
    return solver.stairs, solver._start()


def problems(count: int) -> Iterator[tuple[Problem, float]]:
    """Problems of `contract` with limits, and their best values by trying all."""
    for seed in range(count):
        problem = (random_problem if seed % 3 == 0 else tied_problem)(seed, policy="contract")
        if seed % 3 == 0:
            problem = replace(problem, limits={"params": 3})
        values = [contract_value(problem, choice) for choice in all_choices(problem)]
        if values:
            yield problem, max(values)


def test_what_an_item_pays_by_hand() -> None:
    """Placement 0.5, 3 units at 0.25 and 2 at 0.125, and one exit at 0.0625."""
    prices = Prices(np.array([0.5]), (0.25, 0.125), 0.0625)
    item = Item(position=0, level=1, reached=1.0, exits=1, params=9, takes=(3.0, 2.0), met=0, bit=0)
    assert prices.payment(item, item.bit) == 0.5 + 0.75 + 0.25 + 0.0625
    assert prices.payment(replace(item, exits=0), None) == 1.0


def test_a_priced_bound_by_hand() -> None:
    """Head (answers at 2 of uniform:0,10: 0.8, worth 0.5, 4 parameters), final exit too late; at most 2 parameters.

    Without prices it adds 0.4. At 0.05 a parameter it pays 0.2, and the 2 of the limit come to 0.1: 0.2 + 0.1. At 0.1
    it is not worth its price, and 0.2 is left.
    """
    problem = problem_of([(0, 1.0, 1.0, 0.5)], final=(10.0, 0.9), budget="uniform:0,10", policy="contract")
    candidates = (replace(problem.candidates[0], takes={"params": 4}),)
    stairs, start = start_of(replace(problem, candidates=candidates, limits={"params": 2}))
    table = PricedStaircase(stairs, Prices(np.zeros(0), (0.0,)), None)
    for price, bound in ((0.0, 0.4), (0.05, 0.3), (0.1, 0.2)):
        table.reprice(Prices(np.zeros(0), (price,)))
        assert table.bound(start) == pytest.approx(bound)


def test_at_any_prices_no_choice_is_worth_more_than_the_bound() -> None:
    rng = np.random.default_rng(1)
    limited = 0
    for problem, best in problems(90):
        stairs, start = start_of(problem)
        scale = float(np.ptp(stairs.values)) or 1.0
        for _ in range(5):
            places = rng.exponential(0.3, stairs.bits) * scale * (rng.random(stairs.bits) < 0.7)
            units = tuple((rng.exponential(0.2, len(stairs.quotas)) * scale).tolist())
            table = PricedStaircase(stairs, Prices(places, units), None)
            assert table.bound(start) >= best - 1e-12
        limited += len(stairs.quotas) > 0
    assert limited > 30


def test_found_prices_lower_the_bound_and_what_is_known_keeps_to_the_limits() -> None:
    lower = 0
    for problem, best in problems(90):
        stairs, start = start_of(problem)
        nothing = Prices(np.zeros(stairs.bits), (0.0,) * len(stairs.quotas))
        prices, known = find_prices(stairs, start, None, tolerance=1e-13)
        before = PricedStaircase(stairs, nothing, None).bound(start)
        bound = PricedStaircase(stairs, prices, None).bound(start)
        assert best - 1e-12 <= bound <= before + 1e-12
        lower += bound < before - 1e-6
        taken = start.takes[0] + sum((np.array(stairs.items[i].takes) for i in known), np.zeros(len(stairs.quotas)))
        assert (taken <= stairs.quotas.most).all() or not known
        assert stairs.value(known) <= best + 1e-12 or problem.max_exits is not None or problem.min_values
    assert lower > 10


def test_a_limit_on_exits_has_a_price_while_prices_are_sought_only() -> None:
    """Three placements, each worth more than the one before, and one exit allowed."""
    exits = [(place, 1.0 + place, 1.0, 0.3 + 0.2 * place) for place in range(3)]
    problem = problem_of(exits, final=(9.0, 0.75), budget="uniform:0,10", policy="contract")
    stairs, start = start_of(problem)
    prices, known = find_prices(stairs, start, 1, tolerance=1e-13)
    assert prices.exits == 0.0
    assert len([index for index in known if stairs.items[index].position != FINAL]) <= 1


def test_rows_between_those_kept_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With layers only every so many rows are kept: the same table as one that keeps all."""
    for problem, _ in problems(30):
        stairs, _ = start_of(problem)
        prices = Prices(np.full(stairs.bits, 0.05), (0.01,) * len(stairs.quotas))
        with monkeypatch.context() as patched:
            patched.setattr(module, "isqrt", lambda count: 1)
            whole = PricedStaircase(stairs, prices, 2)
        table = PricedStaircase(stairs, prices, 2)
        for index in range(len(stairs.items) + 1):
            assert table.at(index).tolist() == whole.at(index).tolist()


def test_known_keeps_one_item_a_placement() -> None:
    """Heads a and b of one placement rise one behind the other; b matters more: 0.5 * 0.8 against 0.8 * 0.7."""
    exits = [(0, 1.0, 1.0, 0.5), (0, 1.0, 2.0, 0.8)]
    stairs, _ = start_of(problem_of(exits, final=(20.0, 0.0), budget="uniform:0,10", policy="contract"))
    table = PricedStaircase(stairs, Prices(np.zeros(1), ()), None)
    path = table.paths()[0]
    assert [stairs.items[index].position for index in path] == [0, 1]
    assert [stairs.items[index].position for index in table.known(path)] == [1]
