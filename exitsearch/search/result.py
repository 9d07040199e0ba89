"""What a search found, ready for tables and reports. Values are accuracy, or minus the error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from exitsearch.search.frames import BASELINES, FRONT, RESULT, SETTINGS
from exitsearch.search.problem import Choice, Problem
from exitsearch.search.solver.exact import Solution
from exitsearch.search.study import StudyResult
from exitsearch.search.study.front import FrontStudy
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.frames.frame import Frame, Framed, as_pandas
from exitsearch.specs.memory import PathMemory
from exitsearch.specs.question.knobs import Knobs, Setting
from exitsearch.specs.question.request import Objective

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ExitRow:
    """One exit of the choice, for a table. The last row is the final exit, without placement and head.

    Attributes:
        arrives_ms: when it answers under the problem's policy, at median latency.
        head_ms: latency of its head; 0 for the final exit.
        choice_score: its metric (or what its answers are worth) on the split that was chosen on.
        report_score: its metric on the report split; None when there is none.
        chance: how likely its answer is the one in hand when the budget strikes, with latency noise.
    """

    placement: int | None
    module: str | None
    head: str | None
    arrives_ms: float
    head_ms: float
    choice_score: float
    report_score: float | None
    chance: float


@dataclass(frozen=True)
class BaselineRow:
    """One baseline, for a table: its exits, and its expected value on both splits."""

    name: str
    exits: tuple[tuple[int, str], ...]
    value: float
    held_out: float | None


@dataclass(frozen=True)
class FrontRow:
    """One point of the front of several objectives.

    Attributes:
        amounts: every objective, in its unit.
        proved: whether no choice at all that costs no more is worth more.
        held_out: its expected value on the report split; None when there is none.
        config: the point as a document.
    """

    amounts: dict[str, float]
    proved: bool
    held_out: float | None
    config: MultiExitConfig


@dataclass(frozen=True, repr=False)
class FrontResult(Framed):
    """Choices that no other beats in all objectives.

    Attributes:
        names: the objectives, value first.
        rows: from the highest value to the lowest; the first is the choice of the search.
        complete: whether it is proved that there are no others.
        study: Optuna's part; None when no trials were asked for.
    """

    frame: ClassVar[Frame] = FRONT
    names: tuple[Objective, ...]
    rows: list[FrontRow]
    complete: bool
    study: FrontStudy | None


@dataclass(frozen=True, repr=False)
class SearchResult(Framed):
    """Everything that a search found.

    Attributes:
        config: the choice as a document.
        problem: what was solved.
        choice: positions of the chosen candidates in the problem.
        rows: the exits of the choice, the final one last.
        no_answer: chance that no answer is in hand when the budget strikes.
        baselines: what a user would do without a search.
        solution: the exact solver's result, with the best value for every smaller number of exits.
        study: Optuna's result; None when no trials were asked for.
        value: expected value of the choice, with latency noise; `config.expected.value` is the same.
        value_medians: the same with every latency at its median.
        contract_value: what the choice is worth when budgets are known beforehand.
        price_of_not_knowing: contract value minus interruptible value of the choice.
        contract_optimum: best value of any choice when budgets are known beforehand.
        regret: exact optimum minus the value of the choice; 0 when it is proved best.
        optuna_regret: exact optimum minus the best trial that Optuna drew itself; None without such a trial or proof.
        held_out: expected value of the choice on the report split; None when there is none.
        interval: bootstrap 95% interval of `held_out`; None when there are no samples.
        optimism: `value` minus `held_out`: how much better it looks on the samples that it was chosen on.
        notes: sentences that a user should read.
        front: the front of several objectives, where they were asked for; Optuna's trials then went into it.
        settings: what a search over settings tried, of which this is the choice; None without knobs.
        memory: of the whole path with the chosen exits; None where the profile does not know it.
    """

    frame: ClassVar[Frame] = RESULT
    config: MultiExitConfig
    problem: Problem
    choice: Choice
    rows: list[ExitRow]
    no_answer: float
    baselines: list[BaselineRow]
    solution: Solution
    study: StudyResult | None
    value: float
    value_medians: float
    contract_value: float
    price_of_not_knowing: float
    contract_optimum: float
    regret: float
    optuna_regret: float | None
    held_out: float | None
    interval: tuple[float, float] | None
    optimism: float | None
    notes: list[str]
    front: FrontResult | None = None
    memory: PathMemory | None = None
    settings: SettingsResult | None = None

    def baselines_frame(self) -> pd.DataFrame:
        """The choice and what a user would do without a search, the best first, for pandas."""
        return as_pandas(BASELINES, self)


@dataclass(frozen=True)
class SettingRow:
    """One setting that was tried, for a table.

    Attributes:
        value: best expected value; after the last epoch seen when it was pruned; None when it is impossible or failed.
        full_ms: latency of the full model, of one batch; None when it is impossible or failed.
        exits: how many early exits the best choice has; None when there is none.
        verdict: of the profile.
        state: `tried`, `pruned`, `impossible`, or `failed`, which the next run tries again.
        reason: why it is impossible or failed.
    """

    setting: Setting
    value: float | None
    full_ms: float | None
    exits: int | None
    verdict: str | None
    state: str
    reason: str | None


@dataclass(frozen=True, repr=False)
class SettingsResult(Framed):
    """What a search over settings found.

    Attributes:
        result: the search under the chosen setting's condition, over the heads of all settings tried to the end.
        setting: the condition that was chosen.
        knobs: what was turned.
        rows: every setting that was tried, in their order.
        settings: how many settings there are.
        proved: whether no exits under any setting are worth more.
        gained: what mixing heads of several settings is worth over the best single setting.
        study: name of the study.
        interrupted: whether it was stopped before its last setting.
        sources: where the profile and the outcomes are that the choice was made with.
    """

    frame: ClassVar[Frame] = SETTINGS
    result: SearchResult
    setting: Setting
    knobs: Knobs
    rows: tuple[SettingRow, ...]
    settings: int
    proved: bool
    gained: float
    study: str
    interrupted: bool
    sources: dict[str, str]

    def count(self, state: str) -> int:
        """How many settings are in a state."""
        return sum(row.state == state for row in self.rows)
