"""`exitsearch train`: train the chosen multi-exit model and compare each exit with what the search predicted."""

from __future__ import annotations

import argparse
from pathlib import Path

from exitsearch.cli import options
from exitsearch.errors import MismatchError

HELP = "train the model of a chosen.json; writes weights that load_model reads back"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="chosen.json, or the folder it is in"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: trained/ beside the config")
    parser.add_argument("--plugin", type=Path, metavar="FILE", help="Python file that registers exit heads of your own")
    parser.add_argument(
        "--pretrained", action=argparse.BooleanOptionalAction, default=None, help="insist on pretrained weights, or not"
    )
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="local safetensors weights of the backbone")
    options.add_machine(parser)
    options.add_data(parser, batch_size=True)
    options.add_seed(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Train, write the weights, print predicted beside observed."""
    from exitsearch.cli import console
    from exitsearch.learn.train import train_config
    from exitsearch.measure.machine import resolve_device
    from exitsearch.pipeline.backbone import BackboneRequest
    from exitsearch.pipeline.profile import torch_threads
    from exitsearch.report import tables
    from exitsearch.specs.load import load_config

    options.load_plugin(args)
    config = load_config(args.config)
    name = config.backbone.name
    if name is None:
        raise MismatchError(f"{args.config} does not name its backbone; search again with --model NAME")
    training = options.read_training(args, batch_size=True)
    data_name = training.data_for(name)
    device = resolve_device(training.device)
    facts = config.backbone
    backbone = BackboneRequest(
        name=name,
        pretrained=args.pretrained,
        checkpoint=args.checkpoint,
        num_outputs=facts.num_outputs,
        image_size=facts.input_size[1:] if facts.input_size else None,
        in_chans=facts.input_size[0] if facts.input_size else None,
        task=facts.task,
        side_inputs=facts.side_inputs,
        seed=args.seed,
    ).create_trained(console.Terminal())
    data = training.load(data_name, backbone=backbone, watch=console.Terminal())
    folder = args.out or (args.config if args.config.is_dir() else args.config.parent) / "trained"
    with console.progress(f"training {len(config.exits)} exits") as report, torch_threads(args.threads):
        result = train_config(
            config,
            backbone=backbone,
            data=data,
            recipe=training.asked_recipe(),
            out=folder,
            seed=args.seed,
            progress=report,
            note=console.note,
            device=device,
        )
    if args.json:
        console.print_json({"folder": str(folder), "scores": result.scores, "predicted": config.exit_scores})
    else:
        console.say(args, tables.trained_table(config, result.scores), f"wrote {folder}")
    return 0
