"""`exitsearch list`: what there is to choose from."""

from __future__ import annotations

import argparse
import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exitsearch.cli import options
from exitsearch.errors import InputError

if TYPE_CHECKING:
    from exitsearch.models.heads.registry import HeadType

HELP = "list head types, placements of a model, budget distributions, models, or training recipes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("what", choices=("heads", "placements", "budgets", "models", "recipes"))
    parser.add_argument("name", nargs="?", help="placements: a model; models: a pattern such as 'vit_*'")
    parser.add_argument("--plugin", type=Path, metavar="FILE", help="Python file that registers exit heads of your own")
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print one table, or its rows as JSON."""
    from exitsearch.cli import console
    from exitsearch.report.terminal import listing
    from exitsearch.report.terminal.next_steps import after_list

    options.load_plugin(args)
    makers = {
        "heads": _heads,
        "placements": _placements,
        "budgets": _budgets,
        "models": _models,
        "recipes": _recipes,
    }
    title, rows = makers[args.what](args)
    if args.json:
        console.print_json({args.what: rows})
    else:
        console.say(args, getattr(listing, args.what)(title, rows))
        console.next_step(args, after_list(args.what, args.name))
    return 0


def _heads(args: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    from exitsearch.models.heads import list_heads

    rows = []
    heads = list_heads()
    for head in heads if args.json else sorted(heads, key=_family):
        shown = ", ".join(f"{name}={value}" for name, value in head.options.items())
        rows.append(
            {
                "head": head.name,
                "description": head.description,
                "options": shown,
                "needs": ", ".join(sorted(head.needs)) or "any features",
                "source": head.source,
            }
        )
    return "Exit heads", rows


def _family(head: HeadType) -> tuple[int, str]:
    """The plain heads first, which everybody tries first; then paper by paper; a user's own last."""
    module = head.build.__module__
    return (0 if module.endswith("heads.plain") else 1 if module.startswith("exitsearch.") else 2), module


def _placements(args: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    from exitsearch.models.backbone import create_backbone
    from exitsearch.specs.backbone import EMBEDDED_NAME

    backbone = create_backbone(args.name or EMBEDDED_NAME, pretrained=False, device="meta")
    rows = [
        {
            "placement": placement.index,
            "module": placement.module,
            "layout": placement.layout,
            "channels": placement.channels,
            "grid": "x".join(map(str, placement.grid)),
            "prefix tokens": placement.prefix_tokens,
            "class token": "yes" if placement.class_token else "no",
            "reduction": placement.reduction,
            "depth": placement.depth,
            "MACs so far": "" if placement.macs_share is None else f"{placement.macs_share:.1%}",
            "carried": ", ".join("x".join(map(str, size)) for size in placement.carried),
        }
        for placement in backbone.placements
    ]
    return f"Placements of {backbone.facts.name}", rows


def _budgets(args: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    from exitsearch.specs.budget import FAMILIES

    rows = [{"budget": family.form, "meaning": family.meaning} for family in FAMILIES.values()]
    return "Budget distributions (milliseconds; with % shares of the full model's latency)", rows


def _models(args: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    from exitsearch.models.catalogue import list_backbones

    pattern = args.name or "*"
    found = [row for row in list_backbones() if fnmatch.fnmatch(row.name, pattern)]
    if not found:
        raise InputError(f"no model that can be cut matches {pattern!r}; try exitsearch list models '*vit*'")
    return "Models", [{"model": row.name, "family": row.family, "pretrained": ", ".join(row.tags)} for row in found]


def _recipes(args: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    import dataclasses

    from exitsearch.learn.recipes.recipe import RECIPES

    rows: list[dict[str, Any]] = []
    for recipe in RECIPES.values():
        row: dict[str, Any] = {"recipe": recipe.name, "description": recipe.description}
        if args.json:
            row["heads"] = None if recipe.head_recipe is None else dataclasses.asdict(recipe.head_recipe)
            row["stages"] = [
                {**dataclasses.asdict(stage), "formula": stage.named_loss.formula} for stage in recipe.stages
            ]
            row |= {"adapter_rank": recipe.adapter_rank, "families": recipe.families}
        else:
            stages = recipe.stages or (recipe.head_recipe,)
            row["stages"] = "; ".join(_stage_text(stage) for stage in stages)
            formulas = dict.fromkeys(stage.named_loss.formula for stage in recipe.stages)
            row["minimises"] = "; ".join(formulas) or "CE of each head alone"
        rows.append({**row, "source": recipe.source})
    return "Recipes (--recipe)", rows


def _stage_text(stage: Any) -> str:
    """What a stage trains and for how long; a recipe of heads is one stage."""
    trained = getattr(stage, "trains", "heads")
    each = " of each exit in turn" if getattr(stage, "each_exit", False) else ""
    return f"{trained}{each}, {stage.epochs} epochs, batch {stage.batch_size}, rate {stage.learning_rate:g}"
