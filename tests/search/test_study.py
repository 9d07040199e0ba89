from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from random_problems import random_problem

from exitsearch.errors import InputError
from exitsearch.search.problem import Problem
from exitsearch.search.solver.exact import solve
from exitsearch.search.study import run_study, study_name
from exitsearch.search.value import expected_value


@pytest.fixture
def problem() -> Problem:
    found = replace(random_problem(10, policy="interruptible"), max_exits=None)
    assert len(found.by_placement) >= 3
    return found


def test_the_first_trial_is_the_solvers(problem: Problem) -> None:
    solution = solve(problem)
    result = run_study(problem, trials=1, first=solution.choice)
    assert (result.choice, result.value, result.trials) == (solution.choice, solution.value, 1)
    assert result.value_without_first == -float("inf")


def test_optuna_finds_something_itself(problem: Problem) -> None:
    result = run_study(problem, trials=40, seed=1)
    assert result.value == pytest.approx(expected_value(problem, result.choice))
    assert result.value == result.value_without_first
    assert expected_value(problem, ()) < result.value <= solve(problem).value + 1e-12
    assert run_study(problem, trials=40, seed=1).choice == result.choice


@pytest.mark.parametrize("form", ["{}/one.journal", "journal:///{}/one.journal", "sqlite:///{}/one.db"])
def test_a_stored_study_goes_on_where_it_stopped(problem: Problem, form: str, tmp_path: Path) -> None:
    storage, first = form.format(tmp_path), solve(problem).choice
    calls: list[tuple[int, float]] = []
    half = run_study(problem, trials=6, first=first, storage=storage, on_trial=lambda *call: calls.append(call))
    whole = run_study(problem, trials=9, first=first, storage=storage, on_trial=lambda *call: calls.append(call))
    assert (half.trials, whole.trials) == (6, 9)
    assert [number for number, _ in calls] == list(range(1, 10))
    assert run_study(problem, trials=9, first=first, storage=storage).trials == 9
    url = storage if "sqlite" in storage else None
    backend = url or optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "one.journal"))
    )
    study = optuna.load_study(study_name=half.name, storage=backend)
    origins = [trial.user_attrs.get("origin") for trial in study.trials]
    assert origins == ["exact solver", *[None] * 8]
    drawn = [tuple(sorted(trial.params.items())) for trial in study.trials[1:]]
    assert len(set(drawn)) > 3  # the second run did not draw the first one's random trials again


def test_every_problem_has_its_own_study(problem: Problem) -> None:
    others = [
        replace(problem, policy="contract"),
        replace(problem, max_exits=2),
        replace(problem, slowdown=(1.0, 1.1)),
        replace(problem, final_ms=problem.final_ms + 1e-9),
        replace(problem, candidates=problem.candidates[:-1]),
        random_problem(11, policy="interruptible"),
    ]
    names = {study_name(other) for other in [problem, *others]}
    assert len(names) == 7
    assert study_name(replace(problem)) == study_name(problem)
    assert all(len(name) == len("exitsearch-") + 12 for name in names)


def test_no_result_is_taken_from_a_trial_with_too_many_exits(problem: Problem) -> None:
    limited = replace(problem, max_exits=1)
    best = []
    result = run_study(limited, trials=40, seed=2, on_trial=lambda number, value: best.append(value))
    assert len(result.choice) <= 1
    assert result.value <= solve(limited).value + 1e-12
    assert best[-1] == result.value


def test_an_interrupt_ends_with_what_there_is(problem: Problem) -> None:
    def stop(number: int, value: float) -> None:
        if number == 5:
            raise KeyboardInterrupt

    result = run_study(problem, trials=50, first=solve(problem).choice, on_trial=stop)
    assert result.interrupted
    assert result.trials == 5
    assert result.value == pytest.approx(solve(problem).value)


def test_no_trials_are_no_result(problem: Problem) -> None:
    result = run_study(problem, trials=0)
    assert (result.choice, result.value, result.trials) == ((), -float("inf"), 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": -1}, "at least 0, found -1"),
        ({"trials": 1, "storage": "study.db"}, "FILE.journal or a URL"),
        ({"trials": 1, "storage": "nonsense://here"}, "cannot be opened"),
        ({"trials": 1, "storage": "sqlite:////no/such/folder/study.db"}, "cannot be opened"),
    ],
)
def test_a_storage_that_cannot_be_used_is_said(problem: Problem, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_study(problem, **options)


@pytest.mark.parametrize("text", ["this is no journal\n", "half a line", '{"a": 1}\n{"b', "{}", "\x00\xff"])
def test_a_foreign_journal_is_said_and_left_alone(problem: Problem, tmp_path: Path, text: str) -> None:
    path = tmp_path / "foreign.journal"
    path.write_text(text)
    with pytest.raises(InputError, match="cannot be opened: it is no journal of Optuna's and is left as it is"):
        run_study(problem, trials=1, storage=str(path))
    assert path.read_text() == text


@pytest.mark.parametrize("keep", [0, 1, 5, 40])
def test_half_a_first_line_is_cut_off(problem: Problem, tmp_path: Path, keep: int) -> None:
    """What a process leaves that was killed as it began."""
    path = tmp_path / "half.journal"
    run_study(problem, trials=1, storage=str(path))
    path.write_bytes(path.read_bytes()[:keep])
    assert run_study(problem, trials=3, storage=str(path)).trials == 3


def test_a_file_that_takes_the_journals_place_is_left_alone(problem: Problem, tmp_path: Path) -> None:
    path = tmp_path / "study.journal"

    def replaced(number: int, _value: float) -> None:
        if number == 2:
            path.write_text("my notes")

    with pytest.raises(InputError, match="is left as it is"):
        run_study(problem, trials=5, storage=str(path), on_trial=replaced)
    assert path.read_text() == "my notes"


def test_optunas_own_logging_is_left_as_it_was(problem: Problem, capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    run_study(problem, trials=3)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr().err == ""
