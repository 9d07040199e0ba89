"""`exitsearch train-heads`: train every candidate head over the frozen backbone and keep what each answered."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exitsearch.cli import options
from exitsearch.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from exitsearch.models.backbone import Backbone
    from exitsearch.specs.outcomes import Outcomes
    from exitsearch.specs.space import SearchSpace

HELP = "train every candidate head at every placement over the frozen backbone (resumable)"

# Outcomes that `search` finds by itself lie in here, one folder a backbone and data set.
OUTCOMES_FOLDER = Path("outcomes")
RECIPE = "frozen"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    options.add_model(parser)
    options.add_candidates(parser)
    options.add_machine(parser)
    options.add_data(parser)
    parser.add_argument("--restart", action="store_true", help="throw away an unfinished run in the folder")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: outcomes/<backbone>__<data>")
    options.add_seed(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Train, write the outcomes, print them."""
    from exitsearch.cli import console
    from exitsearch.report import tables

    options.load_plugin(args)
    space = options.load_space(args)
    name = options.model_name(args, space)
    folder = args.out or default_folder(name, data_name(args, name), args.metric)
    outcomes = train(args, name, space, folder)
    if args.json:
        console.print_json(
            {"outcomes": str(folder), "identity": outcomes.identity, **tables.outcomes_summary(outcomes)}
        )
    else:
        console.say(args, tables.outcomes_table(outcomes), f"wrote {folder}")
    return 0


def data_name(args: argparse.Namespace, name: str) -> str:
    """The data that is meant: `--data`, or the digits for the embedded default.

    Raises:
        InputError: for any other backbone without `--data`.
    """
    from exitsearch.specs.backbone import EMBEDDED_NAME

    if args.data:
        return str(args.data)
    if name.split(".")[0] == EMBEDDED_NAME:
        return "digits"
    raise InputError(
        f"heads over {name} need data to train on: exitsearch train-heads --model {name} --data digits, "
        "or a folder of images with train/ and val/"
    )


def default_folder(name: str, data: str, metric: str | None = None) -> Path:
    """Where the outcomes of a backbone and a data set are kept; those of an error metric apart."""
    suffix = "__mae" if metric == "mae" else ""
    return OUTCOMES_FOLDER / f"{name.split('.')[0]}__{Path(data).name}{suffix}"


def train(
    args: argparse.Namespace,
    name: str,
    space: SearchSpace | None,
    folder: Path,
    *,
    heads: list[str] | None = None,
    placements: list[int] | None = None,
) -> Outcomes:
    """Train the candidates as the options say, with progress shown. `search` uses it with its own options."""
    from exitsearch.cli import console
    from exitsearch.learn.bank import train_bank
    from exitsearch.learn.data import data_outputs, load_data
    from exitsearch.learn.recipes import get_recipe
    from exitsearch.measure.machine import resolve_device

    data = data_name(args, name)
    device = resolve_device(args.device or "cpu")
    arguments = options.backbone_arguments(args, space)
    outputs = data_outputs(data, task=arguments["task"])
    backbone = trained_backbone(name, {**arguments, "num_outputs": arguments["num_outputs"] or outputs})
    splits = load_data(data, backbone=backbone, task=backbone.facts.task)
    with console.progress(f"training heads over {backbone.facts.name}") as report, options.torch_threads(args.threads):
        return train_bank(
            backbone,
            splits,
            heads=heads if heads is not None else options.candidate_heads(args, space),
            placements=placements
            if placements is not None
            else options.candidate_placements(args, space, len(backbone.placements), placements=backbone.placements),
            recipe=get_recipe(args.recipe or RECIPE, epochs=args.epochs),
            out=folder,
            seed=args.seed,
            progress=report,
            device=device,
            restart=getattr(args, "restart", False),
        )


def trained_backbone(name: str, arguments: dict[str, Any]) -> Backbone:
    """The backbone with the best weights that can be had: asked for, pretrained, or (said aloud) random ones."""
    from exitsearch.cli import console
    from exitsearch.models.backbone import create_backbone

    if arguments["pretrained"] is not None or arguments["checkpoint"] is not None:
        return create_backbone(name, **arguments)
    try:
        return create_backbone(name, **{**arguments, "pretrained": True})
    except UnavailableError as error:
        console.note(f"{error}. Going on with RANDOM weights: values will be far below those of a trained backbone.")
        return create_backbone(name, **arguments)
