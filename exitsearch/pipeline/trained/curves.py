"""Accuracy over budget: what a user gets within each budget, of the trained model and of what could stand in its place.

Every curve is a staircase: from some budget on the answer scores so much, on the report split. Which answer is taken is
decided on the choice split, as in use; what it is worth is read on the report split.

    the multi-exit model    under its own policy: the best answer that is ready, or the exit that is run, or the
                            operating point with thresholds for that mean latency
    the backbone alone      nothing until its own output
    a static model          nothing until its own output
    the oracle exit         every sample gets the best answer that any exit can have ready: an upper bound of every rule
                            that says where to stop, since it looks at the labels; not a method. Under `confidence` a
                            budget limits the mean latency: the oracle spends it where it helps most for its price, and
                            between its points the curve is a line
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from exitsearch.errors import InputError
from exitsearch.pipeline.trained.after import AfterTraining
from exitsearch.pipeline.trained.question import exit_pairs
from exitsearch.search.configured import budget_words
from exitsearch.search.held_out import sample_values
from exitsearch.search.problem import Array, Candidate, Choice, Problem
from exitsearch.search.thresholds.oracle import oracle_bound
from exitsearch.search.thresholds.replay import Replay
from exitsearch.search.thresholds.scores import Answers, build_answers
from exitsearch.search.value import exit_probabilities, expected_value
from exitsearch.specs.budget import parse_budget
from exitsearch.specs.outcomes import as_value

Kind = Literal["multi-exit", "backbone", "static", "oracle"]


@dataclass(frozen=True)
class Times:
    """When the answers of a multi-exit model are ready, from one source.

    Attributes:
        answers_ms: of every chosen exit and last of the final one, every chosen head on the way being run.
        alone_ms: the same when no other head is run; last the backbone alone.
        slowdown: samples of how slow the machine is, around 1; empty: always alike.
        source: for people.
    """

    answers_ms: tuple[float, ...]
    alone_ms: tuple[float, ...]
    slowdown: tuple[float, ...]
    source: str

    @property
    def head_ms(self) -> tuple[float, ...]:
        """What each chosen head delays all that comes after it; at least 0.

        An exit waits for the heads before it, so the wait grows from one exit to the next by the head between them.
        """
        waits = np.array(self.answers_ms) - np.array(self.alone_ms)
        return tuple(float(step) for step in np.maximum(np.diff(waits), 0.0))


@dataclass(frozen=True)
class StaticResult:
    """A static model that was trained and measured.

    Attributes:
        name: timm's name, with the input's side where that was named.
        weights: that its training began with.
        parameters: how many it has.
        epochs: it was trained for.
        input_size: (channels, height, width).
        scores: metric by split.
        latency_ms: median time of its answer.
        interval_ms: 95% interval of it; None where it was timed less than 6 times.
    """

    name: str
    weights: str
    parameters: int
    epochs: int
    input_size: tuple[int, int, int]
    scores: dict[str, float]
    latency_ms: float
    interval_ms: tuple[float, float] | None


@dataclass(frozen=True)
class Curve:
    """Score over budget.

    Attributes:
        name: for people.
        kind: what it is of.
        points: (budget in ms, score on the report split): from that budget on, so much. Before the first one there is
            no answer.
        expected: expected score over the configuration's budgets, no answer counted as the fallback.
        between: whether the curve is a step or a line from one point to the next.
    """

    name: str
    kind: Kind
    points: tuple[tuple[float, float], ...]
    expected: float
    between: Literal["step", "line"] = "step"

    def at(self, budget_ms: float) -> float | None:
        """The score within a budget; None where no answer is ready."""
        before = [point for point in self.points if point[0] <= budget_ms]
        after = [point for point in self.points if point[0] > budget_ms]
        if not before:
            return None
        if self.between == "step" or not after:
            return before[-1][1]
        (left, low), (right, high) = before[-1], after[0]
        return low + (high - low) * (budget_ms - left) / (right - left)


@dataclass(frozen=True)
class OverBudget:
    """All curves together.

    Attributes:
        metric: accuracy or mae.
        fallback: score of having no answer.
        budget: the configuration's own, as text in ms.
        asked: the same as it was asked for, for people.
        policy: by which the multi-exit model runs.
        curves: in the order of tables.
        times: of the multi-exit model.
        statics: the static models.
        notes: sentences that a user should read.
    """

    metric: str
    fallback: float
    budget: str
    asked: str
    policy: str
    curves: tuple[Curve, ...]
    times: Times
    statics: tuple[StaticResult, ...]
    notes: tuple[str, ...]

    def chances_within(self, budgets_ms: Sequence[float]) -> Array:
        """How likely a budget is at most so many ms [budgets], for drawing where budgets lie."""
        budget = parse_budget(self.budget)
        return 1.0 - np.asarray(budget.survival(np.asarray(budgets_ms, dtype=np.float64)))


def known_times(after: AfterTraining) -> Times:
    """Times of a trained model from the profile, or where that is not known from its configuration."""
    config, profile = after.config, after.profile
    if profile is None:
        times = tuple(config.latency_ms)
        return Times(times, times, (), "the configuration's own latencies, every head on the way being run")
    pairs = exit_pairs(config)
    alone = [profile.path_ms([pair])[0] for pair in pairs]
    return Times(
        tuple(profile.path_ms(pairs)),
        (*alone, profile.full_ms),
        tuple(sorted(profile.slowdown)),
        f"the profile {profile.condition()}",
    )


def over_budget(
    after: AfterTraining, *, times: Times | None = None, statics: Sequence[StaticResult] = (), notes: Sequence[str] = ()
) -> OverBudget:
    """The curves of a trained model and of what could stand in its place.

    Args:
        after: what training has come to, with the answer to every sample.
        times: when its answers are ready; None takes `known_times`.
        statics: static models, timed in the same run as `times`.
        notes: what a user should read beside.

    Raises:
        InputError: the outcomes hold no report split, or no sample's answers.
    """
    outcomes, config = after.outcomes, after.config
    if outcomes.report_split is None or outcomes.samples(outcomes.report_split) is None:
        raise InputError(
            "accuracy over budget is read on the report split, sample by sample, and these outcomes hold scores alone; "
            "train the configuration again"
        )
    drawing = _Drawing(after, times or known_times(after))
    fallback = as_value(drawing.fallback, outcomes.metric)
    return OverBudget(
        metric=outcomes.metric,
        fallback=fallback,
        budget=config.budget,
        asked=budget_words(config),
        policy=config.policy if not drawing.is_interrupted else "interruptible",
        curves=(
            drawing.multi_exit(),
            *drawing.alone(),
            *(drawing.static(found) for found in statics),
            *drawing.oracle(),
        ),
        times=drawing.times,
        statics=tuple(statics),
        notes=(*notes, *drawing.notes()),
    )


@dataclass(frozen=True)
class _Drawing:
    """One trained model and its times."""

    after: AfterTraining
    times: Times

    @property
    def is_interrupted(self) -> bool:
        """Whether the policy is `confidence` and has no thresholds for the trained exits."""
        return self.after.config.policy == "confidence" and self.after.own is None

    @property
    def fallback(self) -> float:
        """Value of having no answer."""
        config, outcomes = self.after.config, self.after.outcomes
        known = config.fallback if config.expected.worth is None else None
        score = outcomes.fallback if known is None else known
        return as_value(0.0 if score is None else score, outcomes.metric)

    def problem(self, split: str) -> tuple[Problem, Choice]:
        """The trained exits as a problem, at these times, worth what they are on a split."""
        config, outcomes, times = self.after.config, self.after.outcomes, self.times
        policy = "interruptible" if self.is_interrupted else config.policy
        values = outcomes.values(split)
        heads = times.head_ms if policy != "interruptible" else (0.0,) * len(config.exits)
        arrivals = times.alone_ms if policy != "interruptible" else times.answers_ms
        candidates = tuple(
            Candidate(*pair, arrival_ms=ready - head, head_ms=head, value=values[pair])
            for pair, ready, head in zip(exit_pairs(config), arrivals, heads, strict=False)
        )
        problem = Problem(
            candidates=candidates,
            final_ms=arrivals[-1],
            final_value=outcomes.final_value(split),
            fallback=self.fallback,
            budget=parse_budget(config.budget),
            slowdown=tuple(sorted(times.slowdown)),
            policy=policy,
            quantile=config.confidence.quantile if config.confidence and not self.is_interrupted else None,
        )
        return problem, tuple(range(len(candidates)))

    def multi_exit(self) -> Curve:
        """The trained model under its own policy."""
        outcomes, own = self.after.outcomes, self.after.own
        problem, choice = self.problem(outcomes.choice_split)
        if problem.policy == "confidence":
            assert own is not None
            return self._by_confidence(problem, choice)
        ready, values = self._ready(problem), self._values(outcomes.choice_split)
        report = self._values(self._report)
        points, best = [], self.fallback
        for number in np.lexsort((values, ready)):
            if values[number] > best:
                best = values[number]
                points.append((float(ready[number]), self._score(report[number])))
        chances, nothing = exit_probabilities(problem, choice)
        expected = float(chances @ report) + nothing * self.fallback
        return Curve("multi-exit model", "multi-exit", tuple(points), self._score(expected))

    def _by_confidence(self, problem: Problem, choice: Choice) -> Curve:
        """Operating points, whose thresholds and latencies are of the choice split."""
        own = self.after.own
        assert own is not None
        assert own.config.confidence is not None
        written = own.config.confidence
        here = Replay(problem, self._answers(problem, self.after.outcomes.choice_split), choice)
        there = Replay(problem, self._answers(problem, self._report), choice)
        thresholds = np.array([[np.inf if q is None else q for q in p.thresholds] for p in written.points])
        stairs = here.staircase(thresholds.reshape(len(written.points), len(choice)))
        values = np.array([there.point(row)[1] for row in stairs.thresholds])
        chances, nothing = stairs.chances(problem)
        shown = stairs.values > self.fallback  # a point worth no more than no answer is never used
        points = zip(stairs.costs_ms[shown].tolist(), values[shown].tolist(), strict=True)
        expected = float(chances @ values) + nothing * self.fallback
        steps = tuple((ms, self._score(value)) for ms, value in points)
        return Curve("multi-exit model", "multi-exit", steps, self._score(expected))

    def alone(self) -> list[Curve]:
        """The backbone without exits; also as it was before training, where that has moved it."""
        trained = self._single(self.times.alone_ms[-1], self._values(self._report)[-1])
        before = self.after.exits[-1].predicted.get(self._report)
        found = [Curve("backbone alone", "backbone", *trained)]
        if before is None or before == self.after.exits[-1].trained[self._report]:
            return found
        value = as_value(before, self.after.outcomes.metric)
        return [
            Curve("trained backbone alone", "backbone", *trained),
            Curve("backbone alone, before", "backbone", *self._single(self.times.alone_ms[-1], value)),
        ]

    def static(self, found: StaticResult) -> Curve:
        """A static model."""
        value = as_value(found.scores[self._report], self.after.outcomes.metric)
        return Curve(found.name, "static", *self._single(found.latency_ms, value))

    def oracle(self) -> list[Curve]:
        """The oracle exit; none under a quantile, beyond which some samples may be as late as they like."""
        problem, choice = self.problem(self._report)
        if problem.quantile is not None:
            return []
        each = sample_values(problem, choice, self.after.outcomes, self._report)
        assert each is not None
        ready = self._ready(problem)
        order = np.argsort(ready, kind="stable")
        best = np.maximum.accumulate(each[:, order], axis=1)  # [samples, exits + 1]
        if problem.policy == "confidence":
            return [self._oracle_mean(problem, ready[order], best)]
        levels = np.maximum.accumulate(np.concatenate([[self.fallback], best.mean(axis=0)]))
        points = zip(ready[order].tolist(), best.mean(axis=0).tolist(), strict=True)
        reached = problem.survival(ready[order])
        expected = float(self.fallback + np.diff(levels) @ reached)
        steps = tuple((ms, self._score(value)) for ms, value in points)
        return [Curve("oracle exit (a bound)", "oracle", steps, self._score(expected))]

    def _oracle_mean(self, problem: Problem, ready: Array, best: Array) -> Curve:
        """Under a limit on the mean latency: samples leave at the first exit that is right, cheapest gains first."""
        first = np.argmax(best >= best[:, -1:], axis=1)  # [samples]
        solved = best[:, -1] > 0
        costs, score = float(ready[0]), float(best[:, 0].mean())
        points = [(costs, self._score(score))]
        for number in range(1, len(ready)):
            share = float((solved & (first == number)).mean())
            if share > 0:
                costs, score = costs + share * float(ready[number] - ready[0]), score + share
                points.append((costs, self._score(score)))
        expected = oracle_bound(problem, self._answers(problem, self._report))
        return Curve("oracle exit (a bound)", "oracle", tuple(points), self._score(expected), between="line")

    def notes(self) -> list[str]:
        """What a user should read beside the curves."""
        if self.is_interrupted:
            return ["thresholds need the profile, so the multi-exit model is drawn as if it were interrupted"]
        return []

    @property
    def _report(self) -> str:
        assert self.after.outcomes.report_split is not None
        return self.after.outcomes.report_split

    def _ready(self, problem: Problem) -> Array:
        """When each exit answers, if it is to; the final one last."""
        return np.array(self.times.answers_ms if problem.policy == "interruptible" else self.times.alone_ms)

    def _values(self, split: str) -> Array:
        """Value of each exit on a split, the final one last."""
        outcomes = self.after.outcomes
        values = outcomes.values(split)
        return np.array([*(values[pair] for pair in exit_pairs(self.after.config)), outcomes.final_value(split)])

    def _score(self, value: float) -> float:
        return float(as_value(float(value), self.after.outcomes.metric))

    def _single(self, ms: float, value: float) -> tuple[tuple[tuple[float, float], ...], float]:
        """The point of one answer at one time, and its expected score."""
        problem, _ = self.problem(self._report)
        only = replace(
            problem, candidates=(), final_ms=ms, final_value=float(value), policy="interruptible", quantile=None
        )
        return ((ms, self._score(value)),), self._score(expected_value(only, ()))

    def _answers(self, problem: Problem, split: str) -> Answers:
        """How sure every exit is of every sample, at the temperatures of the choice split."""
        config, outcomes = self.after.config, self.after.outcomes
        score = "softmax" if config.confidence is None else config.confidence.score
        fitted = build_answers(problem, outcomes, outcomes.choice_split, score=score)
        if split == outcomes.choice_split:
            return fitted
        return build_answers(problem, outcomes, split, score=score, like=fitted)
