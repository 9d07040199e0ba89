"""Two workers on one journal, the first killed; and what the check finds wrong with a study."""

from __future__ import annotations

from types import SimpleNamespace

import check_workers
import pytest
from optuna.trial import TrialState

from exitsearch.search.build import build_problem
from exitsearch.search.value import expected_value
from exitsearch.specs.load import load_outcomes, load_profile
from exitsearch.specs.question.request import SearchRequest

WANTED = 120


def test_smallest(call, tmp_path):
    storage = tmp_path / "study.journal"
    called = call("check_workers", "--storage", storage, "--workers", "2", "--trials", WANTED)
    assert called.figures["workers"] == 2
    (run,) = called.figures["runs"]
    assert run["faults"] == []
    assert called.status == 0
    assert (run["storage"], run["finished"], run["running"]) == ("journal", WANTED, 0)
    # Only what the killed worker was at can have been given up.
    assert run["given_up"] <= 1
    assert 0 <= called.figures["alone_repeats"] < WANTED
    assert f"journal: {WANTED} finished, " in called.out
    # The same storage again holds the study already.
    assert check_workers.main(["--storage", str(storage), "--trials", "2"]) == 2


@pytest.fixture(scope="module")
def problem():
    profile, outcomes = load_profile(check_workers.PROFILE), load_outcomes(check_workers.OUTCOMES)
    return build_problem(profile, outcomes, SearchRequest.asked(budget=check_workers.BUDGET))[0]


def trials_of(problem, count):
    """Finished trials, each with one exit of its own."""
    found = []
    for number in range(count):
        candidate = problem.candidates[number]
        params = {f"placement {place}": "-" for place in problem.by_placement}
        params[f"placement {candidate.placement}"] = candidate.head
        value = expected_value(problem, (number,))
        found.append(SimpleNamespace(number=number, state=TrialState.COMPLETE, params=params, value=value))
    return found


def test_a_right_study_has_no_faults(problem):
    assert check_workers.faults(problem, trials_of(problem, 3), 3, 0) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda trials: setattr(trials[1], "number", 7), "the trials' numbers have gaps"),
        (lambda trials: setattr(trials[1], "state", TrialState.RUNNING), "2 trials are finished, not 3"),
        (lambda trials: setattr(trials[1], "state", TrialState.RUNNING), "neither finished nor given up"),
        (lambda trials: trials[1].params.popitem(), "trial 1 lacks parameters"),
        (lambda trials: setattr(trials[1], "value", 0.123), "the value of trial 1 is not that of its choice"),
    ],
)
def test_faults_are_found(problem, change, words):
    trials = trials_of(problem, 3)
    change(trials)
    assert any(words in fault for fault in check_workers.faults(problem, trials, 3, 0))


def test_too_many_repeats_are_a_fault(problem):
    """12 repeats beside none in one process alone: more than ten, and no more than 2 * 1 + 10 beside one."""
    one = trials_of(problem, 1)[0]
    trials = [SimpleNamespace(**{**vars(one), "number": number}) for number in range(13)]
    assert check_workers.repeats(trials) == 12
    (fault,) = check_workers.faults(problem, trials, 13, 0)
    assert fault == "12 trials repeat an earlier one; 0 in one process alone"
    assert check_workers.faults(problem, trials, 13, 1) == []
