"""Searched: everything that the report of a search is made of, and the words that its parts share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exitsearch.report.terminal import choice
from exitsearch.search.problem import Choice
from exitsearch.search.result import BaselineRow, SearchResult
from exitsearch.search.sensitivity import SensitivityRow
from exitsearch.search.valuation import Valued
from exitsearch.specs.profile import Profile

ALONE, SINGLE, GREEDY = "backbone alone", "best single exit", "greedy adding"


@dataclass(frozen=True)
class Searched:
    """A search with what it was made from.

    Attributes:
        profile: costs, of one batch size.
        outcomes: values, as the search read them (a `Valuation`, or plain outcomes).
        profile_source: where the profile is, as an option takes it; None: not in a file.
        outcomes_source: the same of the outcomes.
        worlds: what the choice is worth in other worlds; empty: not asked.
        out: the folder with chosen.json; None: it was not written.
        space, plugin: files that the search was asked with, as their options take them.
        worth: the option that says what an answer is worth, and its file; empty: the metric.
    """

    result: SearchResult
    profile: Profile
    outcomes: Valued
    profile_source: str | None = None
    outcomes_source: str | None = None
    worlds: Sequence[SensitivityRow] = ()
    out: str | None = None
    space: str | None = None
    plugin: str | None = None
    worth: Sequence[str] = ()

    @property
    def metric(self) -> str:
        """What the scores of exits are, for headings."""
        expected = self.result.config.expected
        return "worth" if expected.worth else expected.metric

    @property
    def value_words(self) -> str:
        """What values are, for axes: higher is better."""
        expected = self.result.config.expected
        if expected.worth:
            return f"worth of an answer ({expected.worth})"
        return "accuracy" if expected.metric == "accuracy" else f"minus the {expected.metric}"

    @property
    def split(self) -> str:
        """The split that was chosen on."""
        return self.result.config.expected.split

    @property
    def by_confidence(self) -> bool:
        """Whether inputs leave when they are sure."""
        return self.result.config.confidence is not None

    @property
    def modules(self) -> dict[int, str]:
        """Name of the module that each placement is after, where it is known."""
        named = {segment.placement: segment.module for segment in self.profile.segments if segment.module}
        named |= {place.index: place.module for place in self.profile.placements if place.module}
        return {**named, **{e.placement: e.module for e in self.result.config.exits if e.module}}

    def place(self, placement: int) -> str:
        """A placement in words."""
        module = self.modules.get(placement)
        return f"placement {placement} ({module})" if module else f"placement {placement}"

    def choice_of(self, baseline: BaselineRow) -> Choice:
        """A baseline's exits as positions in the problem."""
        return tuple(self.result.problem.positions[pair] for pair in baseline.exits)

    def baseline(self, name: str) -> BaselineRow | None:
        """A baseline by its name; None where it keeps to no limit."""
        return next((row for row in self.result.baselines if row.name == name), None)

    @property
    def best_rule(self) -> BaselineRow | None:
        """The best rule of thumb, as the terminal names it."""
        return choice.best_rule(self.result)
