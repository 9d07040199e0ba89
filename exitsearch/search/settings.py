"""Searching over settings: Optuna chooses the knobs, the exact solver the exits under each setting.

Every setting is judged under the same budgets. Shares (`10%`) are of the full model's latency under the first setting;
with batch sizes among the knobs a budget is for one input, so that a batch of N has N times as much.

Heads of all settings that were tried to the end may be mixed: last, the exact solver runs over all of them in every
condition (dtype, runtime, threads, batch, input size) that was tried to the end, and the best of these is the choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from exitsearch.errors import ExitSearchError, InputError
from exitsearch.search.result import SearchResult, SettingRow, SettingsResult
from exitsearch.search.run import search_request
from exitsearch.search.study.settings import REDUCTION, Evaluated, Report, SettingsStudy, Tried, run_settings_study
from exitsearch.specs.budget import parse_budget
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.head import HeadChoice
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.candidates import Candidates
from exitsearch.specs.question.knobs import ChosenSetting, Knobs, Setting
from exitsearch.specs.question.limits import Limits, parse_exit, parse_min_value
from exitsearch.specs.question.request import SearchRequest


class Provider(Protocol):
    """Whoever measures and trains.

    Settings that are asked for together have one condition. An `InputError` says that there is no such thing here: a
    runtime that is not installed, a size that the backbone refuses. A `FileError` or any other `ExitSearchError` says
    that it failed now: a process that was killed, a disk that is full.

    Attributes:
        epochs: of a whole training.
    """

    epochs: int

    def profile(self, setting: Setting) -> Profile:
        """Costs under a setting's condition, of the heads of every setting."""

    def outcomes(self, settings: Sequence[Setting]) -> Outcomes:
        """Values of these settings' heads, fully trained, in their condition."""

    def early_outcomes(self, setting: Setting, *, epoch: int) -> Outcomes:
        """Values of a setting's heads after so many epochs of the whole training."""

    def candidates(self, settings: Sequence[Setting]) -> Candidates:
        """What may be chosen: these settings' heads, and where they may stand."""

    def named(self, limits: Limits) -> Limits:
        """Limits whose exits are named as candidates are; an `InputError` where one is a candidate in no setting."""

    def sources(self, setting: Setting, config: MultiExitConfig) -> dict[str, str]:
        """Where the profile and the outcomes are that a configuration was chosen with."""


def search_settings(
    knobs: Knobs,
    provider: Provider,
    request: SearchRequest,
    *,
    otherwise: Setting,
    trials: int,
    key: str = "",
    seed: int = 0,
    storage: str | None = None,
    on_tried: Callable[[SettingRow], None] | None = None,
) -> SettingsResult:
    """Choose a setting and exits for a budget distribution.

    Args:
        knobs: what may be turned.
        provider: measures and trains.
        request: the question under every setting. Times and energies in it are of one input where batch sizes are
            among the knobs. Its candidates are the provider's to say.
        otherwise: the values of what is no knob.
        trials: settings to try in all, those of earlier runs in the same storage included; at least 1. With no fewer
            trials than settings all are tried.
        key: all else that the provider's answers depend on, for the study's name.
        seed: of Optuna's sampler and of the bootstrap.
        storage: as for `search`.
        on_tried: called after every setting that this process tried.

    Raises:
        InputError: what `search` refuses, a policy without exact optima, or no setting that is possible.
        ExitSearchError: no setting was tried to the end, and some failed in a way that may pass.
        KeyboardInterrupt: interrupted before the first setting was tried to the end.
    """
    if request.policy == "confidence":
        raise InputError("knobs need exact optima, which --policy confidence does not have; leave one out")
    if trials < 1:
        raise InputError(
            f"a search with knobs tries settings, so --trials is at least 1, found {trials}; give a whole number from 1"
        )
    settings = knobs.settings(otherwise)
    solver = _Solver(knobs, provider, settings, request, seed)
    prune = trials < len(settings) if knobs.prune is None else knobs.prune
    epochs = provider.epochs if prune and knobs.need_training else None

    study = run_settings_study(
        [knobs.parameters(setting) for setting in settings],
        lambda index, report: solver.tried(settings[index], epochs=epochs, report=report),
        key=repr((str(otherwise), solver.key, key)),
        trials=trials,
        seed=seed,
        storage=storage,
        epochs=epochs,
        on_tried=None if on_tried is None else lambda tried: on_tried(_row(settings, tried)),
    )
    rows = tuple(_row(settings, tried) for tried in study.tried)
    done = [row.setting for row in rows if row.state == "tried"]
    if not done:
        if study.interrupted:
            raise KeyboardInterrupt
        raise _none_tried(rows)
    best, condition, above_others = solver.mixed(done)
    proved = above_others and best.config.optimum.exact and _all_proved(study, rows, len(settings))
    return SettingsResult(
        result=_of_settings(best, condition, rows, len(settings), proved),
        setting=condition,
        knobs=knobs,
        rows=rows,
        settings=len(settings),
        proved=proved,
        gained=max(0.0, best.value - max(_values(rows))),
        study=study.name,
        interrupted=study.interrupted,
        sources=provider.sources(condition, best.config),
    )


def _all_proved(study: SettingsStudy, rows: Sequence[SettingRow], settings: int) -> bool:
    """Whether every setting was tried, to a proof or to the end of it."""
    tried = len(rows) == settings and not any(row.state in ("pruned", "failed") for row in rows)
    return tried and all(tried.facts["exact"] for tried in study.tried if tried.reason is None)


def _of_settings(
    best: SearchResult, condition: Setting, rows: Sequence[SettingRow], settings: int, proved: bool
) -> SearchResult:
    """The result of the chosen setting, with what was tried in its document and its notes."""
    chosen = ChosenSetting(
        **condition.model_dump(),
        settings=settings,
        tried=sum(row.state in ("tried", "impossible") for row in rows),
        proved=proved,
    )
    impossible = [f"{row.setting}: {row.reason}" for row in rows if row.reason is not None]
    return replace(
        best,
        config=best.config.model_copy(update={"setting": chosen}),
        notes=[*best.notes, *impossible, *_changed(best, rows, condition)],
    )


class _Solver:
    """Solves the inner problem of any setting under the same budgets and limits.

    Attributes:
        budget: in ms; of one input where batch sizes are among the knobs, and otherwise of one batch.
        limits: the same, exits named as candidates are.
    """

    def __init__(
        self, knobs: Knobs, provider: Provider, settings: Sequence[Setting], request: SearchRequest, seed: int
    ) -> None:
        self._per_input = bool(knobs.batch_size)
        self._provider, self._request, self._seed = provider, request, seed
        self.budget = parse_budget(request.budget)
        self.limits = provider.named(request.limits)
        if self.budget.is_relative or any("%" in text for text in self.limits.min_value_at):
            full_ms = self._first_ms(settings[0])
            self.budget = self.budget.resolved(full_ms)
            self.limits = _scaled(self.limits, 1, full_ms=full_ms)

    @property
    def key(self) -> str:
        """All of the question that the values of settings depend on."""
        asked = self._request
        return repr((repr(self.budget), self.limits.model_dump(), asked.policy, asked.fallback, asked.metric))

    def _first_ms(self, first: Setting) -> float:
        try:
            return self._provider.profile(first).full_ms / self._inputs(first)
        except ExitSearchError as error:
            raise InputError(
                f"budgets in % are shares of the latency under the first setting ({first}), which is not possible: "
                f"{error}; write milliseconds, or put another value first"
            ) from None

    def _inputs(self, setting: Setting) -> int:
        """So many times the budget has a batch."""
        return setting.batch_size if self._per_input else 1

    def solve(
        self, settings: Sequence[Setting], profile: Profile, outcomes: Outcomes, *, min_values: bool = True
    ) -> SearchResult:
        """The best exits among the heads of some settings of one condition.

        Args:
            min_values: whether `min_value_at` holds. Heads that are half trained may miss what they reach in the end.
        """
        times = self._inputs(settings[0])
        candidates = self._provider.candidates(settings)
        update = {"forbid": _that_stand(self.limits.forbid, profile, candidates)}
        limits = _scaled(self.limits.model_copy(update=update if min_values else {**update, "min_value_at": []}), times)
        request = self._request.changed(budget=str(self.budget.scaled(times)), limits=limits, candidates=candidates)
        return search_request(profile, outcomes, request, trials=0, seed=self._seed)

    def tried(self, setting: Setting, *, epochs: int | None, report: Report) -> Evaluated:
        """The best exits under a setting, unless it is given up early.

        Args:
            epochs: of a whole training, for settings that are looked at on the way; None looks at the end alone.
            report: is told a value after so many epochs; says whether to give up.
        """
        profile = self._provider.profile(setting)
        facts = {"full_ms": profile.full_ms, "verdict": profile.verdict.status}
        for epoch in looks(epochs):
            early = self._provider.early_outcomes(setting, epoch=epoch)
            half_way = self.solve([setting], profile, early, min_values=False)
            if report(epoch, half_way.value):
                return Evaluated(None, {**facts, "exits": len(half_way.choice)})
        found = self.solve([setting], profile, self._provider.outcomes([setting]))
        return Evaluated(found.value, {**facts, "exits": len(found.choice), "exact": found.config.optimum.exact})

    def mixed(self, done: Sequence[Setting]) -> tuple[SearchResult, Setting, bool]:
        """The best exits over the heads of all settings tried to the end, their condition, and whether they are proved.

        That is whether no exits in any other condition can be worth more, also where its solve was not exact.
        """
        found: list[tuple[SearchResult, Setting]] = []
        for condition in dict.fromkeys(str(setting.condition) for setting in done):
            mine = next(setting.condition for setting in done if str(setting.condition) == condition)
            # What a head answers depends on the input size and the dtype; its time was measured in every condition.
            alike = [s for s in done if (s.input_size, s.dtype) == (mine.input_size, mine.dtype)]
            together = list({str(s.heads): mine.model_copy(update={"heads": s.heads}) for s in alike}.values())
            profile = self._provider.profile(mine)
            found.append((self.solve(together, profile, self._provider.outcomes(together)), mine))
        best, mine = max(found, key=lambda pair: pair[0].value)
        others = [result.config.optimum for result, setting in found if setting is not mine]
        # Where a solve was not exact, its optimum's value is a bound.
        return best, mine, all(other.exact or other.value <= best.value for other in others)


def _scaled(limits: Limits, times: int, *, full_ms: float = 1.0) -> Limits:
    """Limits of a batch of so many inputs, from those of one; shares of the latency turned into milliseconds."""
    least = [parse_min_value(text, full_ms=full_ms) for text in limits.min_value_at]
    return limits.model_copy(
        update={
            "max_energy": None if limits.max_energy is None else limits.max_energy * times,
            "min_value_at": [f"{budget_ms * times!r}ms={value!r}" for budget_ms, value in least],
        }
    )


def _that_stand(forbidden: Sequence[str], profile: Profile, candidates: Candidates) -> list[str]:
    """What is forbidden, without the exits that only other settings have: here they are no candidates anyway.

    A profile has the heads of every setting, so what no setting has is still reported.
    """
    everywhere = {(cost.placement, cost.head) for cost in profile.heads}
    here = set(candidates.among(everywhere, len(profile.segments), facts=profile.placements))

    def among(text: str, exits: Iterable[tuple[int, str]]) -> bool:
        place, name = parse_exit(text)
        head = None if name is None else str(HeadChoice.parse(name))
        return any(place == at and head in (None, other) for at, other in exits)

    return [text for text in forbidden if among(text, here) or not among(text, everywhere)]


def looks(epochs: int | None) -> list[int]:
    """The epochs after which Hyperband compares settings."""
    found = [1]
    while found[-1] * REDUCTION < (epochs or 0):
        found.append(found[-1] * REDUCTION)
    return found if epochs is not None and epochs > 1 else []


def _row(settings: Sequence[Setting], tried: Tried) -> SettingRow:
    return SettingRow(
        setting=settings[tried.index],
        value=tried.value,
        full_ms=tried.facts.get("full_ms"),
        exits=tried.facts.get("exits"),
        verdict=tried.facts.get("verdict"),
        state=_state(tried),
        reason=tried.reason,
    )


def _state(tried: Tried) -> str:
    if tried.failed:
        return "failed"
    return "impossible" if tried.reason is not None else "pruned" if tried.pruned else "tried"


def _none_tried(rows: Sequence[SettingRow]) -> ExitSearchError:
    """The error when no setting was tried to the end."""
    first = next((row for state in ("failed", "impossible") for row in rows if row.state == state), None)
    if first is None:
        return InputError("every setting was given up early; set prune = false under [knobs], or raise --epochs")
    why = f"{first.setting}: {first.reason}"
    if first.state == "failed":
        return ExitSearchError(f"no setting was tried to the end; {why}; run the same command again to try again")
    return InputError(f"no setting is possible; {why}; correct it in the search space, or put other values there")


def _values(rows: Iterable[SettingRow]) -> list[float]:
    return [row.value for row in rows if row.state == "tried" and row.value is not None]


def _changed(best: SearchResult, rows: Sequence[SettingRow], condition: Setting) -> list[str]:
    """Whether the chosen condition is worth less now than when it was tried: something was measured anew since."""
    before = max(_values(row for row in rows if row.setting.condition == condition))
    if best.value >= before - 1e-9:
        return []
    return [
        f"{condition} was worth {before:.4f} when it was tried and is worth {best.value:.4f} now: its profile or "
        "outcomes were made anew since; take another --storage to try every setting again"
    ]
