"""Budget distributions: text round trip, survival worked out by hand, and one-sentence errors."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitsearch.errors import FileError, InputError
from exitsearch.specs.budget import (
    FAMILIES,
    TIME_TOLERANCE,
    Amount,
    BudgetDistribution,
    Discrete,
    Exponential,
    LogNormal,
    Mix,
    Normal,
    Point,
    Uniform,
    parse_budget,
)

TEXTS = [
    "uniform:10,80",
    "uniform:10%,100%",
    "normal:40,10",
    "lognormal:30,0.5",
    "exponential:40",
    "point:33.5",
    "discrete:10@0.2,40@0.8",
    "mix:0.7*uniform:10,40+0.3*point:60",
    "mix:0.5*discrete:1@0.5,2@0.5+0.5*exponential:1000",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_reads_back_to_itself(text: str) -> None:
    budget = parse_budget(text)
    assert str(budget) == text
    assert parse_budget(str(budget)) == budget


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("uniform:2,2.00000000000001", "uniform:2,2.00000000000001"),
        ("uniform:10.0%,1e2%", "uniform:10%,100%"),
        ("point:33.3333333333333333%", "point:33.333333333333336%"),
        ("discrete:0.1@0.30000000000000004,7@0.7", "discrete:0.1@0.30000000000000004,7@0.7"),
        ("mix:0.5*point:1e+20+0.5*normal:1e-7,2e16", "mix:0.5*point:1e20+0.5*normal:1e-07,2e16"),
    ],
)
def test_numbers_are_written_with_all_their_digits(text: str, written: str) -> None:
    budget = parse_budget(text)
    assert str(budget) == written
    assert parse_budget(written) == budget


NUMBERS = st.floats(1e-30, 1e30) | st.integers(1, 10**6).map(lambda n: n / 1000)
TIMES = st.tuples(NUMBERS, st.booleans()).map(lambda time: Amount(*time))


def weights(count: int) -> st.SearchStrategy[list[float]]:
    parts = st.lists(st.integers(1, 10**6), min_size=count, max_size=count)
    return parts.map(lambda found: [part / sum(found) for part in found])


SIMPLE = (
    TIMES.map(Point)
    | TIMES.map(Exponential)
    | st.builds(Normal, TIMES, TIMES)
    | st.builds(LogNormal, TIMES, NUMBERS)
    | st.tuples(NUMBERS, NUMBERS, st.booleans())
    .filter(lambda ends: ends[0] < ends[1])
    .map(lambda ends: Uniform(Amount(ends[0], ends[2]), Amount(ends[1], ends[2])))
    | st.integers(1, 4).flatmap(
        lambda count: st.tuples(st.lists(TIMES, min_size=count, max_size=count), weights(count)).map(
            lambda points: Discrete(tuple(zip(*points, strict=True)))
        )
    )
)
ANY = SIMPLE | st.integers(1, 3).flatmap(
    lambda count: st.tuples(weights(count), st.lists(SIMPLE, min_size=count, max_size=count)).map(
        lambda parts: Mix(tuple(zip(*parts, strict=True)))
    )
)


@settings(max_examples=500, deadline=None)
@given(ANY, NUMBERS, NUMBERS)
def test_what_is_written_reads_back_to_the_same_numbers(
    budget: BudgetDistribution, factor: float, full_ms: float
) -> None:
    """As it is, and as a search writes it: for a batch and in milliseconds."""
    assert parse_budget(str(budget)) == budget
    assert str(parse_budget(str(budget))) == str(budget)
    try:
        changed = budget.scaled(factor).resolved(full_ms)
    except InputError:  # two bounds that meet once they are in the same unit
        return
    if all(math.isfinite(amount.number) and amount.number > 0 for amount in changed.amounts):
        assert parse_budget(str(changed)) == changed


@settings(max_examples=200, deadline=None)
@given(NUMBERS)
def test_a_trace_keeps_its_factor(factor: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.csv"
        path.write_text("1\n3\n")
        scaled = parse_budget(f"trace:{path}").scaled(factor)
        assert parse_budget(str(scaled)) == scaled
        mixed = parse_budget(f"mix:0.5*{scaled}+0.5*point:1")
        assert parse_budget(str(mixed)) == mixed
        assert mixed.support() == (min(1.0, factor), max(1.0, 3 * factor))


@pytest.mark.parametrize("text", ["point:0.3", "discrete:0.3@0.5,0.1@0.5", "uniform:0.3,0.30000000000000004"])
def test_times_that_differ_by_rounding_are_equal(text: str) -> None:
    """0.1 + 0.2 is 4e-17 above 0.3 in float64. A thousandth of a millionth more is another time."""
    budget = parse_budget(text)
    at = float(budget.survival(0.3))
    assert at == float(budget.survival(0.1 + 0.2)) == float(budget.survival(0.3 * (1 + 0.9 * TIME_TOLERANCE))) >= 0.5
    assert float(budget.survival(0.3 * (1 + 1.1 * TIME_TOLERANCE))) == 0.0
    assert float(budget.slowed([1.0, 1.0])(np.array(0.1 + 0.2))) == at


def test_every_family_is_among_the_round_trips() -> None:
    assert {text.partition(":")[0] for text in TEXTS} | {"trace"} == set(FAMILIES)


@pytest.mark.parametrize("text", [t for t in TEXTS if "%" not in t])
def test_survival_falls_from_one_and_is_the_inverse_of_quantile(text: str) -> None:
    budget = parse_budget(text)
    times = np.linspace(0, 200, 401)
    survival = budget.survival(times)
    assert survival[0] == 1.0
    assert np.all(np.diff(survival) <= 1e-12)
    assert np.all((survival >= 0) & (survival <= 1))
    for q in (0.1, 0.25, 0.5, 0.9):
        # P(B >= quantile) >= 1 - q, and just above it no more than 1 - q.
        at = budget.quantile(q)
        assert float(budget.survival(at)) >= 1 - q - 1e-9
        assert float(budget.survival(np.nextafter(at * (1 + 1e-9), np.inf))) <= 1 - q + 1e-6


def test_survival_by_hand() -> None:
    """Worked out: uniform (80-45)/70; exponential e^-1; lognormal at its median 1/2;
    normal truncated at 0 with mean = std: G(mean) = Phi(0) / Phi(1) = 0.5 / 0.841345."""
    assert float(parse_budget("uniform:10,80").survival(45)) == pytest.approx(0.5)
    assert float(parse_budget("exponential:40").survival(40)) == pytest.approx(math.exp(-1))
    assert float(parse_budget("lognormal:30,0.5").survival(30)) == pytest.approx(0.5)
    assert float(parse_budget("normal:10,10").survival(10)) == pytest.approx(0.5 / 0.8413447460685429)
    steps = parse_budget("discrete:10@0.2,40@0.8")
    assert list(steps.survival([10, 10.001, 40, 40.001])) == pytest.approx([1.0, 0.8, 0.8, 0.0])
    mix = parse_budget("mix:0.5*point:10+0.5*point:30")
    assert list(mix.survival([10, 20, 30, 31])) == pytest.approx([1.0, 0.5, 0.5, 0.0])


def test_a_budget_equal_to_the_time_is_in_time() -> None:
    assert float(parse_budget("point:33").survival(33.0)) == 1.0


def test_shares_are_resolved_by_the_full_latency() -> None:
    budget = parse_budget("mix:0.5*uniform:10%,50%+0.5*point:7")
    assert budget.is_relative
    with pytest.raises(InputError, match="resolve it with a profile"):
        budget.survival([1.0])
    assert str(budget.resolved(40.0)) == "mix:0.5*uniform:4,20+0.5*point:7"


def test_trace_from_a_file(tmp_path: Path) -> None:
    one = tmp_path / "one.csv"
    one.write_text("10\n20\n30\n40\n")
    budget = parse_budget(f"trace:{one}")
    assert list(budget.survival([10, 15, 40, 41])) == pytest.approx([1.0, 0.75, 0.25, 0.0])
    assert parse_budget(str(budget)) == budget
    several = tmp_path / "several.csv"
    several.write_text("when,budget\nmon,5\ntue,15\n")
    assert float(parse_budget(f"trace:{several}:budget").survival(10)) == pytest.approx(0.5)
    assert parse_budget(f"mix:0.5*trace:{several}:budget+0.5*point:1").support() == (1.0, 15.0)


@pytest.mark.parametrize("text", TEXTS)
def test_scaled_budgets_are_as_many_times_as_long(text: str) -> None:
    """G of 8 B at 8 t is G of B at t, and the text of the scaled distribution reads back."""
    budget = parse_budget(text)
    scaled = budget.scaled(8)
    assert parse_budget(str(scaled)) == scaled
    times = np.linspace(0, 200, 41)
    plain, longer = budget.resolved(50.0), scaled.resolved(50.0)
    assert longer.survival(8 * times) == pytest.approx(plain.survival(times))
    assert longer.quantile(0.5) == pytest.approx(8 * plain.quantile(0.5))


def test_a_scaled_trace_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("1\n3\n")
    scaled = parse_budget(f"trace:{path}").scaled(4)
    assert str(scaled) == f"trace:4*{path}"
    assert parse_budget(str(scaled)) == scaled
    assert scaled.support() == (4.0, 12.0)
    assert [amount.number for amount in scaled.amounts] == [4.0, 12.0]
    assert str(scaled.scaled(0.25)) == f"trace:{path}"
    assert parse_budget(f"mix:0.5*trace:2*{path}+0.5*point:1").support() == (1.0, 6.0)
    with pytest.raises(InputError, match="FACTOR must be above 0"):
        parse_budget(f"trace:0*{path}")


@pytest.mark.parametrize(
    ("content", "suffix", "words"),
    [
        ("", "", "empty"),
        ("budget\n", "", "only a header"),
        ("a,b\n1,2\n", "", "several columns"),
        ("a,b\n1,2\n", ":c", "no column 'c'"),
        ("a\n1\n-2\n", "", "row 3"),
        ("a\nnan\n", "", "row 2"),
        ("a\nx\n", "", "row 2"),
    ],
)
def test_bad_traces(tmp_path: Path, content: str, suffix: str, words: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(content)
    with pytest.raises(FileError, match=words):
        parse_budget(f"trace:{path}{suffix}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "unknown budget distribution"),
        ("unifrom:1,2", "did you mean 'uniform'"),
        ("uniform", "unknown|write"),
        ("uniform:1", "LO,HI"),
        ("uniform:5,5", "LO must be below HI"),
        ("uniform:a,5", "'a' is not a number"),
        ("uniform:-1,5", "at least 0"),
        ("uniform:1,nan", "finite"),
        ("uniform:1,inf", "finite"),
        ("normal:1,0", "STD must be above 0"),
        ("lognormal:0,1", "above 0"),
        ("exponential:0", "above 0"),
        ("discrete:10,20", "no @probability"),
        ("discrete:10@0.5,20@0.4", "add up to 1"),
        ("discrete:10@1.5,20@-0.5", "above 0"),
        ("mix:0.5*point:1", "add up to 1"),
        ("mix:point:1", "weight and star"),
        ("mix:1*mix:1*point:3", "another mix"),
        ("trace:/no/such/file", "no such file"),
    ],
)
def test_wrong_budgets(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_budget(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40) | st.sampled_from(TEXTS).flatmap(lambda t: st.permutations(list(t)).map("".join)))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    try:
        budget = parse_budget(text)
    except InputError:
        return
    assert parse_budget(str(budget)) == budget
