"""What a search found, as tables and sentences: the same rows for the terminal, the HTML report and `--json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType

from exitsearch.report.terminal.budgets import asked_budget
from exitsearch.report.terminal.front import front_summary, front_table
from exitsearch.report.terminal.layout import bullets, rows_table, spaced
from exitsearch.search.result import BaselineRow, SearchResult
from exitsearch.search.sensitivity import SensitivityRow
from exitsearch.specs.config import Untrained

CHOICE = "exitsearch (the choice)"
MARK = " *"
# Operating points on the terminal; the HTML report and chosen.json hold all.
_POINTS_SHOWN = 8
_BASELINES_SHOWN = 8
_GREEDY = "greedy adding"
_OF_THE_CHOICE = "the choice, "
# Baselines that are shown whatever they are worth.
_ASKED_FOR = (_GREEDY, "best single exit", "backbone alone")
# What four digits do not tell apart.
_EQUAL = 5e-5


def choice_rows(result: SearchResult) -> list[dict[str, Any]]:
    """One row an exit of the choice, the final one last."""
    metric, expected = result.config.expected.worth or result.config.expected.metric, result.config.expected
    rows = []
    for exit_ in result.rows:
        row: dict[str, Any] = {
            "placement": "final" if exit_.placement is None else str(exit_.placement),
            "module": exit_.module or "",
            "head": exit_.head or "(the backbone's own)",
            "head ms": round(exit_.head_ms, 4),
            "answers at ms": round(exit_.arrives_ms, 4),
            f"{metric} ({expected.split})": f"{exit_.choice_score:.4f}",
        }
        if exit_.report_score is not None:
            row[f"{metric} (report)"] = f"{exit_.report_score:.4f}"
        row["chance"] = f"{exit_.chance:.1%}"
        rows.append(row)
    return rows


def baseline_rows(result: SearchResult) -> list[dict[str, Any]]:
    """The choice and every baseline, the best first."""
    chosen = [(c.placement, c.head) for c in result.problem.chosen(result.choice)]
    found = [(CHOICE, chosen, result.value, result.held_out)]
    found += [(b.name, list(b.exits), b.value, b.held_out) for b in result.baselines]
    rows = []
    for name, exits, value, held_out in sorted(found, key=lambda row: -row[2]):  # stable: the choice first among equals
        row: dict[str, Any] = {
            "what": name,
            "exits": len(exits),
            "expected value": f"{value:.4f}",
            "below the choice": f"{result.value - value:.4f}",
        }
        if result.held_out is not None:
            row["held out"] = "" if held_out is None else f"{held_out:.4f}"
        rows.append(row)
    return rows


def point_rows(result: SearchResult) -> list[dict[str, Any]]:
    """One row an operating point of the policy `confidence`; none under the others."""
    confidence = result.config.confidence
    what = result.config.expected.worth or "accuracy"
    time = "mean" if result.problem.quantile is None else f"{result.problem.quantile:.4g} quantile"
    rows = []
    for point in confidence.points if confidence else []:
        row: dict[str, Any] = {
            "budget from ms": f"{point.budget_ms:.4g}",
            "thresholds": "  ".join("off" if t is None else f"{t:.4g}" for t in point.thresholds),
            "exit rates": "  ".join(f"{rate:.0%}" for rate in point.exit_rates),
            f"{what} ({result.config.expected.split})": f"{point.value:.4f}",
        }
        if point.report_value is not None and point.report_ms is not None:
            row[f"{what} (report)"] = f"{point.report_value:.4f}"
            row[f"{time} ms (report)"] = f"{point.report_ms:.4g}"
        rows.append(row)
    return rows


def budget_words(result: SearchResult) -> str:
    """The budgets as they were asked for, and in milliseconds."""
    return asked_budget(result.config, full_ms=result.problem.final_ms)


def answer(result: SearchResult, *, next_step: str) -> str:
    """What was found, in one sentence: how many exits, what they are worth, what that is above the best rule of thumb.

    Args:
        next_step: what to do with it.
    """
    expected, count = result.config.expected, len(result.choice)
    exits = "no early exit" if not count else "1 exit" if count == 1 else f"{count} exits"
    minus = expected.metric != "accuracy" and expected.worth is None
    # Of an error the value is its negative: people read the error.
    worth = f"expected {expected.metric} {-result.value:.4f}" if minus else f"{result.value:.4f} expected"
    held_out = result.held_out
    held = [] if held_out is None else [f"{-held_out if minus else held_out:.4f} held out"]
    found = [exits, ", ".join([worth, *held])]
    best = best_rule(result)
    if best is not None:
        gain = result.value - best.value
        far = "as good as" if abs(gain) < _EQUAL else f"{abs(gain):.4f} {'above' if gain > 0 else 'below'}"
        far = far.replace("above", "better than").replace("below", "worse than") if minus else far
        found.append(f"{far} the best rule of thumb ({best.name})")
    return "; ".join([*found, f"next: {next_step}"])


def best_rule(result: SearchResult) -> BaselineRow | None:
    """The best baseline that needs no search: adding greedily is one, and other thresholds are of the choice itself."""
    rules = [b for b in result.baselines if b.name != _GREEDY and not b.name.startswith(_OF_THE_CHOICE)]
    return max(rules, key=lambda baseline: baseline.value, default=None)


def shown_baselines(result: SearchResult, *, all_of_them: bool = False) -> list[dict[str, Any]]:
    """The rows of `baseline_rows` that matter, the best rule of thumb marked.

    Those that everybody asks for, and the best of the others, at most eight beside the choice.
    """
    rows, best = baseline_rows(result), best_rule(result)
    names = [row["what"] for row in rows]
    asked = [CHOICE, *(() if best is None else (best.name,)), *_ASKED_FOR]
    kept = sorted(names, key=lambda name: asked.index(name) if name in asked else len(asked))
    kept = names if all_of_them else kept[: _BASELINES_SHOWN + 1]
    mark = {} if best is None else {best.name: best.name + MARK}
    return [row | {"what": mark.get(row["what"], row["what"])} for row in rows if row["what"] in kept]


def lines(result: SearchResult) -> list[str]:
    """The findings in sentences."""
    expected, optimum = result.config.expected, result.config.optimum
    value = f"{expected.metric}" if expected.metric == "accuracy" else f"value (minus {expected.metric})"
    if expected.worth:
        value = f"worth of an answer ({expected.worth})"
    loose = ", a bound that thresholds need not reach" if result.config.confidence is not None else ""
    noise = ""
    if result.problem.slowdown:
        noise = f" with the measured latency noise, {result.value_medians:.4f} with every latency at its median"
    untrained = optimum.untrained
    among = " of the trained candidates" if untrained is not None and untrained.exits else ""
    found = [
        f"Expected {value} under {budget_words(result)}, {expected.policy}: {result.value:.4f} on the "
        f"{expected.split} split{noise}.",
        f"Exact optimum{among} {optimum.value:.4f}, regret {result.regret:.4g}."
        if optimum.exact
        else f"No choice{among} can be worth more than {optimum.value:.4f}{loose}; regret at most {result.regret:.4g} "
        "(not proved).",
    ]
    if untrained is not None:
        found.append(untrained_words(untrained))
    if result.config.confidence is not None:
        found.append(
            f"Confidence is {result.config.confidence.score}; {len(result.config.confidence.points)} operating points, "
            f"each with thresholds for the budgets from its own on; a budget limits {_limited(result)}."
        )
    if result.held_out is not None:
        interval = f" (95% interval {result.interval[0]:.4f} to {result.interval[1]:.4f})" if result.interval else ""
        found.append(
            f"Held out, on the report split: {result.held_out:.4f}{interval}; optimism {result.optimism:+.4f}."
        )
    found.append(
        f"Were every budget known beforehand, the same exits would be worth {result.contract_value:.4f} "
        f"(price of not knowing {result.price_of_not_knowing:.4f}), the best {'trained ' if among else ''}ones "
        f"{result.contract_optimum:.4f}."
    )
    found.append(f"Chance that no answer is in time: {result.no_answer:.1%}.")
    if result.memory is not None:
        memory, peak = result.memory, result.memory.device_peak_bytes
        found.append(
            f"Memory: weights of {memory.weight_bytes / 2**20:.4g} MiB with those of the exits; at most "
            f"{memory.activation_bytes / 2**20:.4g} MiB of activations between parts"
            + ("." if peak is None else f"; at the allocator's peak {peak / 2**20:.4g} MiB in all.")
        )
    if result.study is not None:
        alone = "" if result.optuna_regret is None else f"; its own trials came within {result.optuna_regret:.4f}"
        found.append(f"Optuna: {result.study.trials} trials in study {result.study.name}{alone}.")
    return found


def untrained_words(untrained: Untrained) -> str:
    """How many candidates are trained, and what the others could add."""
    count = f"{untrained.trained} of {untrained.candidates} candidates trained"
    if not untrained.exits:
        return f"{count}: no other could add anything."
    given = (
        "if they were always right" if untrained.assumption is None else f"taking for granted: {untrained.assumption}"
    )
    return f"{count}; the rest could add at most {untrained.could_add:.4f} ({given})."


def _limited(result: SearchResult) -> str:
    """What a budget limits, under `confidence`."""
    quantile = result.problem.quantile
    return "the mean latency" if quantile is None else f"the {quantile:.4g} quantile of the latency over inputs"


def renderable(result: SearchResult, *, all_baselines: bool = False) -> RenderableType:
    """Everything for the terminal but the answer: the choice, the baselines that matter, and the findings."""
    baselines = shown_baselines(result, all_of_them=all_baselines)
    count, of = len(baselines) - 1, len(result.baselines)
    others = "" if count == of else f" ({count} of {of}; --all-baselines shows the others)"
    title = f"Beside the baselines{others}"
    if best_rule(result) is not None:
        title += f";{MARK} is the best rule of thumb"
    return Group(
        *spaced(
            rows_table("The choice", choice_rows(result), lesser=("module", "head ms")),
            rows_table(title, baselines, lesser=("exits",)),
            bullets(lines(result)),
            *_points_table(result),
            *front_table(result.front),
        )
    )


def sensitivity_table(rows: Sequence[SensitivityRow]) -> list[RenderableType]:
    """What the choice is worth in other worlds, for the terminal; empty without rows."""
    cells = [
        {
            "world": row.what,
            "the choice": f"{row.value:.4f}",
            "best there": f"{row.best:.4f}",
            "loss": f"{row.loss:.4f}",
            "exits there": row.exits,
        }
        for row in rows
    ]
    return [rows_table("Were it otherwise (budgets of a family have the same mean)", cells)] if cells else []


def _points_table(result: SearchResult) -> list[RenderableType]:
    rows = point_rows(result)
    shown = rows[:: -(-len(rows) // _POINTS_SHOWN)] if rows else []
    title = f"Operating points ({len(shown)} of {len(rows)}, all in chosen.json)"
    return [rows_table(title, shown)] if shown else []


def summary(result: SearchResult) -> dict[str, Any]:
    """Everything for `--json`."""
    untrained = result.config.optimum.untrained
    return {
        "config": result.config.model_dump(mode="json"),
        "value": result.value,
        "value_medians": result.value_medians,
        "held_out": result.held_out,
        "interval": result.interval,
        "optimism": result.optimism,
        "regret": result.regret,
        "exact": result.config.optimum.exact,
        "untrained": None if untrained is None else untrained.model_dump(mode="json"),
        "optuna_regret": result.optuna_regret,
        "contract_value": result.contract_value,
        "contract_optimum": result.contract_optimum,
        "price_of_not_knowing": result.price_of_not_knowing,
        "no_answer": result.no_answer,
        "memory": None if result.memory is None else asdict(result.memory),
        "by_count": [[count, value] for count, value in result.solution.by_count],
        "baselines": [
            {"name": b.name, "exits": [list(pair) for pair in b.exits], "value": b.value, "held_out": b.held_out}
            for b in result.baselines
        ],
        "notes": result.notes,
        **({} if result.front is None else {"front": front_summary(result.front)}),
    }
