"""Every candidate: its value, its cost, and what it gains, placement by head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from exitsearch.report.html.charts.chart import Figure, Grid
from exitsearch.report.html.page import Column, Section, Table
from exitsearch.report.html.search.searched import Searched
from exitsearch.search.problem import Choice
from exitsearch.search.value import expected_value
from exitsearch.specs.question.candidates import Pair
from exitsearch.specs.question.limits import parse_exit


@dataclass(frozen=True)
class Candidate:
    """A pair that could be chosen, with all that the page tells of it.

    Attributes:
        value: score on the split that is chosen on; None: its head is not trained.
        report: score on the report split; None: not known.
        head_ms: by how much it delays what comes after it.
        alone_ms: when it answers if no other head is run.
        params: of the head; None: not known.
        alone: what it gains over the backbone alone as the only exit; None: not trained.
        here: of a chosen one, what the choice would lose without it; of another, what the choice would gain with it at
            its placement, which is at most 0 where the choice is the best and no limit is in the way; None: not
            trained.
        is_chosen: whether the choice has it.
    """

    placement: int
    head: str
    value: float | None
    report: float | None
    head_ms: float
    alone_ms: float
    params: int | None
    alone: float | None
    here: float | None
    is_chosen: bool


def section(searched: Searched) -> Section:
    """Four heat maps and a table."""
    found = candidates(searched)
    untrained = sum(one.value is None for one in found)
    text = [f"{len(found)} pairs of a placement and a head could be chosen. A diamond marks those that were."]
    if untrained:
        text.append(f"{untrained} of them are not trained: their cost is known, and the other maps leave them out.")
    if searched.by_confidence:
        text.append("Gains are those of exits that are interrupted; what thresholds gain has no formula of its own.")
    return Section(
        key="candidates",
        title="Every candidate",
        text=text,
        figures=figures(searched, found),
        tables=[_table(searched, found)] if found else [],
    )


def candidates(searched: Searched) -> list[Candidate]:
    """Every pair that could be chosen, trained or not, by placement and head."""
    problem, result = searched.result.problem, searched.result
    worth, lost = _gains(searched)
    costs = {(cost.placement, cost.head): cost for cost in searched.profile.heads}
    report = searched.outcomes.report_split
    scores = searched.outcomes.values(report) if report else {}
    found = []
    for position, candidate in enumerate(problem.candidates):
        pair = (candidate.placement, candidate.head)
        cost = costs.get(pair)
        found.append(
            Candidate(
                placement=candidate.placement,
                head=candidate.head,
                value=candidate.value,
                report=scores.get(pair),
                head_ms=candidate.head_ms,
                alone_ms=candidate.arrival_ms + candidate.head_ms,
                params=cost.params if cost else None,
                alone=worth[pair],
                here=lost[pair],
                is_chosen=position in result.choice,
            )
        )
    return sorted([*found, *_untrained(searched)], key=lambda one: (one.placement, one.head))


def _untrained(searched: Searched) -> list[Candidate]:
    """Those without a trained head, of which the cost is known."""
    known = searched.result.config.optimum.untrained
    arrival, resume = searched.profile.arrival_ms, searched.profile.resume_ms
    costs = {(cost.placement, cost.head): cost for cost in searched.profile.heads}
    found = []
    for name in known.exits if known else []:
        placement, head = parse_exit(name)
        assert head is not None
        cost = costs[placement, head]
        own = cost.latency_ms or 0.0
        delays = own + float(resume[placement])
        alone = float(arrival[placement]) + own
        found.append(Candidate(placement, head, None, None, delays, alone, cost.params, None, None, False))
    return found


def _gains(searched: Searched) -> tuple[Mapping[Pair, float], Mapping[Pair, float]]:
    """What every trained candidate gains alone, and what it gains or costs in the choice."""
    problem, choice = searched.result.problem, searched.result.choice
    if problem.policy == "confidence":
        problem = replace(problem, policy="interruptible", quantile=None)
    nothing, value = expected_value(problem, ()), expected_value(problem, choice)
    worth, lost = {}, {}
    for position, candidate in enumerate(problem.candidates):
        pair = (candidate.placement, candidate.head)
        worth[pair] = expected_value(problem, (position,)) - nothing
        others = [p for p in choice if problem.candidates[p].placement != candidate.placement]
        if position in choice:
            lost[pair] = value - expected_value(problem, tuple(others))
        else:
            changed: Choice = tuple(sorted([*others, position]))
            lost[pair] = expected_value(problem, changed) - value
    return worth, lost


def figures(searched: Searched, found: list[Candidate]) -> list[Figure]:
    """The heat maps; none where nothing can be chosen."""
    if not found:
        return []
    metric, split = searched.metric, searched.split
    return [
        _map(
            searched,
            found,
            key="value",
            title=f"Value: {metric} of each exit",
            unit=metric,
            reading=f"On the {split} split. Brighter is more.",
            number=lambda one: one.value,
        ),
        _map(
            searched,
            found,
            key="cost",
            title="Cost: what each head delays",
            unit="ms",
            reading="By how many milliseconds the head delays all that comes after it.",
            number=lambda one: one.head_ms,
        ),
        _map(
            searched,
            found,
            key="gain_alone",
            title="Gain alone: as the only exit",
            unit="expected value",
            reading="Expected value with this exit alone, less that of the backbone without any. Blue gains.",
            number=lambda one: one.alone,
            around=0.0,
        ),
        _map(
            searched,
            found,
            key="gain_here",
            title="Gain in the choice: with it or without it",
            unit="expected value",
            reading="Of a chosen exit (diamond) what the choice would lose without it; of another what the choice "
            "would become with it at that placement. Orange loses.",
            number=lambda one: one.here,
            around=0.0,
        ),
    ]


def _map(
    searched: Searched,
    found: list[Candidate],
    *,
    key: str,
    title: str,
    unit: str,
    reading: str,
    number: Callable[[Candidate], float | None],
    around: float | None = None,
) -> Figure:
    """One heat map: heads from the cheapest to the dearest, placements in order."""
    places = sorted({one.placement for one in found})
    least: dict[str, float] = {}
    for one in (one for one in found if number(one) is not None):
        least[one.head] = min(one.head_ms, least.get(one.head, one.head_ms))
    heads = sorted(least, key=lambda head: (least[head], head))
    there = {(one.placement, one.head): one for one in found}
    cells = [[there.get((place, head)) for place in places] for head in heads]
    known = [(one, n) for one in found if (n := number(one)) is not None]
    best = max(known, key=lambda pair: pair[1], default=None)
    most = "" if best is None else f" The largest is {best[1]:.4g}, {best[0].head} at placement {best[0].placement}."
    return Figure(
        key=key,
        title=title,
        reading=reading,
        told=f"{title}, {len(heads)} heads by {len(places)} placements.{most}",
        drawn=Grid(
            across="placement",
            down="",
            columns=[str(place) for place in places],
            rows=heads,
            numbers=[[None if one is None else number(one) for one in row] for row in cells],
            words=[
                [_words(searched, one) if one else f"{heads[at]} does not stand here" for one in row]
                for at, row in enumerate(cells)
            ],
            unit=unit,
            chosen=[(r, c) for r, row in enumerate(cells) for c, one in enumerate(row) if one and one.is_chosen],
            around=around,
        ),
    )


def _words(searched: Searched, one: Candidate) -> str:
    lines = [f"{one.head} at {searched.place(one.placement)}{', chosen' if one.is_chosen else ''}"]
    if one.value is None:
        lines.append("not trained")
    else:
        report = "" if one.report is None else f", {one.report:.4f} (report)"
        lines.append(f"{searched.metric} {one.value:.4f} ({searched.split}){report}")
    lines.append(f"delays by {one.head_ms:.4g} ms, alone answers at {one.alone_ms:.4g} ms")
    if one.alone is not None and one.here is not None:
        lines += [f"gains alone {one.alone:+.4f}", f"gains in the choice {one.here:+.4f}"]
    if one.params is not None:
        lines.append(f"{one.params:,} parameters")
    return "\n".join(lines)


def _table(searched: Searched, found: list[Candidate]) -> Table:
    report = any(one.report is not None for one in found)
    counted = any(one.params is not None for one in found)
    return Table(
        title="Every candidate",
        columns=[
            Column("placement", "d"),
            Column("head"),
            Column(f"{searched.metric} ({searched.split})", ".4f"),
            *([Column(f"{searched.metric} (report)", ".4f")] if report else []),
            Column("delays by ms", ".4g"),
            Column("alone answers at ms", ".4g"),
            Column("gains alone", "+.4f", "as the only exit, over the backbone without any"),
            Column("gains in the choice", "+.4f", "lost without it if chosen, gained with it if not"),
            *([Column("parameters", ",d")] if counted else []),
            Column("chosen"),
        ],
        rows=[
            [
                one.placement,
                one.head,
                one.value,
                *([one.report] if report else []),
                one.head_ms,
                one.alone_ms,
                one.alone,
                one.here,
                *([one.params] if counted else []),
                "chosen" if one.is_chosen else "not trained" if one.value is None else "",
            ]
            for one in found
        ],
        marked=[number for number, one in enumerate(found) if one.is_chosen],
        folded=True,
    )
