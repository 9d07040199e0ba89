"""What `exitsearch train` does after training: predicted against trained, the search asked again, a comparison."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exitsearch.cli import options
from exitsearch.errors import InputError

if TYPE_CHECKING:
    from exitsearch.models.backbone import Backbone
    from exitsearch.pipeline.outcomes import Training
    from exitsearch.pipeline.trained.after import AfterTraining
    from exitsearch.pipeline.trained.curves import OverBudget
    from exitsearch.pipeline.training.train import Trained
    from exitsearch.specs.config import MultiExitConfig

REFINED = "refined"
REPORT = "report.html"
_SECONDS = 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of what is done after training."""
    group = parser.add_argument_group("after training")
    group.add_argument(
        "--refine",
        action="store_true",
        help=f"write the best choice of the trained exits as a model of its own, in DIR/{REFINED}",
    )
    group.add_argument(
        "--compare",
        metavar="MODEL,...",
        help="train these static models (timm's names, MODEL@SIDE for another input) for as many epochs, time them "
        "beside the trained model, and draw accuracy over budget",
    )
    group.add_argument(
        "--plots", type=Path, metavar="DIR", help="also write every figure of the report as PNG and SVG, for papers"
    )
    group.add_argument(
        "--profile", metavar="P", help="that the exits were chosen by (default: found in profiles/ by its identity)"
    )
    group.add_argument(
        "--max-seconds",
        type=options.seconds,
        default=_SECONDS,
        metavar="S",
        help=f"for timing the models of --compare together (default: {_SECONDS:g})",
    )
    options.add_utility(group)


def check(args: argparse.Namespace, config: MultiExitConfig) -> None:
    """Refuse what could only fail after a long training.

    Raises:
        InputError: a model that there is not, a profile that cannot be read, or nothing to refine by.
    """
    from exitsearch.pipeline.trained.origins import profile_of

    if args.compare is not None:
        from exitsearch.pipeline.trained.static_models import check_models, parse_models

        check_models(config, parse_models(args.compare))
    if args.profile is None and not args.refine:
        return
    found = profile_of(config, given=args.profile)
    if args.refine and found.profile is None:
        raise InputError(f"--refine asks the search again, and {found.note}; name the profile with --profile")
    if args.refine and config.request is None:
        raise InputError("--refine asks the search again, and this chosen.json holds no request; search again")


def run(args: argparse.Namespace, result: Trained, *, training: Training) -> dict[str, Any]:
    """Say what a trained model is worth beside what was predicted, and write what was asked for.

    Args:
        result: of the training.
        training: its data, device and threads.

    Returns:
        What `--json` prints of it; empty where nothing is known.
    """
    from exitsearch.cli import console
    from exitsearch.pipeline.trained.after import after_training
    from exitsearch.pipeline.trained.refine import refine
    from exitsearch.report.html.trained import write_trained, write_trained_plots
    from exitsearch.report.terminal import after as report

    utility, found = options.read_utility(args), result.after
    if args.profile is not None or utility is not None or (found is None and (args.refine or args.compare)):
        watch = console.Terminal.of(args)
        found = after_training(result.config, result.folder, profile=args.profile, utility=utility, watch=watch)
    if found is None:
        return {}
    # What is known is said before anything that takes longer, and that may fail.
    console.say(args, *report.renderable(found))
    for sentence in found.notes:
        console.note(sentence)
    refined = refine(found, out=result.folder / REFINED) if args.refine else None
    if refined is not None:
        console.lines(args, f"wrote the best choice of now to {refined}")
    chart = _over_budget(args, found, training)
    if chart is not None:
        wrote = report.write_over_budget(chart, result.folder)
        console.say(args, "", *report.over_budget_renderable(chart))
        console.lines(args, *(f"wrote {path}" for path in wrote))
        for sentence in chart.notes:
            console.note(sentence)
    page = write_trained(found, chart, result.folder / REPORT)
    pictures = write_trained_plots(found, chart, args.plots) if args.plots else []
    console.lines(args, *(f"wrote {path}" for path in (page, *pictures)))
    return {
        "after": report.summary(found),
        "report": str(page),
        **({} if chart is None else {"over_budget": report.over_budget_summary(chart)}),
        **({} if refined is None else {"refined": str(refined)}),
    }


def _over_budget(args: argparse.Namespace, found: AfterTraining, training: Training) -> OverBudget | None:
    """The curves, with static models where they are asked for; None where only scores are known."""
    from exitsearch.cli import console
    from exitsearch.pipeline.trained.curves import over_budget
    from exitsearch.pipeline.trained.static_models import compare_static

    if args.compare is None:
        try:
            return over_budget(found)
        except InputError as error:
            console.note(str(error))
            return None
    name = found.config.backbone.name
    assert name is not None  # it has just been trained
    data, watch = training.data_for(name), console.Terminal.of(args)

    def load(backbone: Backbone) -> Any:
        return training.load(data, backbone=backbone, watch=watch)

    return compare_static(
        found,
        args.compare,
        data=load,
        pretrained=args.pretrained,
        device=args.device,
        threads=args.threads,
        max_seconds=args.max_seconds,
        seed=args.seed,
        watch=watch,
    )
