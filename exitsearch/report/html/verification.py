"""`verify.html`: what a bundle was predicted to do on a machine, and what it was observed to do there."""

from __future__ import annotations

import shlex
from pathlib import Path

from exitsearch.report.html.charts.chart import Compared, Figure, Reading, Readings
from exitsearch.report.html.charts.pictures import write_pictures
from exitsearch.report.html.page import Cell, Column, Command, Fact, Page, Section, Table, write_page
from exitsearch.report.terminal.budgets import short_budget
from exitsearch.specs.verification import ExitUse, Lateness, Phase, Verification


def write_verification(verification: Verification, path: Path | str) -> Path:
    """Write the report of a verification as one page, whole or not at all.

    Raises:
        FileError: the file cannot be written.
    """
    return write_page(verification_page(verification), path)


def write_verification_plots(verification: Verification, folder: Path | str) -> list[Path]:
    """Write every figure of the report as PNG and SVG.

    Raises:
        FileError: a file cannot be written.
    """
    return write_pictures(verification_page(verification).figures, folder)


def verification_page(verification: Verification) -> Page:
    """The page of a verification."""
    decides = next((phase for phase in verification.phases if phase.decides), verification.phases[0])
    predicted, observed = decides.predicted, decides.observed
    low, high = decides.allowed
    found = "is within" if verification.within else "has left"
    requests = sum(phase.observed.requests for phase in verification.phases)
    return Page(
        title=f"Predicted against observed: {Path(verification.bundle).name or verification.bundle}",
        sentence=f"Observed {observed.value:.4f}, predicted {predicted.value:.4f}: the observed value {found} the "
        f"prediction's interval {low:.4f} to {high:.4f} ({decides.name}, {observed.requests} requests).",
        about=f"Budgets {short_budget(verification.budget)} ms; {verification.samples} samples of "
        f"{verification.data or 'random inputs'}; {verification.cpu}; {verification.created}.",
        facts=[
            Fact("Predicted", f"{predicted.value:.4f}", f"allowed {low:.4f} to {high:.4f}", "choice"),
            Fact(
                "Observed",
                f"{observed.value:.4f}",
                f"95% {observed.interval[0]:.4f} to {observed.interval[1]:.4f}",
                "good" if verification.within else "bad",
            ),
            Fact("No answer", f"{observed.no_answer:.1%}", f"predicted {predicted.no_answer:.1%}"),
            Fact("Requests", f"{requests:,}", f"in {verification.seconds:.4g} s"),
        ],
        sections=[
            _values(verification),
            *(_exits(phase) for phase in verification.phases if phase.name.startswith("quiet")),
            _lateness(verification),
            _words(verification),
        ],
    )


def _values(verification: Verification) -> Section:
    phases = verification.phases
    return Section(
        key="values",
        title="Expected value",
        text=["Every phase is a run of requests one after the other. One of them decides; the others say why."],
        figures=[
            Figure(
                key="verified_values",
                title="Expected value of each phase",
                reading="Circle: predicted, with the interval that is allowed. Diamond: observed, with its 95% "
                "bootstrap interval over the samples.",
                told="; ".join(
                    f"{p.name}: predicted {p.predicted.value:.4f}, observed {p.observed.value:.4f}" for p in phases
                ),
                drawn=Compared(
                    across="expected value",
                    rows=[phase.name for phase in phases],
                    series=[
                        Readings("predicted", "choice", "circle", [_predicted(phase) for phase in phases]),
                        Readings("observed", "first", "diamond", [_observed(phase) for phase in phases]),
                    ],
                    joined=False,
                ),
            )
        ],
        tables=[
            Table(
                title="Expected value, predicted and observed",
                columns=[
                    Column("phase"),
                    Column("requests", "d"),
                    Column("predicted", ".4f"),
                    Column("allowed from", ".4f"),
                    Column("to", ".4f"),
                    Column("observed", ".4f"),
                    Column("95% from", ".4f"),
                    Column("to", ".4f"),
                    Column("within"),
                ],
                rows=[_value_row(phase) for phase in phases],
                marked=[number for number, phase in enumerate(phases) if phase.decides],
            )
        ],
    )


def _predicted(phase: Phase) -> Reading:
    low, high = phase.allowed
    words = f"{phase.name}\npredicted {phase.predicted.value:.4f}\nallowed {low:.4f} to {high:.4f}"
    return Reading(phase.predicted.value, words, low, high)


def _observed(phase: Phase) -> Reading:
    (low, high), value = phase.observed.interval, phase.observed.value
    within = "within" if phase.within else "outside"
    words = f"{phase.name}\nobserved {value:.4f}, {within} what is allowed\n95% {low:.4f} to {high:.4f}"
    return Reading(value, words, low, high)


def _value_row(phase: Phase) -> list[Cell]:
    (low, high), observed = phase.allowed, phase.observed
    return [
        phase.name,
        observed.requests,
        phase.predicted.value,
        low,
        high,
        observed.value,
        *observed.interval,
        "yes" if phase.within else "no",
    ]


def _exits(phase: Phase) -> Section:
    pairs = list(zip(phase.predicted.exits, phase.observed.exits, strict=True))
    key = phase.name.replace(", ", "_").replace(" ", "_")
    names = [predicted.exit for predicted, _ in pairs]
    return Section(
        key=f"exits-{key}",
        title=f"Exits, {phase.name}",
        figures=[
            Figure(
                key=f"shares_{key}",
                title="Share of requests that each exit answered",
                reading="Of all requests; what is missing to one had no answer.",
                told="; ".join(f"{p.exit}: predicted {p.share:.1%}, observed {o.share:.1%}" for p, o in pairs),
                drawn=Compared(
                    across="share of requests",
                    rows=names,
                    series=[
                        Readings("predicted", "choice", "circle", [_share(p, "predicted") for p, _ in pairs]),
                        Readings("observed", "first", "diamond", [_share(o, "observed") for _, o in pairs]),
                    ],
                ),
            ),
            Figure(
                key=f"times_{key}",
                title="When each exit answers: median to 99th percentile",
                reading="Mark: median. The line to its right ends at the 99th percentile.",
                told="; ".join(
                    f"{p.exit}: {_ms(p.median_ms)} predicted, {_ms(o.median_ms)} observed" for p, o in pairs
                ),
                drawn=Compared(
                    across="ms from a request's arrival to its answer",
                    rows=names,
                    series=[
                        Readings("predicted", "choice", "circle", [_time(p, "predicted") for p, _ in pairs]),
                        Readings("observed", "first", "diamond", [_time(o, "observed") for _, o in pairs]),
                    ],
                    joined=False,
                ),
            ),
        ],
        tables=[_exits_table(phase)],
    )


def _exits_table(phase: Phase) -> Table:
    pairs = zip(phase.predicted.exits, phase.observed.exits, strict=True)
    times = (("share", ".1%"), ("median ms", ".4g"), ("p90 ms", ".4g"), ("p99 ms", ".4g"))
    return Table(
        title=f"Exits, predicted and observed: {phase.name}",
        columns=[
            Column("exit"),
            *(Column(f"{what} {whose}", form) for what, form in times for whose in ("predicted", "observed")),
        ],
        rows=[
            [p.exit, p.share, o.share, p.median_ms, o.median_ms, p.p90_ms, o.p90_ms, p.p99_ms, o.p99_ms]
            for p, o in pairs
        ],
    )


def _ms(time: float | None) -> str:
    return "not known" if time is None else f"{time:.4g} ms"


def _share(use: ExitUse, whose: str) -> Reading:
    return Reading(use.share, f"{use.exit}\n{whose} {use.share:.1%} of requests")


def _time(use: ExitUse, whose: str) -> Reading | None:
    if use.median_ms is None:
        return None
    words = f"{use.exit}, {whose}\nmedian {_ms(use.median_ms)}\np90 {_ms(use.p90_ms)}, p99 {_ms(use.p99_ms)}"
    return Reading(use.median_ms, words, use.median_ms, use.p99_ms)


def _lateness(verification: Verification) -> Section:
    def row(phase: Phase) -> list[Cell]:
        late, struck = phase.observed.late, phase.observed.struck
        found = late or struck or Lateness(share=0.0)
        return [
            phase.name,
            phase.predicted.no_answer,
            phase.observed.no_answer,
            phase.observed.refused,
            None if late is None else late.share,
            None if struck is None else struck.share,
            found.median_ms,
            found.worst_ms,
        ]

    return Section(
        key="late",
        title="Without an answer, and late",
        tables=[
            Table(
                title="Answers of each phase",
                columns=[
                    Column("phase"),
                    Column("no answer predicted", ".1%"),
                    Column("no answer observed", ".1%"),
                    Column("refused", ".1%", "beforehand, since no exit would have been in time"),
                    Column("late", ".2%", "answers behind a hard deadline"),
                    Column("struck late", ".1%", "interruptions more than 0.25 ms behind the budget"),
                    Column("median ms late", ".3g"),
                    Column("worst ms late", ".3g"),
                ],
                rows=[row(phase) for phase in verification.phases],
            )
        ],
    )


def _words(verification: Verification) -> Section:
    states = {name: None for phase in verification.phases for name in phase.state}
    line = ["exitsearch", "verify", verification.bundle]
    if verification.data is not None:
        line += ["--data", verification.data]
    load = max(phase.load for phase in verification.phases)
    line += ["--budget-dist", verification.budget, *(["--load", str(load)] if load else [])]
    line += ["--quantile", f"{verification.quantile:g}", "--seed", str(verification.seed)]
    return Section(
        key="honesty",
        title="How far to believe it",
        text=verification.sentences,
        facts=[
            ("Values", "answers were compared with labels" if verification.values_observed else "times alone: each "
             "answer counts as what its exit is stated to be worth"),
            ("Bundle", f"{verification.bundle}, identity {verification.bundle_identity}"),
            ("Deadlines", f"planned at the quantile {verification.quantile:g}"),
        ],
        tables=[
            Table(
                title="How busy the machine was",
                columns=[Column("phase"), *(Column(name) for name in states)],
                rows=[
                    [phase.name, *("" if phase.state.get(n) is None else str(phase.state[n]) for n in states)]
                    for phase in verification.phases
                ],
                folded=True,
            )
        ],
        commands=[Command(shlex.join(line), "Verify again:")],
    )  # fmt: skip
