"""`exitsearch list`: what there is to choose from."""

from __future__ import annotations

import argparse
import fnmatch
from pathlib import Path
from typing import Any

from exitsearch.cli import options
from exitsearch.errors import InputError

HELP = "list head types, placements of a model, budget distributions, or models"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("what", choices=("heads", "placements", "budgets", "models"))
    parser.add_argument("name", nargs="?", help="placements: a model; models: a pattern such as 'vit_*'")
    parser.add_argument("--plugin", type=Path, metavar="FILE", help="Python file that registers exit heads of your own")
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print one table, or its rows as JSON."""
    from exitsearch.cli import console
    from exitsearch.report.tables import rows_table

    options.load_plugin(args)
    title, rows = {"heads": _heads, "placements": _placements, "budgets": _budgets, "models": _models}[args.what](args)
    if args.json:
        console.print_json({args.what: rows})
    else:
        console.say(args, rows_table(title, rows))
    return 0


def _heads(args: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    from exitsearch.models.heads import list_heads

    rows = []
    for head in list_heads():
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
