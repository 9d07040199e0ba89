"""`exitsearch train`: train the chosen multi-exit model and compare each exit with what the search predicted."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exitsearch.cli import options
from exitsearch.cli.commands import after

if TYPE_CHECKING:
    from exitsearch.learn.recipes.recipe import Recipe
    from exitsearch.pipeline.outcomes import Training
    from exitsearch.pipeline.training.train import ModelTraining, Trained
    from exitsearch.specs.config import MultiExitConfig

HELP = "train the model of a chosen.json; writes weights that load_model reads back"

# Options that stand for attributes of every stage, beside those that train-heads has too.
_CHANGES = (
    "optimizer",
    "weight_decay",
    "schedule",
    "warmup_epochs",
    "clip_grad",
    "ema",
    "mixup",
    "cutmix",
    "label_smoothing",
    "rand_augment",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="chosen.json, or the folder it is in"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="default: trained/, or trained-RECIPE/, beside the config"
    )
    parser.add_argument("--restart", action="store_true", help="throw away what an earlier training left in the folder")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what it would take, from a few steps; write nothing"
    )
    parser.add_argument("--plugin", type=Path, metavar="FILE", help="Python file that registers exit heads of your own")
    _add_start(parser)
    options.add_machine(parser)
    _add_engine(parser)
    options.add_data(parser, batch_size=True)
    _add_changes(parser)
    after.add_arguments(parser)
    options.add_seed(parser)
    options.add_json(parser)


def _add_start(parser: argparse.ArgumentParser) -> None:
    """What the model begins with."""
    group = parser.add_argument_group("starting point")
    group.add_argument(
        "--start",
        metavar="OUTCOMES",
        help="folder of trained heads to begin with, or fresh (default: one in outcomes/ that fits; recipes that train "
        "the heads alone begin fresh)",
    )
    group.add_argument(
        "--pretrained",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="insist on pretrained weights, or train from scratch",
    )
    group.add_argument("--checkpoint", type=Path, metavar="FILE", help="local safetensors weights of the backbone")
    group.add_argument(
        "--teacher",
        metavar="T",
        help="learn from another model: timm's name, FILE.safetensors (or MODEL:FILE), or a trained model's folder",
    )
    group.add_argument(
        "--unlabelled", type=Path, metavar="DIR", help="further images, for recipes that need no labels (copycat)"
    )


def _add_engine(parser: argparse.ArgumentParser) -> None:
    """How the engine runs, which the result is not meant to depend on."""
    group = parser.add_argument_group("engine (recipes with stages)")
    group.add_argument("--mixed-precision", choices=("no", "bf16", "fp16"), default="no", help="default: no")
    group.add_argument(
        "--accumulate",
        type=options.positive_int,
        default=1,
        metavar="N",
        help="compute a batch in N parts, for as much less memory",
    )
    group.add_argument("--tensorboard", action="store_true", help="write events to DIR/tensorboard")


def _add_changes(parser: argparse.ArgumentParser) -> None:
    """What is asked for instead of a recipe's own numbers."""
    group = parser.add_argument_group("instead of the recipe's own (recipes with stages)")
    group.add_argument("--optimizer", metavar="O", help="timm's name of one (adamw, sgd, lamb, ...)")
    group.add_argument("--weight-decay", type=options.finite, metavar="W")
    group.add_argument("--schedule", metavar="S", help="timm's name of one (cosine, ...), or constant")
    group.add_argument("--warmup-epochs", type=options.finite, metavar="N", help="in which the rate rises")
    group.add_argument(
        "--clip-grad", type=options.finite, metavar="NORM", help="largest norm of all gradients together"
    )
    group.add_argument("--ema", type=options.finite, metavar="DECAY", help="keep a moving average of the weights")
    group.add_argument("--mixup", type=options.finite, metavar="ALPHA")
    group.add_argument("--cutmix", type=options.finite, metavar="ALPHA")
    group.add_argument("--label-smoothing", type=options.finite, metavar="SHARE")
    group.add_argument("--rand-augment", metavar="R", help="timm's text of one: rand-m9-mstd0.5")
    group.add_argument(
        "--loss-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="option of a loss, as least=0.1 (budget) or weights=1,1,2 (joint); an unknown NAME lists what there is",
    )


def run(args: argparse.Namespace) -> int:
    """Train, write the weights, print predicted beside observed."""
    from exitsearch.cli import console
    from exitsearch.pipeline.training.train import own_watch, train_chosen, trained_folder
    from exitsearch.specs.load import load_config

    options.load_plugin(args)
    config = load_config(args.config)
    training = options.read_training(args, batch_size=True)
    asked = _read(args)
    recipe = asked.changes.of(training.recipe)
    if args.dry_run:
        return _estimate(args, config, recipe, training, asked)
    after.check(args, config)
    folder = args.out or trained_folder(args.config, recipe)
    watch = own_watch(console.Terminal.of(args))
    result = train_chosen(config, recipe, training, asked, out=folder, watch=watch)
    if isinstance(watch, console.Terminal):
        _print(args, result, after.run(args, result, training=training))
    return 0


def _read(args: argparse.Namespace) -> ModelTraining:
    """How the model is trained, beside recipe and data."""
    from exitsearch.pipeline.training.train import Changes, ModelTraining

    changes = {name: getattr(args, name) for name in (*_CHANGES, "epochs", "batch_size", "augment")}
    return ModelTraining.given(
        "training",
        changes=Changes.given("recipe", learning_rate=args.lr, loss_options=args.loss_option, **changes),
        start=args.start,
        pretrained=args.pretrained,
        checkpoint=args.checkpoint,
        teacher=args.teacher,
        unlabelled=args.unlabelled,
        mixed_precision=args.mixed_precision,
        accumulate=args.accumulate,
        tensorboard=args.tensorboard,
        restart=args.restart,
    )


def _print(args: argparse.Namespace, result: Trained, found_after: dict[str, Any]) -> None:
    """The scores of the trained exits where nothing more is known of them, and which weights were kept."""
    from exitsearch.cli import console
    from exitsearch.report.terminal import next_steps
    from exitsearch.report.terminal.trained import trained_table

    if args.json:
        found = {"folder": str(result.folder), "scores": result.scores, "predicted": result.config.exit_scores}
        kept = {} if result.kept is None else {"kept": result.kept, "criterion": result.criterion}
        console.print_json(found | kept | found_after)
        return
    kept_words = (
        []
        if result.kept is None
        else [
            f"kept: the weights after epoch {result.kept['epoch']} of {result.kept['stage']}, the best by "
            f"{result.criterion} ({result.kept['value']:.4f})"
        ]
    )
    scores = [] if found_after else [trained_table(result.config, result.scores)]
    console.say(args, *scores, *kept_words)
    console.lines(args, f"wrote {result.folder}")
    console.next_step(args, next_steps.after_train(result.folder))


def _estimate(
    args: argparse.Namespace, config: MultiExitConfig, recipe: Recipe, training: Training, asked: ModelTraining
) -> int:
    """Print what the training would take."""
    from exitsearch.cli import console
    from exitsearch.pipeline.estimate import estimate_model
    from exitsearch.report.terminal.training import training_summary, training_table

    found = estimate_model(config, recipe, training, asked, watch=console.Terminal.of(args))
    if args.json:
        console.print_json(training_summary(found))
    else:
        console.say(args, training_table(found))
        console.next_step(args, "the same command without --dry-run trains it")
    return 0
