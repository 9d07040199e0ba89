"""Where the exits stand: the backbone to scale in time, and the multi-exit model with its heads beside it."""

from __future__ import annotations

from exitsearch.report.html.charts.chart import Bar, Bars, Figure, Flag, Role, Span
from exitsearch.report.html.page import Column, Section, Table
from exitsearch.report.html.search.searched import Searched
from exitsearch.search.value import finish_times
from exitsearch.specs.cost import Cost


def section(searched: Searched) -> Section:
    """The bars, and the exits in a table."""
    known = searched.result.problem.policy == "contract"
    text = [
        "Every budget is known beforehand, so one head is run at most: the one that will answer."
        if known
        else "Every chosen head on the way is run, so each one delays all answers after it."
    ]
    return Section(
        key="exits", title="The chosen exits", text=text, figures=[figure(searched)], tables=[_exits(searched)]
    )


def figure(searched: Searched) -> Figure:
    """The backbone alone, and the choice: in one bar, or where one head is run in a bar for every exit."""
    bars = [_alone(searched)]
    bars += _one_each(searched) if searched.result.problem.policy == "contract" else [_with_exits(searched)]
    rows = searched.result.rows
    answers = ", ".join(f"{row.head or 'final'} at {row.arrives_ms:.4g} ms" for row in rows)
    return Figure(
        key="backbone",
        title="From the input to each answer, to scale in time",
        reading="Segments of the backbone in blue, by turns lighter and darker; exit heads in orange. A triangle is "
        "the moment at which an answer is ready.",
        told=f"The backbone takes {searched.result.problem.final_ms:.4g} ms alone. Answers: {answers}.",
        drawn=Bars(
            across="ms from the input, at median latency",
            bars=bars,
            legend=[("choice", "segment of the backbone"), ("first", "exit head")],
        ),
    )


def _parts(searched: Searched) -> list[tuple[int | None, str, Cost]]:
    """The backbone's parts in order: placement that a segment ends at, its name, its cost; the final part last."""
    modules = searched.modules
    found: list[tuple[int | None, str, Cost]] = [
        (segment.placement, modules.get(segment.placement, f"segment {segment.placement}"), segment)
        for segment in searched.profile.segments
    ]
    return [*found, (None, "final part", searched.profile.final)]


def _segment(number: int, start: float, placement: int | None, name: str, cost: Cost, full_ms: float) -> Span:
    took = cost.latency_ms or 0.0
    words = [f"{name}: {took:.4g} ms, {took / full_ms:.1%} of the backbone" if full_ms else f"{name}: {took:.4g} ms"]
    if cost.interval_ms is not None:
        words.append(f"95% interval of the median {cost.interval_ms[0]:.4g} to {cost.interval_ms[1]:.4g} ms")
    words.append(f"ends at {start + took:.4g} ms")
    counts = []
    if cost.macs is not None:
        counts.append(f"{cost.macs / 1e6:.4g} million MACs")
    if cost.params is not None:
        counts.append(f"{cost.params:,} parameters")
    if counts:
        words.append(", ".join(counts))
    text = "" if placement is None else str(placement)
    return Span(start, start + took, "choice", "\n".join(words), text=text, faint=number % 2 == 1)


def _alone(searched: Searched) -> Bar:
    spans, at = [], 0.0
    for number, (placement, name, cost) in enumerate(_parts(searched)):
        spans.append(_segment(number, at, placement, name, cost, searched.profile.full_ms))
        at = spans[-1].end
    return Bar("backbone<br>alone".replace("<br>", "\n"), spans, [_flag(searched, -1, at, role="bound")])


def _flag(searched: Searched, number: int, at: float, *, role: Role = "choice") -> Flag:
    row = searched.result.rows[number]
    name = row.head or "final exit"
    told = [
        f"{name}{'' if row.placement is None else f' at {searched.place(row.placement)}'}",
        f"answers at {at:.4g} ms",
        f"{searched.metric} {row.choice_score:.4f} on the {searched.split} split"
        + ("" if row.report_score is None else f", {row.report_score:.4f} on the report split"),
    ]
    if role == "choice":
        told.append(f"in hand when the budget strikes with a chance of {row.chance:.1%}")
    return Flag(at, f"{row.head or 'final'} {row.choice_score:.3f}", "\n".join(told), role)


def _with_exits(searched: Searched) -> Bar:
    """Segments and heads in the order that they are run in."""
    problem = searched.result.problem
    chosen = {c.placement: (number, c) for number, c in enumerate(problem.chosen(searched.result.choice))}
    resume = searched.profile.resume_ms
    spans, flags, at = [], [], 0.0
    for number, (placement, name, cost) in enumerate(_parts(searched)):
        spans.append(_segment(number, at, placement, name, cost, searched.profile.full_ms))
        at = spans[-1].end
        if placement not in chosen:
            continue
        index, candidate = chosen[placement]
        # What the next part takes longer behind the head is counted with the head.
        after = float(resume[placement])
        words = f"{candidate.head} at {searched.place(placement)}: {candidate.head_ms:.4g} ms"
        if after:
            words += f", of which the next part takes {after:.4g} ms longer behind it"
        spans.append(Span(at, at + candidate.head_ms, "first", words))
        flags.append(_flag(searched, index, at + candidate.head_ms - after))
        at = spans[-1].end
    return Bar("with the\nchosen exits", spans, [*flags, _flag(searched, -1, at)])


def _one_each(searched: Searched) -> list[Bar]:
    """One bar an exit: the backbone up to it, and its head alone."""
    times = finish_times(searched.result.problem, searched.result.choice)
    parts, bars = _parts(searched), []
    for number, candidate in enumerate(searched.result.problem.chosen(searched.result.choice)):
        spans, at = [], 0.0
        for index, (placement, name, cost) in enumerate(parts):
            if placement is None or placement > candidate.placement:
                break
            spans.append(_segment(index, at, placement, name, cost, searched.profile.full_ms))
            at = spans[-1].end
        own = float(times[number]) - at
        words = f"{candidate.head} at {searched.place(candidate.placement)}: {own:.4g} ms"
        spans.append(Span(at, at + own, "first", words))
        bars.append(Bar(f"exit at {candidate.placement}", spans, [_flag(searched, number, at + own)]))
    return bars


def _exits(searched: Searched) -> Table:
    result = searched.result
    report = result.rows[0].report_score is not None
    return Table(
        title="The choice",
        columns=[
            Column("placement", "d"),
            Column("module"),
            Column("head"),
            Column("head ms", ".4g", "latency of the head itself, at the median"),
            Column("answers at ms", ".4g", "from the input, heads on the way included"),
            Column(f"{searched.metric} ({searched.split})", ".4f"),
            *([Column(f"{searched.metric} (report)", ".4f")] if report else []),
            Column("chance", ".1%", "that its answer is the one in hand when the budget strikes"),
        ],
        rows=[
            [
                "final" if row.placement is None else row.placement,
                row.module or "",
                row.head or "(the backbone's own)",
                row.head_ms,
                row.arrives_ms,
                row.choice_score,
                *([row.report_score] if report else []),
                row.chance,
            ]
            for row in result.rows
        ],
    )
