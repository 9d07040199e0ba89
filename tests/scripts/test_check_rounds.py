"""Made-up banks trained in rounds; and that a bound which is too low, or a choice that is missed, is found out."""

from __future__ import annotations

from dataclasses import replace

import check_rounds
import pytest

from exitsearch.search.untrained import Standing

SMALL = ("--banks", "3", "--placements", "4", "--head-types", "4")


def test_smallest(call):
    called = call("check_rounds", *SMALL, "--tolerances", "0,0.05")
    assert called.status == 0
    assert called.figures["wrong"] == 0
    rows = called.figures["rows"]
    assert [(row["policy"], row["tolerance"]) for row in rows] == [
        (policy, tolerance) for policy in check_rounds.EXACT for _ in range(3) for tolerance in (0.0, 0.05)
    ]
    for row in rows:
        assert row["candidates"] <= 16
        assert 0 < row["trained"] <= row["candidates"]
        assert 0 < row["cost"] <= 1
        assert 0 <= row["gain"] <= row["bound"] + 1e-12 <= row["tolerance"] + 1e-11
    assert [line for line in called.out.splitlines() if line.startswith("tolerance 0: ")]
    assert len(called.out.splitlines()) == 1 + len(rows) + 2


def test_a_seed_is_a_bank():
    one, again, other = (check_rounds.made_up(seed, placements=3, heads=2) for seed in (1, 1, 2))
    assert one == again
    assert one.profile != other.profile


def test_documents_of_ones_own(call, documents):
    """One bank for each budget; every head of these is in the first round, but for what a policy leaves aside."""
    called = call("check_rounds", *documents, "--tolerances", "0", "--quiet")
    assert called.status == 0
    assert len(called.figures["rows"]) == len(check_rounds.EXACT) * len(check_rounds.BUDGETS)
    assert len(called.out.splitlines()) == 1


def test_a_bound_that_is_too_low_is_found_out(call, monkeypatch):
    """A search that stops after the first round and says that nothing is left to gain."""
    right = Standing.could_add
    monkeypatch.setattr(Standing, "next_round", lambda standing, tolerance=None: [])
    monkeypatch.setattr(
        Standing,
        "could_add",
        lambda standing, value, *, optimum: right(replace(standing, untrained=frozenset()), value, optimum=optimum),
    )
    called = call("check_rounds", "--banks", "6", "--placements", "5", "--head-types", "5", "--tolerances", "0")
    assert called.status == 1
    assert called.figures["wrong"] > 0
    assert "more than the bound 0" in called.out
    assert "another one than that of all candidates" in called.out


def test_wrong_tolerances_are_one_sentence(capsys):
    for text in ("x", "-1", "inf"):
        with pytest.raises(SystemExit, match="2"):
            check_rounds.main(["--tolerances", text])
        assert "numbers from 0 with commas between" in capsys.readouterr().err
