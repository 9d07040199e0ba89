"""What a search found as tables: a row an exit of the choice, a point of the front, or a setting that was tried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from exitsearch.specs.frames.columns import FINAL, HEAD, MODULE, PLACEMENT
from exitsearch.specs.frames.config import config_notes, config_title
from exitsearch.specs.frames.frame import Cell, Column, Frame, counted

if TYPE_CHECKING:
    from exitsearch.search.result import FrontResult, SearchResult, SettingsResult


def _exit_rows(result: SearchResult) -> Iterator[tuple[Cell, ...]]:
    for number, row in enumerate(result.rows):
        place = (row.placement, row.module, row.head or FINAL)
        yield (number, *place, row.head_ms, row.arrives_ms, row.choice_score, row.report_score, row.chance)


def _notes(result: SearchResult) -> list[str]:
    found = config_notes(result.config)
    if result.baselines:
        best = max(result.baselines, key=lambda row: row.value)
        found.append(f"{result.value - best.value:.4f} above the best of what one would do without it ({best.name}).")
    return [*found, *result.notes]


RESULT = Frame(
    title=lambda result: config_title(result.config),
    columns={
        "exit": Column("number of the exit in the order of answering, from 0; the final one last", "whole"),
        "placement": PLACEMENT,
        "module": MODULE,
        "head": HEAD,
        "head_ms": Column("median time of its head, in ms of one batch; 0 for the final exit"),
        "answers_ms": Column("from the input to its answer under the policy, at median latency, in ms"),
        "score": Column("its metric, or what its answers are worth, on the split that was chosen on"),
        "report_score": Column("the same on the report split; missing where there is none"),
        "chance": Column("how likely its answer is the one in hand when the budget strikes, from 0 to 1"),
    },
    rows=_exit_rows,
    brief=Frame(
        title=lambda result: config_title(result.config),
        columns={
            "placement": PLACEMENT,
            "module": MODULE,
            "head": HEAD,
            "answers ms": Column("from the input to its answer under the policy, at median latency, in ms"),
            "score": Column("its metric, or what its answers are worth, on the split that was chosen on"),
            "held out": Column("the same on the report split"),
            "chance": Column("how likely its answer is the one in hand when the budget strikes"),
        },
        rows=lambda result: [(*row[1:4], *row[5:]) for row in _exit_rows(result)],
        notes=_notes,
    ),
)


def _baseline_rows(result: SearchResult) -> Iterator[tuple[Cell, ...]]:
    chosen = [(exit_.placement, str(exit_.choice)) for exit_ in result.config.exits]
    found = [("exitsearch", chosen, result.value, result.held_out)]
    found += [(row.name, list(row.exits), row.value, row.held_out) for row in result.baselines]
    for name, exits, value, held_out in sorted(found, key=lambda row: -row[2]):  # stable: the choice first of equals
        yield name, len(exits), _listed(exits), value, result.value - value, held_out


BASELINES = Frame(
    title=lambda result: f"the choice beside {counted(len(result.baselines), 'baseline')}",
    columns={
        "what": Column("name of the baseline; `exitsearch` is the choice", "text"),
        "exits": Column("how many early exits it has", "whole"),
        "chosen": Column("its exits as placement:head", "text"),
        "value": Column("expected value on the split that was chosen on"),
        "below": Column("the choice's expected value minus its own"),
        "held_out": Column("expected value on the report split; missing where there is none"),
    },
    rows=_baseline_rows,
)


def _point_rows(front: FrontResult) -> Iterator[tuple[Cell, ...]]:
    for point in front.rows:
        costs = (point.amounts.get("params"), point.amounts.get("energy"), point.amounts.get("time"))
        exits = [(exit_.placement, str(exit_.choice)) for exit_ in point.config.exits]
        yield (point.amounts["value"], *costs, point.held_out, point.proved, len(exits), _listed(exits))


FRONT = Frame(
    title=lambda front: f"front of {', '.join(front.names)}: {counted(len(front.rows), 'point')}",
    columns={
        "value": Column("expected value on the split that was chosen on"),
        "params": Column("parameters of the exits; missing where it is no objective"),
        "energy_mj": Column("energy of one answer, in mJ; missing where it is no objective"),
        "time_ms": Column("time of one answer, in ms; missing where it is no objective"),
        "held_out": Column("expected value on the report split; missing where there is none"),
        "proved": Column("whether no choice that costs no more is worth more", "flag"),
        "exits": Column("how many early exits it has", "whole"),
        "chosen": Column("its exits as placement:head", "text"),
    },
    rows=_point_rows,
    notes=lambda front: ["These are all there are."] if front.complete else [],
)


def _setting_rows(found: SettingsResult) -> Iterator[tuple[Cell, ...]]:
    for row in found.rows:
        one = row.setting
        condition = (one.dtype, one.runtime, one.threads, one.batch_size, one.input_size)
        yield (str(one), *condition, row.value, row.full_ms, row.exits, row.verdict, row.state, row.reason)


SETTINGS = Frame(
    title=lambda found: f"{counted(len(found.rows), 'setting')} of {found.settings} looked at, chosen: {found.setting}",
    columns={
        "setting": Column("one value of every knob, in words", "text"),
        "dtype": Column("of weights and features", "text"),
        "runtime": Column("in which it was measured", "text"),
        "threads": Column("CPU threads", "whole"),
        "batch_size": Column("inputs of a batch", "whole"),
        "input_size": Column("side of the input in pixels; missing: the backbone's own", "whole"),
        "value": Column("best expected value under it; missing where it is impossible or failed"),
        "full_ms": Column("time of the full model, in ms of one batch"),
        "exits": Column("how many early exits the best choice has", "whole"),
        "verdict": Column("of its profile", "text"),
        "state": Column("tried, pruned, impossible or failed", "text"),
        "reason": Column("why it is impossible or failed", "text"),
    },
    rows=_setting_rows,
    brief=Frame(
        title=lambda found: f"{counted(len(found.rows), 'setting')} of {found.settings}, chosen: {found.setting}",
        columns={
            "setting": Column("one value of every knob, in words", "text"),
            "value": Column("best expected value under it"),
            "full ms": Column("time of the full model, in ms of one batch"),
            "exits": Column("how many early exits the best choice has", "whole"),
            "state": Column("tried, pruned, impossible or failed", "text"),
        },
        rows=lambda found: [(row[0], row[6], row[7], row[8], row[10]) for row in _setting_rows(found)],
        notes=lambda found: [f"{row.setting}: {row.reason}" for row in found.rows if row.reason],
    ),
)


def _listed(exits: list[tuple[int, str]]) -> str:
    return " ".join(f"{placement}:{head}" for placement, head in exits)
