"""The limit on memory, in which the largest input and output counts once: exact, and no candidate counts unchosen."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_problems import all_choices, brute_force, random_problem
from toy_documents import toy_outcomes, toy_profile

from exitsearch.errors import InputError
from exitsearch.search.build import build_problem
from exitsearch.search.problem import Problem
from exitsearch.search.resources import RESOURCES
from exitsearch.search.run import search
from exitsearch.search.solver.exact import solve
from exitsearch.search.solver.layers import layered, layers
from exitsearch.specs.memory import path_memory
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.request import SearchRequest


def profile_with_bytes(*, weights: dict[str, int], handed: tuple[int, ...], answers: dict[str, int]) -> Profile:
    """The toy profile with 100 bytes of weights a part; heads are named by placement and type, as `0 a`."""
    data = toy_profile().model_dump()
    for part, activations in zip((*data["segments"], data["final"]), handed, strict=True):
        part |= {"weight_bytes": 100, "activation_bytes": activations}
    for head in data["heads"]:
        name = f"{head['placement']} {head['head'][0]}"
        head |= {"weight_bytes": weights[name], "activation_bytes": answers[name]}
    return Profile.model_validate(data)


def test_what_is_forbidden_takes_no_memory(tmp_path: Path) -> None:
    """Backbone 300 and 5 + 5 held: 310. Head a at placement 0 adds 10: 320. Head b holds 5 + 4995: 5300 with 300."""
    profile = profile_with_bytes(
        weights={"0 a": 10, "0 b": 1, "1 a": 1000}, handed=(5, 5, 5), answers={"0 a": 2, "0 b": 4995, "1 a": 2}
    )
    outcomes = toy_outcomes(tmp_path / "outcomes")
    options: dict[str, Any] = {"budget": "uniform:0,20", "trials": 4}
    for policy, forbid in itertools.product(("interruptible", "contract", "confidence"), ([], ["0:b(k=2)"])):
        found = search(profile, outcomes, policy=policy, forbid=forbid, max_memory_bytes=320, **options)  # type: ignore[arg-type]
        assert [(c.placement, c.head) for c in found.problem.chosen(found.choice)] == [(0, "a")], (policy, forbid)
        assert found.memory is not None
        assert found.memory.weight_bytes + found.memory.activation_bytes == 320
        alone = search(profile, outcomes, policy=policy, forbid=forbid, max_memory_bytes=319, **options)  # type: ignore[arg-type]
        assert alone.choice == ()
    with pytest.raises(InputError, match="the backbone alone takes 310 bytes of weights and activations"):
        search(profile, outcomes, max_memory_bytes=309, **options)


def test_a_forbidden_head_of_unknown_bytes_is_no_hindrance(tmp_path: Path) -> None:
    profile = profile_with_bytes(
        weights={"0 a": 10, "0 b": 1, "1 a": 10}, handed=(5, 5, 5), answers={"0 a": 2, "0 b": 2, "1 a": 2}
    )
    data = profile.model_dump()
    data["heads"][1] |= {"weight_bytes": None, "activation_bytes": None, "params": None}
    outcomes = toy_outcomes(tmp_path / "outcomes")
    options: dict[str, Any] = {"budget": "uniform:0,20", "trials": 0, "max_memory_bytes": 330, "max_params": 20}
    with pytest.raises(InputError, match="does not know"):
        search(Profile.model_validate(data), outcomes, **options)
    found = search(Profile.model_validate(data), outcomes, forbid=["0:b(k=2)"], **options)
    assert len(found.choice) == 2


@pytest.mark.parametrize("seed", range(40))
def test_memory_is_that_of_the_path(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Every choice is allowed if and only if `path_memory` keeps to the limit, and the solver's is the best of them."""
    rng = np.random.default_rng(seed)
    names = ("0 a", "0 b", "1 a")
    profile = profile_with_bytes(
        weights={name: int(rng.integers(0, 40)) for name in names},
        handed=tuple(int(n) for n in rng.integers(0, 30, size=3)),
        answers={name: int(rng.integers(0, 80)) for name in names},
    )
    outcomes = toy_outcomes(tmp_path_factory.mktemp("outcomes"))
    problem, _ = build_problem(profile, outcomes, SearchRequest.asked(budget="uniform:0,20"))
    every = list(all_choices(problem))

    def taken(choice: tuple[int, ...]) -> int:
        memory = path_memory(profile, [(c.placement, c.head) for c in problem.chosen(choice)])
        assert memory is not None
        return memory.weight_bytes + memory.activation_bytes

    for limit in {taken(choice) + extra for choice in every for extra in (-1, 0)}:
        if limit < taken(()):
            continue
        limited, _ = build_problem(profile, outcomes, SearchRequest.asked(budget="uniform:0,20", max_memory=limit))
        assert {c for c in every if limited.allows(c)} == {c for c in every if taken(c) <= limit}
        found = solve(limited)
        assert found.exact
        assert limited.allows(found.choice)
        assert found.value == pytest.approx(brute_force(limited)[0], abs=1e-12)


def holding(seed: int, policy: str) -> Problem:
    """A random problem in which heads hold more than the backbone, by amounts that tie."""
    problem = random_problem(seed, policy=policy)  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    candidates = tuple(
        replace(
            c,
            takes={
                **c.takes,
                "memory_bytes": int(rng.integers(0, 5)),
                "held_bytes": int(rng.choice([0, 0, 2, 5])),
            },
        )
        for c in problem.candidates
    )
    forced = (int(rng.choice(sorted(problem.by_placement))),) if rng.random() < 0.2 else ()
    return replace(problem, candidates=candidates, limits={"memory": int(rng.integers(0, 16))}, forced=forced)


def memory_layers(problem: Problem) -> list[tuple[Problem, tuple[int, ...]]]:
    return list(layers(problem, RESOURCES["memory"]))


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_layers_against_brute_force(policy: str) -> None:
    several = 0
    for seed in range(250):
        problem = holding(seed, policy)
        if not any(True for _ in all_choices(problem)):
            with pytest.raises(InputError, match="no choice of exits keeps to all limits"):
                solve(problem)
            continue
        several += len(memory_layers(problem)) > 1
        value, exits, params = brute_force(problem)
        found = solve(problem)
        assert found.exact
        assert found.value == pytest.approx(value, abs=1e-12), seed
        assert (len(found.choice), problem.params(found.choice)) == (exits, params), seed
        for count, best in found.by_count:
            assert best == pytest.approx(brute_force(replace(problem, max_exits=count))[0], abs=1e-12), (seed, count)
    assert several > 50


def test_no_layer_where_nothing_holds_more() -> None:
    problem = holding(3, "interruptible")
    plain = replace(
        problem, candidates=tuple(replace(c, takes={**c.takes, "held_bytes": 0}) for c in problem.candidates)
    )
    assert layered(plain) is None
    ((only, positions),) = memory_layers(plain)
    assert only == plain
    assert positions == tuple(range(len(plain.candidates)))


def test_ample_memory_is_one_layer() -> None:
    problem = replace(holding(3, "interruptible"), limits={"memory": 1000}, forced=())
    ((only, _),) = memory_layers(problem)
    assert len(only.candidates) == len(problem.candidates)
