"""`exitsearch search`: choose exits for a budget distribution, prove how far from the optimum, write chosen.json."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from exitsearch.cli import options
from exitsearch.cli.commands import search_report, search_settings
from exitsearch.errors import InputError

if TYPE_CHECKING:
    from exitsearch.pipeline.job import SearchJob
    from exitsearch.search.utility import Utility

HELP = "choose head types and placements for a budget distribution, with a proof"

OUT_FOLDER = Path("exitsearch-out")
TRIALS = 100
# A profile that is made on the way gets less time than one that was asked for.
MAX_SECONDS = 30.0
TOLERANCE = 0.01


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    _add_question(parser)
    _add_limits(parser)
    _add_work(parser)
    options.add_model(parser)
    options.add_candidates(parser)
    options.add_machine(parser)
    parser.add_argument(
        "--batch-size", type=options.positive_int, metavar="N", help="of the profile (default: its first)"
    )
    parser.add_argument(
        "--no-guard", action="store_true", help="do not time the backbone again to see whether the profile still holds"
    )
    options.add_data(parser)
    _add_rounds(parser)
    parser.add_argument(
        "--max-seconds",
        type=options.seconds,
        default=MAX_SECONDS,
        metavar="S",
        help=f"for a profile that is made on the way (default: {MAX_SECONDS:g})",
    )
    options.add_seed(parser)
    options.add_json(parser)


def _add_question(parser: argparse.ArgumentParser) -> None:
    """What is asked, of which documents."""
    parser.add_argument(
        "--budget-dist", required=True, metavar="B", help="uniform:10,80 and others; see exitsearch list budgets"
    )
    parser.add_argument("--policy", default="interruptible", help="interruptible (default), contract or confidence")
    parser.add_argument(
        "--confidence", default="softmax", metavar="C", help="softmax (default), entropy, margin or patience"
    )
    parser.add_argument(
        "--quantile",
        type=options.share,
        metavar="Q",
        help="under confidence a budget limits this quantile of the latency over inputs, as 95%% (default: the mean)",
    )
    parser.add_argument(
        "--profile", metavar="P", help="profile JSON, costs CSV or published:NAME (default: the newest)"
    )
    parser.add_argument("--outcomes", metavar="O", help="outcomes folder, values CSV or published:NAME")
    parser.add_argument(
        "--fallback", type=options.finite, metavar="X", help="value of having no answer in time (mae: its error)"
    )
    options.add_utility(parser)
    parser.add_argument(
        "--objectives", metavar="A,B", help="value and one or two of params, energy, time: also a front of them"
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """Which choices are allowed."""
    group = parser.add_argument_group("limits", "each holds beside those of the space")
    group.add_argument("--max-exits", type=options.count, metavar="N", help="at most so many early exits")
    group.add_argument(
        "--max-extra-params", type=options.count, metavar="N", help="at most so many parameters of all heads"
    )
    group.add_argument("--max-memory", metavar="BYTES", help="of the whole model, weights and activations, as 64MiB")
    group.add_argument("--max-energy", metavar="ENERGY", help="of an answer, backbone included, as 12mJ or 0.5J")
    group.add_argument(
        "--min-value-at", action="append", default=[], metavar="T=V", help="least value within a budget, as 20ms=0.7"
    )
    group.add_argument(
        "--force", action="append", default=[], metavar="P[:HEAD]", help="an exit that must stand, as 3:linear"
    )
    group.add_argument(
        "--forbid", action="append", default=[], metavar="P[:HEAD]", help="an exit that must not, as 3 or 3:linear"
    )


def _add_rounds(parser: argparse.ArgumentParser) -> None:
    """Which of the candidates are trained on the way."""
    group = parser.add_argument_group(
        "training on the way", "the cheap heads first, then those that the best choice may still need"
    )
    which = group.add_mutually_exclusive_group()
    which.add_argument(
        "--tolerance",
        type=options.not_negative,
        metavar="X",
        help=f"train until the rest could add at most X; 0: until the optimum is proved (default: {TOLERANCE:g}; of an "
        "error, that share of the error of having no answer)",
    )
    which.add_argument("--all", action="store_true", help="train every candidate, whatever it could add")


def _add_work(parser: argparse.ArgumentParser) -> None:
    """How much is searched, and what is written and shown."""
    parser.add_argument(
        "--trials",
        type=options.count,
        default=TRIALS,
        metavar="N",
        help=f"Optuna trials, or settings (default: {TRIALS})",
    )
    parser.add_argument("--storage", metavar="URL", help="Optuna storage (default: a journal file in DIR)")
    parser.add_argument("--out", type=Path, default=OUT_FOLDER, metavar="DIR", help=f"default: {OUT_FOLDER}")
    search_report.add_arguments(parser)
    parser.add_argument("--all-baselines", action="store_true", help="show every baseline, not only those that matter")
    parser.add_argument(
        "--sensitivity", action="store_true", help="also under six other families of budgets, and 10%% longer latency"
    )
    parser.add_argument(
        "--trace",
        action="append",
        default=[],
        metavar="FILE[:COLUMN]",
        help="budgets recorded elsewhere, in that table",
    )


def run(args: argparse.Namespace) -> int:
    """Find or make profile and outcomes, search, write, print."""
    from exitsearch.cli import console
    from exitsearch.pipeline.places import CHOSEN
    from exitsearch.pipeline.search import find_sources, search_sources
    from exitsearch.report.terminal import choice, front, next_steps
    from exitsearch.search.sensitivity import sensitivity
    from exitsearch.specs.budget import parse_budget

    options.load_plugin(args)
    utility = options.read_utility(args)
    job = _read_job(args, utility)  # before any long work
    traces = [parse_budget(f"trace:{source}") for source in args.trace]
    others = args.sensitivity or bool(traces)
    if others and job.request.policy == "confidence":
        raise InputError(
            "--sensitivity and --trace need exact optima, which --policy confidence does not have; leave one out"
        )
    if job.has_knobs:
        return search_settings.run(args, job, utility)
    watch = console.Terminal.of(args)
    found = find_sources(job, utility=utility, watch=watch)
    profile, outcomes = found.profile, found.outcomes
    result = search_sources(job, found, utility=utility, watch=watch)
    worlds = sensitivity(result.problem, result.choice, further=traces) if others else []
    chosen = result.config.write(args.out / CHOSEN)
    if result.front is not None:
        front.write_front(result.front, args.out)
    else:  # one that stands there is of another choice
        front.remove_front(args.out)
    sources = found.profile_source, found.outcomes_source
    page, pictures = search_report.write(
        args, result, profile=profile, outcomes=outcomes, sources=sources, utility=utility, worlds=worlds
    )
    wrote = [f"wrote {chosen} and {page}", *(f"wrote {picture}" for picture in pictures)]
    if args.json:
        further = {"sensitivity": [asdict(row) for row in worlds]} if others else {}
        console.print_json({"chosen": str(chosen), "report": str(page), **choice.summary(result), **further})
    else:
        step = next_steps.after_search(
            result.config, chosen, data=args.data, profile=args.profile, outcomes=args.outcomes
        )
        tables = choice.renderable(result, all_baselines=args.all_baselines)
        console.say(args, choice.answer(result, next_step=step), "", tables, *choice.sensitivity_table(worlds))
        console.lines(
            args,
            f"profile:  {found.profile_source} ({profile.condition()}, verdict {profile.verdict.status})",
            f"outcomes: {found.outcomes_source} ({outcomes.source or outcomes.metric})",
            *wrote,
        )
        console.next_step(args, step)
    for sentence in result.notes:
        console.note(sentence)
    untrained = result.config.optimum.untrained
    if others and untrained is not None and untrained.exits:
        console.note(
            "--sensitivity and --trace compare with the best choice of the trained candidates; --all trains the others"
        )
    return 0


def _read_job(args: argparse.Namespace, utility: Utility | None) -> SearchJob:
    """The request and where its numbers come from: the only place where the options of this command are read."""
    from exitsearch.pipeline.job import SearchJob
    from exitsearch.pipeline.places import JOURNAL
    from exitsearch.pipeline.profile import Measuring

    space = options.read_space(args)
    request = options.read_request(args, space, utility)
    return SearchJob(
        request=request,
        space=space,
        profile=args.profile,
        outcomes=args.outcomes,
        model=args.model,
        backbone=options.read_backbone(args, None, metric=args.metric),
        device=args.device,
        batch_size=args.batch_size,
        measuring=Measuring(
            device=args.device or "cpu", threads=args.threads, max_seconds=args.max_seconds, seed=args.seed
        ),
        training=options.read_training(args),
        plugin=args.plugin,
        trials=args.trials,
        seed=args.seed,
        storage=args.storage or str(args.out / JOURNAL),
        guard=not args.no_guard,
        tolerance=args.tolerance,
        train_all=args.all,
    )
