"""Places in a study that several processes share. The other process is a second study object on the same storage."""

from __future__ import annotations

import datetime
import random

import optuna
import pytest
from optuna.exceptions import TrialPruned, UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import Trial, TrialState

from exitsearch.search.study import shared
from exitsearch.search.study.shared import WITHDRAWN, run_trials

COMPLETE, FAIL, PRUNED = TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED


class Clock:
    """A clock that only sleeping moves, and what happens meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.meanwhile = lambda: None
        monkeypatch.setattr(shared.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(shared.time, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def pair() -> tuple[Study, Study]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.InMemoryStorage()
    mine = optuna.create_study(study_name="one", storage=storage)
    return mine, optuna.load_study(study_name="one", storage=storage)


def number(trial: Trial) -> float:
    return float(trial.number)


def states(study: Study) -> list[TrialState]:
    return [trial.state for trial in study.trials]


def test_a_study_alone_gets_its_trials(pair: tuple[Study, Study]) -> None:
    calls: list[tuple[int, int]] = []
    run_trials(pair[0], number, trials=3, on_finished=lambda trial, count: calls.append((trial.number, count)))
    assert states(pair[0]) == [COMPLETE] * 3
    assert calls == [(0, 1), (1, 2), (2, 3)]
    run_trials(pair[0], number, trials=5)
    run_trials(pair[0], number, trials=4)
    assert states(pair[0]) == [COMPLETE] * 5


def test_of_two_that_take_the_last_place_at_once_the_later_withdraws(
    pair: tuple[Study, Study], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = pair
    ask = mine.ask
    theirs: list[Trial] = []

    def both_ask() -> Trial:
        theirs.append(other.ask())
        return ask()

    monkeypatch.setattr(mine, "ask", both_ask)
    clock.meanwhile = lambda: other.tell(theirs[0], 7.0) and None
    calls: list[int] = []
    run_trials(mine, number, trials=1, on_finished=lambda trial, count: calls.append(count))
    assert states(mine) == [COMPLETE, FAIL]
    assert mine.trials[1].user_attrs == {WITHDRAWN: "all places were taken"}
    assert calls == []


def test_of_two_that_take_a_free_place_at_once_none_withdraws(
    pair: tuple[Study, Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = pair
    ask = mine.ask
    monkeypatch.setattr(mine, "ask", lambda: (other.tell(other.ask(), 7.0), ask())[1])
    run_trials(mine, number, trials=2)
    assert states(mine) == [COMPLETE, COMPLETE]


def test_a_dead_process_trial_is_given_up_and_made_up_for(pair: tuple[Study, Study], clock: Clock) -> None:
    mine, other = pair
    dead = other.ask()
    run_trials(mine, number, trials=2)
    assert states(mine) == [FAIL, COMPLETE, COMPLETE]
    assert shared.PATIENCE_S < clock.now < shared.PATIENCE_S + 1
    # It was only slow, and comes too late.
    with pytest.raises(UpdateFinishedTrialError):
        dead.set_user_attr("late", True)


def test_a_dead_process_holds_nobody_up_as_long_as_places_are_free(pair: tuple[Study, Study], clock: Clock) -> None:
    pair[1].ask()
    run_trials(pair[0], number, trials=1)
    assert states(pair[0]).count(COMPLETE) == 1
    clock.now = 0.0
    pair[1].ask()
    done: list[float] = []
    run_trials(pair[0], number, trials=9, on_finished=lambda trial, count: done.append(clock.now))
    assert done[:7] == [0.0] * 7
    assert done[7] > shared.PATIENCE_S


def test_long_trials_are_waited_for(pair: tuple[Study, Study], clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished trial took 100 s, so a running one has 1000 s; it needs 500."""
    mine, other = pair
    mine.add_trial(_took(100.0))
    theirs = other.ask()

    def finish() -> None:
        if clock.now >= 500:
            other.tell(theirs, 1.0)

    monkeypatch.setattr(shared, "_POLL_S", 10.0)
    clock.meanwhile = finish
    run_trials(mine, number, trials=2)
    assert states(mine) == [COMPLETE, COMPLETE]


def _took(seconds: float) -> optuna.trial.FrozenTrial:
    trial = optuna.trial.create_trial(value=0.0)
    assert trial.datetime_start is not None
    trial.datetime_complete = trial.datetime_start + datetime.timedelta(seconds=seconds)
    return trial


def test_a_trial_given_up_by_another_process_does_not_count(pair: tuple[Study, Study]) -> None:
    mine, other = pair
    calls: list[int] = []

    def slow(trial: Trial) -> float:
        if trial.number == 1:
            other.tell(1, state=FAIL)
        return 1.0

    run_trials(mine, slow, trials=3, on_finished=lambda trial, count: calls.append(trial.number))
    assert states(mine) == [COMPLETE, FAIL, COMPLETE, COMPLETE]
    assert calls == [0, 2, 3]


def test_what_an_objective_raises_fails_its_trial(pair: tuple[Study, Study]) -> None:
    def broken(trial: Trial) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trials(pair[0], broken, trials=3)
    assert states(pair[0]) == [FAIL]


def test_a_pruned_trial_has_had_its_turn(pair: tuple[Study, Study]) -> None:
    def half(trial: Trial) -> float:
        if trial.number % 2:
            raise TrialPruned
        return 1.0

    run_trials(pair[0], half, trials=4)
    assert states(pair[0]) == [COMPLETE, PRUNED, COMPLETE, PRUNED]


def test_several_objectives(pair: tuple[Study, Study]) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    run_trials(study, lambda trial: (1.0, float(trial.number)), trials=2)
    assert [trial.values for trial in study.trials] == [[1.0, 0.0], [1.0, 1.0]]


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_steps_ends_with_exactly_so_many(seed: int, clock: Clock) -> None:
    """Other processes ask, finish and die at random whenever this one asks or waits, by the same rule."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rng = random.Random(seed)
    storage = optuna.storages.InMemoryStorage()
    mine = optuna.create_study(study_name="one", storage=storage)
    other = optuna.load_study(study_name="one", storage=storage)
    wanted, held = 6, []

    def others() -> None:
        for _ in range(rng.randrange(4)):
            if held and rng.random() < 0.5:
                trial = held.pop(rng.randrange(len(held)))
                if rng.random() < 0.7:  # else it dies
                    other.tell(trial, 1.0, skip_if_finished=True)
            elif sum(t.state in (COMPLETE, TrialState.RUNNING) for t in other.trials) < wanted:
                # Two ask before either looks at what the other did.
                for trial in [other.ask() for _ in range(rng.randrange(1, 3))]:
                    ahead = sum(
                        t.number < trial.number and t.state in (COMPLETE, TrialState.RUNNING) for t in other.trials
                    )
                    if ahead < wanted:
                        held.append(trial)
                    else:
                        other.tell(trial, state=FAIL)

    clock.meanwhile = others
    ask = mine.ask
    mine.ask = lambda: (others(), ask())[1]  # type: ignore[method-assign]
    run_trials(mine, number, trials=wanted)
    assert states(mine).count(COMPLETE) == wanted
    assert TrialState.RUNNING not in states(mine)
    assert [trial.number for trial in mine.trials] == list(range(len(mine.trials)))
