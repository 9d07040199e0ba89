"""A chosen configuration and a search space as tables: a row an exit, or a candidate head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from exitsearch.specs.frames.columns import FINAL, HEAD, MODULE, PLACEMENT
from exitsearch.specs.frames.frame import Cell, Column, Frame, counted

if TYPE_CHECKING:
    from exitsearch.specs.config import MultiExitConfig
    from exitsearch.specs.question.request import AskedRequest
    from exitsearch.specs.question.space import SearchSpace


def config_title(config: MultiExitConfig) -> str:
    """What was chosen, for what."""
    exits = counted(len(config.exits), "exit")
    budget = budget_words(config.budget, config.request)
    return f"{config.backbone.name or 'a backbone'} with {exits} and the final one, {config.policy}, {budget}"


def budget_words(budget: str, request: AskedRequest | None) -> str:
    """The budgets as they were asked for, where that is known.

    Args:
        budget: in ms.
        request: what was asked, perhaps in shares.
    """
    if request is None or "%" not in request.budget:
        return f"{budget} ms"
    return f"{request.budget} of the full model's time"


def _rows(config: MultiExitConfig) -> Iterator[tuple[Cell, ...]]:
    chosen = config.exit_scores.get(config.expected.split)
    report = config.exit_scores.get("report")
    for number, exit_ in enumerate([*config.exits, None]):
        yield (
            number,
            exit_.placement if exit_ else None,
            exit_.module if exit_ else None,
            str(exit_.choice) if exit_ else FINAL,
            config.latency_ms[number],
            chosen[number] if chosen else None,
            report[number] if report else None,
        )


def config_notes(config: MultiExitConfig) -> list[str]:
    """What it is expected to be worth, and what is proved."""
    expected, optimum = config.expected, config.optimum
    what = expected.worth or ("accuracy" if expected.metric == "accuracy" else "value (minus mae)")
    found = [f"Expected {what} {expected.value:.4f} on the {expected.split} split."]
    if expected.held_out is not None:
        interval = "" if expected.interval is None else f" ({expected.interval[0]:.4f} to {expected.interval[1]:.4f})"
        found.append(f"Held out {expected.held_out:.4f}{interval}.")
    bound = "Exact optimum" if optimum.exact else "No choice can be worth more than"
    found.append(f"{bound} {optimum.value:.4f}; regret {'' if optimum.exact else 'at most '}{optimum.regret:.4g}.")
    return found


CONFIG = Frame(
    title=config_title,
    columns={
        "exit": Column("number of the exit in the order of answering, from 0; the final one last", "whole"),
        "placement": PLACEMENT,
        "module": MODULE,
        "head": HEAD,
        "answers_ms": Column("from the input to its answer, every head on the way run, in ms of one batch"),
        "score": Column("its metric on the split that was chosen on; missing: unknown"),
        "report_score": Column("its metric on the report split; missing where there is none"),
    },
    rows=_rows,
    notes=config_notes,
)


def _space_rows(space: SearchSpace) -> Iterator[tuple[Cell, ...]]:
    for head in space.heads:
        yield head.type, str(head.choice), head.placements or space.placements


def _space_notes(space: SearchSpace) -> list[str]:
    limits = {name: value for name, value in space.limits.model_dump(mode="json").items() if value}
    found = [space.description] if space.description else []
    found += ["Limits: " + ", ".join(f"{name} {value}" for name, value in limits.items()) + "."] if limits else []
    if values := space.knobs.values:
        found.append("Knobs: " + "; ".join(f"{name} {', '.join(map(str, of))}" for name, of in values.items()) + ".")
    return found


SPACE = Frame(
    title=lambda space: (
        f"search space for {space.backbone.name or 'any backbone'}: "
        + (counted(len(space.heads), "head") if space.heads else "all heads")
        + f" at {space.placements or 'all placements'}"
    ),
    columns={
        "type": Column("registered name of the head's architecture", "text"),
        "head": Column("the same with its options", "text"),
        "placements": Column("where it may stand, as on the command line; missing: wherever it fits", "text"),
    },
    rows=_space_rows,
    notes=_space_notes,
)
