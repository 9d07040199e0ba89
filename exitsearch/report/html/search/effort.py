"""What each further exit buys, what each operating point buys, and how Optuna came to what it found."""

from __future__ import annotations

from itertools import pairwise

from exitsearch.report.html.charts.chart import Figure, Line, Lines
from exitsearch.report.html.page import Column, Section, Table
from exitsearch.report.html.search.searched import ALONE, Searched


def further_exits(searched: Searched) -> list[Section]:
    """The best value with at most so many exits; nothing where the solver was not asked for it."""
    counts = searched.result.solution.by_count
    if not counts:
        return []
    gains = [None, *(later[1] - earlier[1] for earlier, later in pairwise(counts))]
    share = 0.95 * (counts[-1][1] - counts[0][1]) + counts[0][1]
    enough = next(count for count, value in counts if value >= share)
    text = []
    if len(counts) > 2:
        text.append(
            f"{enough} {'exit buys' if enough == 1 else 'exits buy'} 95% of what {counts[-1][0]} do over "
            f"{counts[0][0] or 'none'}; --max-exits {enough} would ask for so many."
        )
    table = Table(
        title="What each further exit buys",
        columns=[
            Column("at most exits", "d"),
            Column("best expected value", ".4f"),
            Column("more than with one less", "+.4f"),
        ],
        rows=[[count, value, gain] for (count, value), gain in zip(counts, gains, strict=True)],
    )
    found = [_further(searched)] if len(counts) > 1 else []
    return [Section(key="further", title="What each further exit buys", text=text, figures=found, tables=[table])]


def _further(searched: Searched) -> Figure:
    counts = searched.result.solution.by_count
    words = ["", *(f"({b[1] - a[1]:+.4f})" for a, b in pairwise(counts))]
    line = Line(
        "best expected value",
        [float(count) for count, _ in counts],
        [value for _, value in counts],
        "choice",
        mark="circle",
        width=2.4,
        words=words,
    )
    return Figure(
        key="further_exits",
        title="Best expected value with at most so many exits",
        reading="Each point is a proved optimum of its own; the choice is the last."
        if searched.result.solution.exact
        else "Each point is the best that the solver found; the choice is the last.",
        told="Best expected value by number of exits: " + ", ".join(f"{n}: {value:.4f}" for n, value in counts) + ".",
        drawn=Lines(across="early exits at most", up="expected value", lines=[line], whole=True),
    )


def operating_points(searched: Searched) -> list[Section]:
    """What `confidence` does within each budget; nothing under another policy."""
    confidence = searched.result.config.confidence
    if confidence is None:
        return []
    metric, split = searched.metric, searched.split
    time = "mean" if confidence.quantile is None else f"{confidence.quantile:.4g} quantile of the"
    report = any(point.report_value is not None for point in confidence.points)
    table = Table(
        title="Operating points",
        columns=[
            Column("budget from ms", ".4g"),
            Column("thresholds"),
            Column("exit rates"),
            Column(f"{metric} ({split})", ".4f"),
            *([Column(f"{metric} (report)", ".4f"), Column(f"{time} ms (report)", ".4g")] if report else []),
        ],
        rows=[
            [
                point.budget_ms,
                "  ".join("off" if t is None else f"{t:.4g}" for t in point.thresholds),
                "  ".join(f"{rate:.0%}" for rate in point.exit_rates),
                point.value,
                *([point.report_value, point.report_ms] if report else []),
            ]
            for point in confidence.points
        ],
        folded=len(confidence.points) > 12,
    )
    text = (
        f"Confidence is {confidence.score}. From its budget on, each point's thresholds are used: an input leaves at "
        f"the first exit that is at least so sure. A budget limits the {time} latency."
    )
    return [Section(key="points", title="Operating points", text=[text], tables=[table])]


def history(searched: Searched) -> list[Section]:
    """Optuna's trials one after the other; nothing where none were asked for."""
    result, study = searched.result, searched.result.study
    if study is None or not study.history:
        return []
    own = [trial for trial in study.history if not trial.is_given]
    text = [f"{study.trials} finished trials in the study {study.name}."]
    if result.optuna_regret is not None:
        text.append(
            f"The exact solver gave the first; the best that Optuna drew itself is {result.optuna_regret:.4f} below "
            "the optimum."
        )
    broken = sum(not trial.allowed for trial in study.history)
    if broken:
        text.append(f"{broken} trials break a limit and count for nothing.")
    best = sorted((trial for trial in study.history if trial.allowed), key=lambda trial: -trial.value)[:20]
    table = Table(
        title="The best trials",
        columns=[Column("trial", "d"), Column("expected value", ".4f"), Column("exits", "d"), Column("from")],
        rows=[[t.number, t.value, t.exits, "the exact solver" if t.is_given else "Optuna"] for t in best],
        folded=True,
    )
    return [
        Section(
            key="history",
            title="Optuna's history",
            text=text,
            figures=[_history(searched)] if own else [],
            tables=[table],
        )
    ]


def _history(searched: Searched) -> Figure:
    study = searched.result.study
    assert study is not None
    own = [trial for trial in study.history if not trial.is_given]
    allowed = [trial for trial in own if trial.allowed]
    broken = [trial for trial in own if not trial.allowed]
    lines = [
        Line(
            "a trial",
            [float(trial.number) for trial in allowed],
            [trial.value for trial in allowed],
            "muted",
            join="none",
            mark="circle",
            words=[f"({trial.exits} exits)" for trial in allowed],
        )
    ]
    if broken:
        numbers, values = [float(trial.number) for trial in broken], [trial.value for trial in broken]
        lines.append(Line("breaks a limit", numbers, values, "bad", join="none", mark="cross", hidden=True))
    best, heights = -float("inf"), []
    for trial in allowed:
        best = max(best, trial.value)
        heights.append(best)
    lines.append(Line("Optuna's best so far", [float(t.number) for t in allowed], heights, "choice", "step", width=2.4))
    alone = searched.baseline(ALONE)
    bound = searched.result.config.optimum
    name = "proved optimum" if bound.exact else "upper bound"
    return Figure(
        key="history",
        title="Expected value of each trial that Optuna drew",
        reading="The exact solver's choice, the study's first trial, is left out: it is the optimum's line.",
        told=f"{len(own)} trials; the best reaches {max(heights, default=0.0):.4f}, the {name} is {bound.value:.4f}"
        + ("." if alone is None else f", the backbone alone {alone.value:.4f}."),
        drawn=Lines(
            across="trial",
            up="expected value",
            lines=lines,
            level=(name, bound.value),
            whole=True,
            together=False,
        ),
    )
