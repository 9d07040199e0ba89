"""The exact solver against all choices on the fewest problems; and that a wrong solver is found out."""

from __future__ import annotations

from dataclasses import replace

import check_exact
import exhaustive


def test_smallest(call):
    called = call("check_exact", "--problems", "12", "--seed", "7")
    assert called.status == 0
    assert called.document["schema_version"] == 1
    assert (called.figures["problems"], called.figures["seed"]) == (12, 7)
    runs = called.figures["runs"]
    assert [(run["policy"], run["samples"]) for run in runs] == [
        (policy, samples) for policy in ("interruptible", "contract") for samples in (0, 1, 64, 65, 3000)
    ]
    for run in runs:
        # 12 over 5 numbers of samples, rounded up.
        assert run["problems"] == 3
        assert 0 <= run["feasible"] <= 3
        assert 0 <= run["difference"] <= 1e-9
        assert run["unproved"] == run["ties"] == run["feasibility"] == run["assertions"] == run["wrong"] == 0
    assert any(run["feasible"] for run in runs)
    heading, *rows = called.out.splitlines()
    assert heading.split() == list(runs[0])
    assert [row.split()[:4] for row in rows] == [
        [run["policy"], str(run["samples"]), "3", str(run["feasible"])] for run in runs
    ]


def test_a_solver_that_leaves_a_choice_out_is_found_out(call, monkeypatch):
    """Without its first exit a choice is worth less, or breaks a limit, somewhere."""
    right = exhaustive.solve
    monkeypatch.setattr(exhaustive, "solve", lambda problem: replace(right(problem), choice=right(problem).choice[1:]))
    called = call("check_exact", "--problems", "30")
    assert called.status == 1
    wrong = sum(run["wrong"] for run in called.figures["runs"])
    assert wrong > 0
    # A choice that breaks a limit has no value to compare.
    assert any(run["difference"] is None and run["feasibility"] for run in called.figures["runs"])
    lines = [line for line in called.out.splitlines() if line.startswith("seed ")]
    assert len(lines) == min(wrong, check_exact.SHOWN)


def test_no_problems_are_refused(capsys):
    assert check_exact.main(["--problems", "0"]) == 2
    assert capsys.readouterr().err == "check_exact: --problems must be 1 or more; found 0\n"
