"""The table of resources: a row that no module has heard of is held by both exact policies, Optuna, and in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import exhaustive
import numpy as np
import pytest
from random_problems import random_problem
from toy_documents import toy_outcomes, toy_profile

from exitsearch.errors import InputError
from exitsearch.search.baselines import baselines
from exitsearch.search.build import build_problem
from exitsearch.search.problem import Choice, Problem
from exitsearch.search.resources import RESOURCES, Measured, Resource, Source
from exitsearch.search.solver import interruptible
from exitsearch.search.solver.exact import solve
from exitsearch.search.study import run_study
from exitsearch.search.study.storage import open_study
from exitsearch.specs.profile import HeadCost, Profile
from exitsearch.specs.question.limits import Limits
from exitsearch.specs.question.request import OBJECTIVES, Policy, SearchRequest

POLICIES: tuple[Policy, ...] = ("interruptible", "contract")
FLASH = Resource("flash", "flash_bytes", "max_flash_bytes", "at most {} bytes of flash")


@pytest.fixture
def _flash(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new limit: one row."""
    monkeypatch.setitem(RESOURCES, "flash", FLASH)


def with_flash(seed: int, policy: Policy) -> Problem:
    """A random problem with a limit on the flash of its heads, half of them with others too; amounts often tie."""
    rng = np.random.default_rng([seed, 3])
    problem = (
        random_problem(seed, policy=policy) if seed % 2 else exhaustive.tied_problem(seed, policy=policy, samples=0)
    )
    candidates = tuple(
        replace(c, takes={**c.takes, "flash_bytes": int(rng.integers(0, 5)), "buffer": int(rng.integers(0, 4))})
        for c in problem.candidates
    )
    return replace(problem, candidates=candidates, limits={**problem.limits, "flash": int(rng.integers(0, 9))})


def best_of_all(problem: Problem, keeps: dict[Choice, bool]) -> float:
    """The best value of all choices that keep to the limits, by the formulas of exhaustive.py; minus infinity: none."""
    value = exhaustive.values(problem)
    return max((value(choice) for choice, kept in keeps.items() if kept), default=-math.inf)


def flash_of(problem: Problem, choice: Choice) -> int:
    return sum(problem.candidates[position].takes["flash_bytes"] for position in choice)  # type: ignore[misc]


def kept_to(problem: Problem) -> dict[Choice, bool]:
    """Every choice, and whether it keeps to all limits: those that exhaustive.py knows, and that on flash."""
    return {
        choice: exhaustive.keeps(problem, choice) and flash_of(problem, choice) <= problem.limits["flash"]
        for choice in exhaustive.choices(problem)
    }


def check(problem: Problem, keeps: dict[Choice, bool]) -> bool:
    """Compare the exact solver with all choices; whether there is any."""
    best = best_of_all(problem, keeps)
    assert {choice for choice in keeps if problem.allows(choice)} == {choice for choice, kept in keeps.items() if kept}
    if best == -math.inf:
        with pytest.raises(InputError, match=f"at most {problem.limits['flash']} bytes of flash"):
            solve(problem)
        return False
    found = solve(problem)
    assert found.exact
    assert keeps[found.choice]
    assert found.value == pytest.approx(best, abs=1e-12)
    for count, value in found.by_count:
        few = {choice: kept and len(choice) <= count for choice, kept in keeps.items()}
        assert value == pytest.approx(best_of_all(problem, few), abs=1e-12)
    return True


@pytest.mark.usefixtures("_flash")
@pytest.mark.parametrize("policy", POLICIES)
def test_both_policies_hold_a_new_limit(policy: Policy) -> None:
    solved, binding = 0, 0
    for seed in range(150):
        problem = with_flash(seed, policy)
        if check(problem, kept_to(problem)):
            solved += 1
            free = solve(replace(problem, limits={n: m for n, m in problem.limits.items() if n != "flash"}))
            binding += flash_of(problem, free.choice) > problem.limits["flash"]
    assert solved > 100
    assert binding > 15


@pytest.mark.usefixtures("_flash")
def test_with_prices_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruptible, "_MANY", 0)
    for seed in range(40):
        problem = with_flash(seed, "interruptible")
        check(problem, kept_to(problem))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_maximum_may_stand_in_a_new_limit(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest buffer of the chosen heads counts once; in every second problem memory has a maximum as well."""
    monkeypatch.setitem(RESOURCES, "flash", replace(FLASH, once="buffer"))
    for seed in range(40):
        problem = with_flash(seed, policy)
        takes = [{**c.takes, "held_bytes": c.takes["buffer"] * (seed % 4 > 1)} for c in problem.candidates]
        candidates = tuple(replace(c, takes=t) for c, t in zip(problem.candidates, takes, strict=True))
        problem = replace(problem, candidates=candidates)

        def largest(choice: Choice, name: str, problem: Problem = problem) -> float:
            return max((problem.candidates[p].takes[name] for p in choice), default=0)

        memory = problem.limits.get("memory", math.inf)
        keeps = {
            choice: exhaustive.keeps(problem, choice)
            and flash_of(problem, choice) + largest(choice, "buffer") <= problem.limits["flash"]
            and sum(problem.candidates[p].takes.get("memory_bytes", 0) for p in choice) + largest(choice, "held_bytes")
            <= memory
            for choice in exhaustive.choices(problem)
        }
        check(problem, keeps)


def test_a_new_limit_may_speak_of_each_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under `contract` one head is run: the dearest answer counts, not the sum."""
    monkeypatch.setitem(RESOURCES, "flash", replace(FLASH, alone=("flash_bytes", "buffer")))
    for seed in range(40):
        problem = replace(with_flash(seed, "contract"), backbone={"energy": 0.0, "flash": 2})
        problem = replace(problem, limits={**problem.limits, "flash": problem.limits["flash"] + 2})
        keeps = {
            choice: exhaustive.keeps(problem, choice)
            and all(
                problem.candidates[p].takes["flash_bytes"] + problem.candidates[p].takes["buffer"]
                <= problem.limits["flash"]
                for p in choice
            )
            for choice in exhaustive.choices(problem)
        }
        check(problem, keeps)


@pytest.mark.usefixtures("_flash")
def test_the_part_of_the_backbone_is_taken_off() -> None:
    for policy in POLICIES:
        for seed in range(20):
            problem = with_flash(seed, policy)
            most = problem.limits["flash"]
            whole = replace(
                problem,
                backbone={**problem.backbone, "flash": 100},
                limits={**problem.limits, "flash": most + 100},
            )
            assert {c for c in kept_to(problem) if whole.allows(c)} == {
                c for c, kept in kept_to(problem).items() if kept
            }
            assert whole.taken("flash", (0,)) == 100 + flash_of(problem, (0,))
            if any(kept_to(problem).values()):
                assert solve(whole).value == solve(problem).value


@pytest.mark.usefixtures("_flash")
def test_optuna_and_baselines_hold_it(tmp_path: Path) -> None:
    seeds: Iterator[int] = (seed for seed in range(1, 99, 2) if kept_to(with_flash(seed, "interruptible"))[()])
    for seed in list(seeds)[:5]:
        problem = with_flash(seed, "interruptible")
        storage = f"{tmp_path}/{seed}.journal"
        found = run_study(problem, trials=15, storage=storage)
        assert flash_of(problem, found.choice) <= problem.limits["flash"]
        assert found.value <= solve(problem).value + 1e-12
        most = problem.limits["flash"]
        trials = open_study(found.name, storage).trials
        assert trials
        for trial in trials:
            heads = [(int(name.split()[1]), head) for name, head in trial.params.items() if head != "-"]
            taken = flash_of(problem, tuple(problem.positions[pair] for pair in heads))
            assert trial.constraints["max_flash_bytes"] == (taken - most) / max(1, most)
        assert all(flash_of(problem, row.choice) <= most for row in baselines(problem))


@pytest.mark.usefixtures("_flash")
def test_studies_with_and_without_it_are_told_apart() -> None:
    problem = with_flash(1, "interruptible")
    other = replace(problem, limits={**problem.limits, "flash": problem.limits["flash"] + 1})
    free = replace(problem, limits={})
    assert len({problem.key(), other.key(), free.key()}) == 3
    assert "max_flash_bytes" not in free.key()


def test_a_limit_that_no_row_knows_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="table of resources"):
        replace(random_problem(1, policy="contract"), limits={"flash": 3})


class FlashLimits(Limits):
    """A request's limits with one more."""

    max_flash: int | None = None


def flash_in(profile: Profile, heads: Sequence[HeadCost]) -> Measured:
    """4 bytes a parameter, and 100 of the backbone."""
    known = all(cost.params is not None for cost in heads)
    return Measured(known, 100, [{"flash_bytes": 4 * (cost.params or 0)} for cost in heads])


SOURCE = Source(
    "max_flash",
    flash_in,
    unknown="the profile knows no flash",
    remedy="measure it",
    amount="{} bytes",
    whose=" of flash",
    taken_off=True,
)


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_from_a_profile_and_a_request(policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads a have 10 parameters and b 20, so 40 and 80 bytes: all pairs fit into 80, one a into 40."""
    monkeypatch.setitem(RESOURCES, "flash", replace(FLASH, source=SOURCE))
    outcomes = toy_outcomes(tmp_path / "outcomes")

    def chosen(most: int, profile: Profile) -> list[tuple[int, str]]:
        limits = FlashLimits(max_flash=most)
        problem, _ = build_problem(
            profile, outcomes, SearchRequest(budget="uniform:0,20", policy=policy, limits=limits)
        )
        assert problem.limits == {"flash": most - 100}
        return [(c.placement, c.head) for c in problem.chosen(solve(problem).choice)]

    data = toy_profile().model_dump()
    for head in data["heads"]:
        head["params"] = 20 if head["head"] != "a" else 10
    profile = Profile.model_validate(data)
    assert chosen(180, profile) == [(0, "a"), (1, "a")]
    assert len(chosen(179, profile)) == 1
    assert chosen(139, profile) == []
    with pytest.raises(
        InputError, match=r"takes 100 bytes of flash, more than the 99 bytes allowed; raise --max-flash"
    ):
        chosen(99, profile)
    data["heads"][0]["params"] = None
    with pytest.raises(InputError, match="the profile knows no flash, so --max-flash cannot hold; measure it"):
        chosen(180, Profile.model_validate(data))


def test_every_row_is_limited_by_a_field_of_a_request() -> None:
    options = {row.source.option: row.source.limit for row in RESOURCES.values() if row.source is not None}
    assert list(options) == ["--max-extra-params", "--max-memory", "--max-energy"]
    assert set(options.values()) <= Limits.model_fields.keys()
    for name in {"params", "memory", "energy", "time"} & set(OBJECTIVES):
        assert name in RESOURCES


def test_what_each_row_says() -> None:
    """Sentences and constraints' names, which studies in journals keep."""
    assert {row.constraint: row.words.format(7) for row in RESOURCES.values()} == {
        "max_params": "at most 7 extra parameters",
        "max_memory_bytes": "at most 7 bytes of heads",
        "max_energy_mj": "at most 7 mJ an answer",
        "max_heads_ms": "at most 7 ms of heads",
    }
