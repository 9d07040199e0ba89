"""Optuna's search over settings: which to try next, and which to give up early.

Every setting is tried at most once. Where there are no more settings than trials, all are tried in their order;
otherwise the first one and then what TPE draws, the nearest untried setting where it draws a tried one. Several
processes may share a study: a setting that another one has under way is left alone, unless nothing else is left: then
that process may have died, and doing it again costs only what it did not keep.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from exitsearch.errors import ExitSearchError, FileError, InputError
from exitsearch.search.study.sampler import NumberedSampler
from exitsearch.search.study.session import work_in
from exitsearch.search.study.storage import answering
from exitsearch.specs.head import Option

Parameters = Mapping[str, Option]
# `report(epoch, value)` is asked after some epochs whether the setting is to be given up.
Report = Callable[[int, float], bool]

REDUCTION = 3
_REASON = "reason"
_FAILED = "failed"


@dataclass(frozen=True)
class Evaluated:
    """What came of a setting.

    Attributes:
        value: its best expected value; None when it was given up early.
        facts: what else is worth keeping, as JSON holds it.
    """

    value: float | None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Tried:
    """One setting that was tried.

    Attributes:
        index: its number among the settings.
        value: its best expected value; after the last epoch seen when it was pruned, None when `reason` says why.
        pruned: whether it was given up early.
        failed: whether it failed in a way that may pass, so that the next run tries it again.
        reason: why it is impossible or failed, in a sentence; None when neither.
        facts: of `Evaluated`.
    """

    index: int
    value: float | None
    pruned: bool
    failed: bool
    reason: str | None
    facts: dict[str, Any]


@dataclass(frozen=True)
class SettingsStudy:
    """What a study of settings found.

    Attributes:
        name: the study's name in its storage.
        tried: every setting that was tried, in the order of the settings.
        seconds: duration of this run.
        interrupted: whether it was stopped before its last trial.
    """

    name: str
    tried: tuple[Tried, ...]
    seconds: float
    interrupted: bool


def settings_study_name(settings: Sequence[Parameters], key: str) -> str:
    """`exitsearch-settings-` and 12 hexadecimal digits that stand for the settings and all that values depend on."""
    text = repr([sorted(parameters.items()) for parameters in settings]) + key
    return f"exitsearch-settings-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def run_settings_study(
    settings: Sequence[Parameters],
    evaluate: Callable[[int, Report], Evaluated],
    *,
    key: str,
    trials: int,
    seed: int = 0,
    storage: str | None = None,
    epochs: int | None = None,
    on_tried: Callable[[Tried], None] | None = None,
) -> SettingsStudy:
    """Try settings until so many have been tried, or all. Ctrl-C ends it with what there is.

    Args:
        settings: the value of every knob in each setting; the same knobs in all, at least one setting.
        evaluate: tries the setting of a number. An `InputError` says that it is impossible. A `FileError` or any
            other `ExitSearchError` says that it failed now and may succeed in another run.
        key: all else that values depend on, for the study's name.
        trials: settings that shall have been tried in all, those of earlier runs included; from 1.
        seed: of the sampler.
        storage: as for `run_study`.
        epochs: of a whole training, for Hyperband; None gives nothing up early, and tries again what an earlier run
            gave up.
        on_tried: called after every setting that this process tried.

    Raises:
        InputError: a storage that cannot be opened.
        UnavailableError: the storage needs a package that is not installed.
        ExitSearchError: the storage stopped answering.
    """
    assert trials > 0
    name, target = settings_study_name(settings, key), min(trials, len(settings))

    def work(study: Study) -> None:
        study.sampler = SettingsSampler(
            study,
            settings,
            seed=seed,
            target=target,
            in_order=trials >= len(settings),
            pruning=epochs is not None,
        )
        study.pruner = _pruner(epochs)
        with answering(name):
            _run(study, study.sampler, evaluate, on_tried)

    session = work_in(name, storage, work)
    sampler = session.study.sampler
    assert isinstance(sampler, SettingsSampler)
    tried = tuple(_tried(sampler, trial) for _, trial in sorted(sampler.finished().items()))
    return SettingsStudy(name=name, tried=tried, seconds=session.seconds, interrupted=session.interrupted)


def _run(
    study: Study,
    sampler: SettingsSampler,
    evaluate: Callable[[int, Report], Evaluated],
    on_tried: Callable[[Tried], None] | None,
) -> None:
    """Try settings until enough have been tried."""
    while len(sampler.finished()) < sampler.target:
        trial = study.ask(sampler.space)
        try:
            _try(study, trial, sampler, evaluate)
        except BaseException:
            # Without a reason it counts as never tried. A storage that failed cannot be told even that.
            with suppress(Exception):
                study.tell(trial, state=TrialState.FAIL)
            raise
        if on_tried is not None:
            on_tried(_tried(sampler, study.trials[trial.number]))


def _try(study: Study, trial: Trial, sampler: SettingsSampler, evaluate: Callable[[int, Report], Evaluated]) -> None:
    def report(epoch: int, value: float) -> bool:
        trial.report(value, epoch)
        return trial.should_prune()

    try:
        found = evaluate(sampler.number(trial.params), report)
    except ExitSearchError as error:
        passing = isinstance(error, FileError) or not isinstance(error, InputError)
        trial.set_user_attr(_FAILED if passing else _REASON, str(error))
        study.tell(trial, state=TrialState.FAIL)
        return
    for name, fact in found.facts.items():
        trial.set_user_attr(name, fact)
    if found.value is None:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, found.value)


def _pruner(epochs: int | None) -> BasePruner:
    return NopPruner() if epochs is None else HyperbandPruner(1, epochs, REDUCTION)


def _tried(sampler: SettingsSampler, trial: FrozenTrial) -> Tried:
    facts = dict(trial.user_attrs)
    why, failure = facts.pop(_REASON, None), facts.pop(_FAILED, None)
    last = max(trial.intermediate_values, default=None)
    return Tried(
        index=sampler.number(trial.params),
        # Optuna takes a pruned trial's last report for its value.
        value=trial.value if trial.state == TrialState.COMPLETE or last is None else trial.intermediate_values[last],
        pruned=trial.state == TrialState.PRUNED,
        failed=failure is not None,
        reason=why or failure,
        facts=facts,
    )


def _failed(trial: FrozenTrial) -> bool:
    return _FAILED in trial.user_attrs


class SettingsSampler(BaseSampler):
    """Draws settings without doing one twice.

    Args:
        study: all of it. Hyperband shows a sampler only the trials of one bracket, and what was tried in another was
            tried all the same.
        settings: the value of every knob in each setting.
        seed: of all trials together.
        target: how many settings shall be tried.
        in_order: whether to take them in their order; otherwise TPE draws.
        pruning: whether one that was given up early counts as tried.
    """

    def __init__(
        self, study: Study, settings: Sequence[Parameters], *, seed: int, target: int, in_order: bool, pruning: bool
    ) -> None:
        self.target = target
        self.space: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(list(dict.fromkeys(parameters[name] for parameters in settings)))
            for name in settings[0]
        }
        self._study = study
        self._settings, self._seed, self._in_order, self._pruning = settings, seed, in_order, pruning
        self._numbers = {tuple(parameters.values()): index for index, parameters in enumerate(settings)}
        self._tpe = NumberedSampler(seed, None)
        # What failed before this run is tried again, and what fails in it is not: it would fail without end.
        self._failed_before = {trial.number for trial in study.get_trials(deepcopy=False) if _failed(trial)}

    def number(self, parameters: Mapping[str, Any]) -> int:
        """The number of a setting."""
        return self._numbers[tuple(parameters[name] for name in self.space)]

    def finished(self, trials: Iterable[FrozenTrial] | None = None) -> dict[int, FrozenTrial]:
        """The trial of every setting that was tried, by the setting's number; to the end rather than pruned or failed.

        Args:
            trials: of the study, where they were just read.
        """
        found: dict[int, FrozenTrial] = {}
        pruned: dict[int, FrozenTrial] = {}
        failed: dict[int, FrozenTrial] = {}
        for trial in self._study.get_trials(deepcopy=False) if trials is None else trials:
            if trial.state == TrialState.COMPLETE or _REASON in trial.user_attrs:
                found.setdefault(self.number(trial.params), trial)
            elif trial.state == TrialState.PRUNED:
                pruned.setdefault(self.number(trial.params), trial)
            elif _failed(trial) and trial.number not in self._failed_before:
                failed.setdefault(self.number(trial.params), trial)
        return {**failed, **(pruned if self._pruning else {}), **found}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All knobs, always."""
        return self.space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The values of all knobs in the next setting to try."""
        trials = self._study.get_trials(deepcopy=False)
        others = [t for t in trials if t.state == TrialState.RUNNING and t.number != trial.number]
        tried = set(self.finished(trials))
        running = {self.number(t.params) for t in others if len(t.params) == len(self.space)} - tried
        # Those that are about to draw, and before whom this one stands back.
        ahead = sum(t.number < trial.number and len(t.params) < len(self.space) for t in others)
        left = [index for index in range(len(self._settings)) if index not in tried | running]
        if not left or len(tried | running) + ahead >= self.target:
            left = sorted(running) or left or list(range(len(self._settings)))
        elif not self._in_order and tried | running:
            left = self._by_draw(study, trial, left)
        return dict(self._settings[left[min(ahead, len(left) - 1)]])

    def _by_draw(self, study: Study, trial: FrozenTrial, left: Sequence[int]) -> list[int]:
        """Those left, TPE's setting or what shares most values with it first."""
        chance = random.Random(f"{self._seed}/{trial.number}")
        drawn = self._tpe.sample_relative(study, trial, self.space)
        return sorted(
            left,
            key=lambda index: (-sum(self._settings[index][name] == drawn[name] for name in drawn), chance.random()),
        )

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never needed: every knob is drawn with the others."""
        raise AssertionError(f"{param_name} is no knob")
