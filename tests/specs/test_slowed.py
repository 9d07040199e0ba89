"""The mean over slow-down samples against the formula added up exactly, sample by sample."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitsearch.errors import InputError
from exitsearch.specs.budget import BudgetDistribution, Trace, parse_budget
from exitsearch.specs.budgets import slowed
from exitsearch.specs.budgets.slowed import Factors, SlowedFormula

RNG = np.random.default_rng(0)
# As of a busy machine: most passes alike, a few many times as long, some ties.
SAMPLES = {
    1: np.array([1.3]),
    64: RNG.lognormal(0, 0.15, 64),
    65: np.concatenate([RNG.lognormal(0, 0.15, 60), [1.0, 1.0, 1.0, 31.8, 0.8]]),
    3000: np.concatenate([RNG.lognormal(0, 0.1, 2900), np.full(97, 1.0), [31.8, 1e6, 1e-6]]),
}
BUDGETS = {
    text: parse_budget(text)
    for text in (
        "uniform:10,80",
        "uniform:0,20",
        "uniform:5,5.01",
        "normal:40,10",
        "normal:0,10",
        "normal:3,10",
        "normal:40,0.01",
        "lognormal:30,0.5",
        "lognormal:30,5",
        "lognormal:30,0.001",
        "lognormal:30,100",
        "exponential:40",
        "point:33",
        "point:0",
        "discrete:0@0.1,10@0.2,40@0.7",
        "mix:0.5*normal:40,10+0.2*point:33+0.3*uniform:10,50",
    )
} | {"trace": Trace("made", tuple(RNG.exponential(30, 500).round(1)))}
TIMES = np.concatenate([[-1.0, 0.0, 1e-9, 1e-300, 1e12], RNG.uniform(0.1, 120, 60), np.geomspace(1e-4, 1e4, 30)])


def exactly(budget: BudgetDistribution, samples: np.ndarray, times: np.ndarray) -> list[float]:
    return [math.fsum(budget.survival(samples * t).tolist()) / len(samples) for t in times.tolist()]


@pytest.mark.parametrize("count", SAMPLES)
@pytest.mark.parametrize("text", BUDGETS)
def test_equals_the_formula(text: str, count: int) -> None:
    """To rounding: thousands of numbers are added up, and a steep distribution makes more of the rounding of a time."""
    budget, samples = BUDGETS[text], SAMPLES[count]
    times = np.concatenate([TIMES, 33 / samples[:20], 40 / samples[-20:]])
    found = budget.slowed(samples.tolist())(times)
    steep = {"normal:40,0.01": 100, "lognormal:30,0.001": 100, "uniform:5,5.01": 100}.get(text, 1)
    assert found == pytest.approx(exactly(budget, samples, times), abs=1e-14 * steep)
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("text", ["trace", "discrete:0@0.1,10@0.2,40@0.7", "point:0"])
@pytest.mark.parametrize("chunk", [7, 2**21])
def test_staircases_too_large_for_a_table_are_the_same(text: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The larger of budgets and samples is looked up in, whichever it is; `above` is never less."""
    for samples in SAMPLES.values():
        wanted = BUDGETS[text].slowed(samples.tolist())(TIMES)
        with monkeypatch.context() as patch:
            patch.setattr(slowed, "_MOST_STEPS", 0)
            patch.setattr(slowed, "_CHUNK", chunk)
            without = BUDGETS[text].slowed(samples.tolist())
            assert without(TIMES) == pytest.approx(wanted, abs=1e-14)
            assert (without.above(TIMES) >= wanted - 1e-14).all()


def test_a_family_without_its_own_mean_takes_the_formula() -> None:
    budget = parse_budget("normal:40,10")
    plain = SlowedFormula(budget.survival, Factors.of(SAMPLES[65].tolist()))
    assert plain(TIMES) == pytest.approx(exactly(budget, SAMPLES[65], TIMES), abs=1e-14)
    narrow = parse_budget("normal:40,1e-12").slowed([1.0, 2.0])
    assert list(narrow(np.array([19.0, 39.0, 41.0]))) == [1.0, 0.5, 0.0]


def test_by_hand() -> None:
    """Slow-downs 1 and 2. uniform:0,10 at 4 ms: (0.6 + 0.2) / 2; at 6: (0.4 + 0) / 2. point:5 at 3 ms: 1/2."""
    assert parse_budget("uniform:0,10").slowed([1, 2])(np.array([[4.0], [6.0]])) == pytest.approx(
        np.array([[0.4], [0.2]])
    )
    assert float(parse_budget("point:5").slowed([1, 2])(np.array(3.0))) == 0.5


def test_samples_of_zero_are_always_in_time() -> None:
    for budget in BUDGETS.values():
        assert budget.slowed([0.0, 0.0])(TIMES) == pytest.approx(1.0, abs=0)
        half = budget.slowed([0.0, 1.2])(TIMES)
        assert half == pytest.approx(0.5 + 0.5 * budget.survival(1.2 * TIMES), abs=1e-14)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", [text for text in BUDGETS if text not in ("lognormal:30,100", "point:0")])
def test_times_at_the_ends_of_float64(text: str) -> None:
    """The shortest is as good as none, where there is some budget; no family meets the longest."""
    ends = BUDGETS[text].slowed(SAMPLES[65].tolist())(np.array([5e-324, 1e308, 1.7e308]))
    assert ends == pytest.approx([0.9 if "0@0.1" in text else 1.0, 0.0, 0.0], abs=1e-12)


def test_shares_must_be_resolved_first() -> None:
    with pytest.raises(InputError, match="resolve it with a profile"):
        parse_budget("point:10%").slowed([1.0])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([0.5, 1.0, 1.0, 2.0, 3.0]) | st.floats(1e-3, 1e3), min_size=1, max_size=70),
    st.sampled_from([*BUDGETS]),
    st.lists(st.sampled_from([5.0, 10.0, 33.0, 16.5]) | st.floats(0, 1e3), min_size=1, max_size=5),
)
def test_any_samples_equal_the_formula(samples: list[float], text: str, times: list[float]) -> None:
    found = BUDGETS[text].slowed(samples)(np.array(times))
    assert found == pytest.approx(exactly(BUDGETS[text], np.array(samples), np.array(times)), abs=1e-12)
