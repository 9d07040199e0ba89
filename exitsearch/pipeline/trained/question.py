"""Question: the question that a configuration answers, asked again of the trained exits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from exitsearch.errors import MismatchError
from exitsearch.pipeline.trained.judge import chances_of, judge_of
from exitsearch.pipeline.trained.origins import FoundProfile
from exitsearch.pipeline.trained.together import Together
from exitsearch.search.configured import configured_problem
from exitsearch.search.held_out import bootstrap_interval, split_value
from exitsearch.search.problem import Choice
from exitsearch.search.result import SearchResult
from exitsearch.search.run import search_request
from exitsearch.search.utility import Utility
from exitsearch.search.valuation import Valuation, fallback_value
from exitsearch.search.value import exit_probabilities, expected_value
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.head import HeadChoice
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.question.candidates import Candidates, Pair
from exitsearch.specs.question.limits import Limits, parse_exit


@dataclass(frozen=True)
class Worth:
    """What a choice is worth under the configuration's question; higher is better.

    Attributes:
        value: expected value on the split that is chosen on.
        held_out: on the report split; None when that is not known.
        interval: bootstrap 95% interval of `held_out`; None when there are no samples.
    """

    value: float
    held_out: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Question:
    """The question of a configuration, to be asked of other outcomes.

    Attributes:
        utility: where the configuration was chosen by one and it is at hand.
    """

    config: MultiExitConfig
    outcomes: Outcomes
    found: FoundProfile
    utility: Utility | None

    @property
    def note(self) -> str | None:
        """Why the search cannot be asked again, where the reason is not the profile."""
        if self.config.request is None:
            return "this configuration was written before requests were kept, so the search cannot be asked again"
        if self._lacks_utility:
            worth, metric = self.config.expected.worth, self.outcomes.metric
            return (
                f"the exits were chosen by {worth}, which is not at hand: they are valued by {metric}, and the search "
                "is not asked again"
            )
        return None

    @property
    def can_be_asked(self) -> bool:
        """Whether the search can be asked again."""
        return self.found.profile is not None and self.note is None

    @property
    def _lacks_utility(self) -> bool:
        return self.config.expected.worth is not None and self.utility is None

    @cached_property
    def _valued(self) -> Valuation:
        asked = self.config.request
        return Valuation(self.outcomes, self.utility, fallback=None if asked is None else asked.fallback)

    def value(self) -> tuple[Worth, Sequence[float]]:
        """What the trained exits are worth, and how likely each is used."""
        config, valued, profile = self.config, self._valued, self.found.profile
        if config.policy == "confidence":
            return self._replayed()
        pairs, fallback = exit_pairs(config), fallback_value(valued, self._fallback)
        values = [*(valued.values()[pair] for pair in pairs), valued.final_value()]
        problem, choice = configured_problem(config, values=values, fallback=fallback, profile=profile)
        report = valued.report_split
        return Worth(
            expected_value(problem, choice),
            split_value(problem, choice, valued, report) if report else None,
            bootstrap_interval(problem, choice, valued, report, seed=self._seed) if report else None,
        ), exit_probabilities(problem, choice)[0].tolist()

    def _replayed(self) -> tuple[Worth, Sequence[float]]:
        """The same under `confidence`: with thresholds found anew, or without a profile by the judge."""
        result = self.own_exits
        if result is not None:
            return Worth(result.value, result.held_out, result.interval), [row.chance for row in result.rows]
        config, profile = self.config, self.found.profile
        scores = exit_scores(config, self.outcomes, self.outcomes.choice_split)
        return Worth(judge_of(config, profile=profile)(scores)), chances_of(config, scores=scores, profile=profile)

    @cached_property
    def own_exits(self) -> SearchResult | None:
        """The trained exits alone, with thresholds found anew; None where they cannot be replayed."""
        if not self.can_be_asked or not self.config.exits:
            return None
        limits = Limits(force=[f"{place}:{head}" for place, head in exit_pairs(self.config)])
        own = Together.of(self.outcomes, None, pairs=exit_pairs(self.config))
        return self._search(own, limits, trials=0)

    def candidates(self, bank: Outcomes | None) -> Together:
        """The trained exits, and those heads of a bank that the request allowed."""
        profile, asked = self.found.profile, self.config.request
        assert profile is not None
        assert asked is not None
        if bank is not None and bank.training.get("weights") != self.outcomes.training.get("weights"):
            raise MismatchError(
                f"the heads in {bank.folder} stand on other weights of the backbone than the trained exits, so they "
                "cannot be chosen beside them; leave them out"
            )
        there = {(cost.placement, cost.head) for cost in profile.heads}
        wanted = set(asked.candidates.among(there, len(profile.segments), facts=profile.placements))
        for text in asked.limits.forbid:
            place, name = parse_exit(text)
            head = None if name is None else str(HeadChoice.parse(name))
            wanted -= {pair for pair in wanted if pair[0] == place and head in (None, pair[1])}
        return Together.of(self.outcomes, bank, pairs=wanted | set(exit_pairs(self.config)))

    def ask(self, together: Together, trials: int | None) -> SearchResult | None:
        """The best choice among some exits; under `confidence` the trained exits where nothing better is found."""
        asked = self.config.request
        assert asked is not None
        if not together.heads:
            return None
        # What is forbidden, or was not asked for, is no candidate any more.
        limits = asked.limits.model_copy(update={"forbid": []})
        trials = asked.trials if trials is None else trials
        found = self._search(together, limits, trials=trials if self.config.policy == "confidence" else 0)
        own = self.own_exits if self.config.policy == "confidence" else None
        if own is None or own.value <= found.value or not found.problem.allows(_choice(found, own)):
            return found
        return own

    def _search(self, outcomes: Outcomes, limits: Limits, *, trials: int) -> SearchResult:
        asked, profile = self.config.request, self.found.profile
        assert asked is not None
        assert profile is not None
        # Shares of the full model's latency are of the profile that the exits were chosen by.
        budget = asked.budget if self.found.same and self.config.setting is None else self.config.budget
        request = asked.question.changed(budget=budget, limits=limits, candidates=Candidates(), objectives=[])
        return search_request(profile, outcomes, request, utility=self.utility, trials=trials, seed=self._seed)

    @property
    def _fallback(self) -> float | None:
        """Score of having no answer in time, by which the trained exits are valued."""
        return None if self._lacks_utility or self.utility is not None else self.config.fallback

    @property
    def _seed(self) -> int:
        return 0 if self.config.request is None else self.config.request.seed


def exit_pairs(config: MultiExitConfig) -> list[Pair]:
    """(placement, head) of every chosen exit, in order."""
    return [(exit_.placement, str(exit_.choice)) for exit_ in config.exits]


def exit_scores(config: MultiExitConfig, outcomes: Outcomes, split: str) -> list[float]:
    """Metric of every chosen exit on a split, the final one last."""
    known = {(head.placement, head.head): head.scores[split] for head in outcomes.heads}
    return [*(known[pair] for pair in exit_pairs(config)), outcomes.final.scores[split]]


def _choice(found: SearchResult, other: SearchResult) -> Choice:
    """The exits of another search's choice, by their positions in this one's problem."""
    return tuple(sorted(found.problem.positions[pair] for pair in exit_pairs(other.config)))
