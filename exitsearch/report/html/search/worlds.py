"""Sensitivity: what the choice is worth where budgets or latencies turn out otherwise."""

from __future__ import annotations

from exitsearch.report.html.charts.chart import Compared, Figure, Reading, Readings
from exitsearch.report.html.page import Column, Section, Table
from exitsearch.report.html.search.searched import Searched
from exitsearch.search.result import SearchResult
from exitsearch.search.sensitivity import SensitivityRow, sensitivity

# Candidates up to which other worlds are looked at without being asked for: the exact solver takes a tenth of a second
# for each of the eight.
_MOST = 200


def worlds_of(result: SearchResult) -> list[SensitivityRow]:
    """Other worlds for the report of a search that was not asked for them; none where they would take long."""
    if result.problem.policy == "confidence" or len(result.problem.candidates) > _MOST:
        return []
    return sensitivity(result.problem, result.choice)


def worlds(searched: Searched) -> Section:
    """The figure and the table, or why there are none."""
    rows = searched.worlds
    title = "Were it otherwise"
    if not rows:
        why = (
            "Exact optima to compare with are not to be had under the policy confidence."
            if searched.by_confidence
            else "Not asked of a search this large: add --sensitivity to the command below."
        )
        return Section(key="sensitivity", title=title, text=[why])
    worst = max(rows, key=lambda row: row.loss)
    told = (
        f"The choice loses most under {worst.what}: {worst.loss:.4f} below what would be best there."
        if worst.loss > 0
        else "The choice is the best in every one of these worlds."
    )
    untrained = searched.result.config.optimum.untrained
    text = ["Budgets of other families have the same mean; in the last row every latency is 10% longer.", told]
    if untrained is not None and untrained.exits:
        text.append("Compared with the best choice of the trained candidates there.")
    return Section(
        key="sensitivity",
        title=title,
        text=text,
        figures=[_figure(searched, told)],
        tables=[_table(searched, title)],
    )


def _figure(searched: Searched, told: str) -> Figure:
    rows = searched.worlds
    values = [Reading(r.value, f"{r.what}\nthe choice {r.value:.4f}, loss {r.loss:.4f}") for r in rows]
    best = [Reading(r.best, f"{r.what}\nbest there {r.best:.4f}, {r.exits} exits") for r in rows]
    return Figure(
        key="sensitivity",
        title="Expected value of the choice, and of what would be best there",
        reading="The line between the two is the loss: the price of having chosen for another world.",
        told=told,
        drawn=Compared(
            across="expected value",
            rows=[row.what for row in rows],
            series=[
                Readings("the choice", "choice", "circle", values),
                Readings("best there", "first", "diamond", best),
            ],
        ),
    )


def _table(searched: Searched, title: str) -> Table:
    return Table(
        title=title,
        columns=[
            Column("world"),
            Column("the choice", ".4f"),
            Column("best there", ".4f"),
            Column("loss", ".4f"),
            Column("exits there", "d"),
        ],
        rows=[[row.what, row.value, row.best, row.loss, row.exits] for row in searched.worlds],
    )
