"""`exitsearch search`: choose exits for a budget distribution, prove how far from the optimum, write chosen.json."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from exitsearch.cli import knobs as knobs_command
from exitsearch.cli import options
from exitsearch.cli import profile as profile_command
from exitsearch.cli import train_heads as train_command
from exitsearch.errors import InputError

if TYPE_CHECKING:
    from exitsearch.specs.outcomes import Outcomes
    from exitsearch.specs.profile import Profile
    from exitsearch.specs.space import SearchSpace

HELP = "choose head types and placements for a budget distribution, with a proof"

OUT_FOLDER = Path("exitsearch-out")
TRIALS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
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
    parser.add_argument("--max-exits", type=options.count, metavar="N", help="at most so many early exits")
    parser.add_argument(
        "--max-extra-params", type=options.count, metavar="N", help="at most so many parameters of all heads"
    )
    parser.add_argument("--max-memory", metavar="BYTES", help="of the whole model, weights and activations, as 64MiB")
    parser.add_argument("--max-energy", metavar="ENERGY", help="of an answer, backbone included, as 12mJ or 0.5J")
    parser.add_argument(
        "--min-value-at", action="append", default=[], metavar="T=V", help="least value within a budget, as 20ms=0.7"
    )
    parser.add_argument(
        "--force", action="append", default=[], metavar="P[:HEAD]", help="an exit that must stand, as 3:linear"
    )
    parser.add_argument(
        "--forbid", action="append", default=[], metavar="P[:HEAD]", help="an exit that must not, as 3 or 3:linear"
    )
    parser.add_argument(
        "--fallback", type=options.finite, metavar="X", help="value of having no answer in time (mae: its error)"
    )
    worth = parser.add_mutually_exclusive_group()
    worth.add_argument("--worth", metavar="FILE.py:FUNCTION", help="what each answer is worth instead of the metric")
    worth.add_argument("--class-weights", type=Path, metavar="FILE.csv", help="label,weight: class-weighted accuracy")
    parser.add_argument(
        "--objectives", metavar="A,B", help="value and one or two of params, energy, time: also a front of them"
    )
    parser.add_argument(
        "--trials",
        type=options.count,
        default=TRIALS,
        metavar="N",
        help=f"Optuna trials, or settings (default: {TRIALS})",
    )
    parser.add_argument("--storage", metavar="URL", help="Optuna storage (default: a journal file in DIR)")
    parser.add_argument("--out", type=Path, default=OUT_FOLDER, metavar="DIR", help=f"default: {OUT_FOLDER}")
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
    parser.add_argument(
        "--max-seconds",
        type=options.seconds,
        # A profile that is made on the way gets less time than one that was asked for.
        default=profile_command.MAX_SECONDS / 2,
        metavar="S",
        help=f"for a profile that is made on the way (default: {profile_command.MAX_SECONDS / 2:g})",
    )
    options.add_seed(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Find or make profile and outcomes, search, write, print."""
    from exitsearch.cli import console
    from exitsearch.report import choice, front, html
    from exitsearch.search import search
    from exitsearch.search.limits import check_floors
    from exitsearch.search.run import check_questions
    from exitsearch.search.sensitivity import sensitivity
    from exitsearch.search.worth import load_class_weights, load_worth
    from exitsearch.specs.budget import parse_budget

    budget = parse_budget(args.budget_dist)  # before any long work
    traces = [parse_budget(f"trace:{source}") for source in args.trace]
    others = args.sensitivity or bool(traces)
    if others and args.policy == "confidence":
        raise InputError(
            "--sensitivity and --trace need exact optima, which --policy confidence does not have; leave one out"
        )
    limits = knobs_command.read_limits(args)
    worth = load_worth(args.worth) if args.worth else None
    if args.class_weights is not None:
        worth = load_class_weights(args.class_weights)
    options.load_plugin(args)
    space = options.load_space(args)
    if space is not None and space.knobs.values:
        return knobs_command.run(args, space, budget)
    objectives = [name.strip() for name in args.objectives.split(",")] if args.objectives else []
    check_questions(policy=args.policy, score=args.confidence, quantile=args.quantile, objectives=objectives)
    check_floors(limits.tightened(space.limits) if space else limits, args.policy)
    profile, profile_source = _find_profile(args, space)
    profile = profile.at_batch(args.batch_size)
    _ = profile.full_ms  # a profile that only counts is refused before any heads are trained
    outcomes, outcomes_source = _find_outcomes(args, space, profile)
    console.say(
        args,
        f"profile:  {profile_source} ({profile.condition()}, verdict {profile.verdict.status})",
        f"outcomes: {outcomes_source} ({outcomes.source or outcomes.metric})",
    )
    if not args.no_guard:
        from exitsearch.measure import guard

        with console.progress("checking the profile"):
            warning = guard.stale(profile)
        if warning:
            console.note(warning)
    with console.progress("searching") as report:
        result = search(
            profile,
            outcomes,
            budget=budget,
            policy=args.policy,
            score=args.confidence,
            quantile=args.quantile,
            max_exits=limits.max_exits,
            max_params=limits.max_extra_params,
            max_memory_bytes=limits.max_memory,
            max_energy_mj=limits.max_energy,
            min_values=limits.min_value_at,
            force=limits.force,
            forbid=limits.forbid,
            heads=options.candidate_heads(args, None),
            placements=args.placements,
            space=space,
            fallback=args.fallback,
            metric=args.metric,
            worth=worth,
            objectives=objectives,
            trials=args.trials,
            seed=args.seed,
            storage=args.storage or str(args.out / "study.journal"),
            on_trial=lambda done, best: report(done / max(args.trials, 1), f"{done} trials, best {best:.4f}"),
        )
    worlds = sensitivity(result.problem, result.choice, further=traces) if others else []
    chosen = result.config.write(args.out / "chosen.json")
    if result.front is not None:
        front.write_front(result.front, args.out)
    else:  # one that stands there is of another choice
        front.remove_front(args.out)
    page = html.write_report(result, args.out / "report.html")
    if args.json:
        further = {"sensitivity": [asdict(row) for row in worlds]} if others else {}
        console.print_json({"chosen": str(chosen), "report": str(page), **choice.summary(result), **further})
    else:
        console.say(args, choice.renderable(result), *choice.sensitivity_table(worlds), f"wrote {chosen} and {page}")
    for sentence in result.notes:
        console.note(sentence)
    return 0


def _find_profile(args: argparse.Namespace, space: SearchSpace | None) -> tuple[Profile, str]:
    """The profile that was named, the newest that fits, or a new one."""
    from exitsearch.specs.load import load_profile

    wanted = args.model or (space.backbone.name if space else None)
    if args.profile:
        return load_profile(args.profile, backbone=wanted), args.profile
    if wanted is None and args.outcomes:
        # Only a profile of the outcomes' own backbone is of use.
        wanted = _load_outcomes(args, args.outcomes).backbone.name
    pattern = f"{wanted.split('.')[0].replace('/', '_')}__*" if wanted else "*"
    if args.device:
        pattern = (
            f"{pattern}__{args.device.split(':')[0]}__*"
            if not wanted
            else f"{pattern[:-1]}{args.device.split(':')[0]}__*"
        )
    found = sorted(profile_command.PROFILES_FOLDER.glob(f"{pattern}.json"), key=lambda path: path.stat().st_mtime)
    if found:
        return load_profile(found[-1], backbone=wanted), str(found[-1])
    profile = profile_command.measure(args, options.model_name(args, space) if wanted is None else wanted, space)
    path = profile.write(profile_command.PROFILES_FOLDER / f"{profile.condition()}.json")
    return profile, str(path)


def _find_outcomes(args: argparse.Namespace, space: SearchSpace | None, profile: Profile) -> tuple[Outcomes, str]:
    """The outcomes that were named, those of the profile's backbone, or new ones."""
    from exitsearch.specs.backbone import EMBEDDED_NAME
    from exitsearch.specs.load import load_outcomes

    if args.outcomes:
        return _load_outcomes(args, args.outcomes), args.outcomes
    name = profile.backbone.name
    if name is None:
        raise InputError(
            f"{args.profile} does not say which backbone it is of; name its values with --outcomes VALUES.csv, "
            "or the backbone with --model"
        )
    data = args.data or ("digits" if name == EMBEDDED_NAME else None)
    pattern = train_command.default_folder(name, data or "*", args.metric).name
    found = sorted(
        train_command.OUTCOMES_FOLDER.glob(f"{pattern}/outcomes.json"), key=lambda path: path.stat().st_mtime
    )
    if found:
        return load_outcomes(found[-1], backbone=name), str(found[-1].parent)
    if data is None:
        raise InputError(
            f"there are no outcomes of {name} yet; add --data digits or --data FOLDER to train its heads now, or run "
            f"exitsearch train-heads --model {name} --data FOLDER"
        )
    folder = train_command.default_folder(name, data, args.metric)
    heads, placements = _measured_candidates(args, space, profile)
    return train_command.train(args, name, space, folder, heads=heads, placements=placements), str(folder)


def _measured_candidates(
    args: argparse.Namespace, space: SearchSpace | None, profile: Profile
) -> tuple[list[str], list[int]]:
    """Heads and placements worth training: those that were asked for and that the profile has times of."""
    heads = options.candidate_heads(args, space) or list(dict.fromkeys(head.head for head in profile.heads))
    placements = options.candidate_placements(args, space, len(profile.segments), placements=profile.placements)
    return heads, placements if placements is not None else sorted({head.placement for head in profile.heads})


def _load_outcomes(args: argparse.Namespace, source: str) -> Outcomes:
    from exitsearch.specs.load import load_outcomes

    return load_outcomes(source, metric=args.metric or "accuracy", backbone=args.model)
