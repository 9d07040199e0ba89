"""A bundle against its peers: the same trained model, inputs and budgets in one interleaved run.

    exitsearch train --config exitsearch-out/chosen.json
    exitsearch export --weights exitsearch-out/trained --out bundle --data digits
    python scripts/bench_peers.py --bundle bundle --trained exitsearch-out/trained --data digits \\
        --static test_byobnet@32,test_resnet@32 --static-epochs 60 --seconds 60 --json peers.json

Peers: the bundle with budgets that are known and with budgets that are not (`exitsearch.runtime`); the whole backbone
as one ONNX graph; static models, as `exitsearch train --compare` makes them, trained once and kept in TRAINED/compare;
and, where the package `earlyon` is installed (0.3.0), its staged form of the same model with the same heads: run by the
package in torch with one configuration and with the best one for each budget, and its stages as ONNX graphs.

Same threads, same options of ONNX Runtime, inputs prepared beforehand. An answer counts when it is in hand within its
budget; late or refused, a request is worth the fallback. A static model is refused where the budget is below the 99%
quantile of its times, which are measured right before; so are earlyon's stages, whose configurations are its own
calibrators' and those of one exit alone. All plans are corrected on line as the bundle's are. What a peer gains or
loses against the bundle is taken round by round.

Printed over the budgets that were drawn and at fixed ones: value with its 95% interval (samples are drawn again),
requests refused and late, times of answers, and size on disk. `--seconds` is the run alone; exporting, calibrating and
loading take about a minute before it.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import figures
import numpy as np
from peers.asking import Round, drawn_budgets, interleave
from peers.bundles import Deadline
from peers.summary import SHELF, SHELF_WORDS, budgets_had, summary, with_shelf

from exitsearch.errors import InputError
from exitsearch.specs.budget import BudgetDistribution, parse_budget

if TYPE_CHECKING:
    from peers.material import Material, StaticModel
    from peers.preparing import Prepared

    from exitsearch.learn.data import DataSplits
    from exitsearch.models.backbone import Backbone
    from exitsearch.pipeline.watch import Watch

# Quantiles of the distribution that are asked as fixed budgets, where none are named.
_FIXED = (0.1, 0.3, 0.5, 0.7, 0.9)
_COLUMNS = {
    "peer": "<33", "value": "6.4f", "95% interval": "<15", "gain": "7", "of it 95%": "<17", "refused": "7.1%",
    "late": "6.2%", "median": "7.3f", "p99": "7.3f", "MB": "6.2f",
}  # fmt: skip


def work(options: argparse.Namespace) -> int:
    import torch
    from peers.preparing import prepare

    from exitsearch.cli.console import Terminal
    from exitsearch.pipeline.bundle_prediction import full_ms

    torch.set_num_threads(options.threads)
    watch = Terminal()
    material, models = gathered(options, watch)
    budget = parse_budget(options.budget_dist or material.bundle.budget).resolved(full_ms(material.bundle))
    fixed = options.fixed or [round(budget.quantile(q), 3) for q in _FIXED]
    with tempfile.TemporaryDirectory(prefix="exitsearch-peers-") as folder:
        ready = prepare(
            material,
            models,
            budget,
            folder=Path(folder),
            threads=options.threads,
            seconds=options.calibrate_seconds,
            seed=options.seed,
        )
        rounds, conditions, notes = run(options, ready, material, budget, fixed, watch)
    rows, longer = figures_of(rounds, ready, material, seed=options.seed), budgets_had(rounds)
    print(f"{len(rounds)} rounds; budgets {budget}, every other one fixed; times in ms; gain: over {Deadline.name}")
    print(f"budgets were longer than drawn by {longer['median_ms']:.3f} ms (median), {longer['p99_ms']:.3f} ms (p99)")
    show(rows, fixed)
    print(f"the static model to choose for these budgets, by the choice split: {ready.best_static}")
    for sentence in notes:
        print(sentence)
    print("conditions: " + ", ".join(f"{key} {value}" for key, value in conditions.items()))
    found = {
        "budget": str(budget),
        "fixed_ms": fixed,
        "model": material.bundle.model.name,
        "data": options.data,
        "samples": len(material.inputs),
        "rounds": len(rounds),
        "budgets_longer": longer,
        "best_static": ready.best_static,
        "left_out": ready.left_out,
        "calibration": ready.calibration,
        "notes": notes,
        "conditions": conditions,
        "peers": rows,
    }
    figures.write(options, found)
    return 0


def gathered(options: argparse.Namespace, watch: Watch) -> tuple[Material, list[StaticModel]]:
    """What the options name, loaded; static models that are missing, trained."""
    from peers.material import gather, static_models

    from exitsearch.learn.data import load_data

    def load(backbone: Backbone) -> DataSplits:
        return load_data(options.data, backbone=backbone, root=options.data_dir, workers=0)

    material = gather(
        options.bundle,
        options.trained,
        load=load,
        samples=options.samples,
        choice=options.choice,
        threads=options.threads,
    )
    models = static_models(
        options.trained,
        options.static,
        material=material,
        load=load,
        epochs=options.static_epochs,
        pretrained=options.pretrained,
        threads=options.threads,
        seed=options.seed,
        watch=watch,
    )
    return material, models


def run(
    options: argparse.Namespace,
    ready: Prepared,
    material: Material,
    budget: BudgetDistribution,
    fixed: Sequence[float],
    watch: Watch,
) -> tuple[list[Round], dict[str, Any], list[str]]:
    """The rounds, the conditions in which they were run, and what should be known of both."""
    from exitsearch.deploy.verify_load import disturbance
    from exitsearch.measure.machine.load import Load, Snapshot, load_average, usable_cores

    rng = np.random.default_rng(options.seed)
    gc.collect()
    gc.freeze()  # collections would look through torch's objects in the midst of somebody's answer
    load_before, before = load_average(), Snapshot.take()
    try:
        with watch.progress("asking all peers") as report:
            rounds = interleave(
                ready.peers,
                drawn_budgets(budget, fixed, rng),
                samples=len(material.inputs),
                seconds=options.seconds,
                rng=rng,
                progress=lambda share: report(share, ""),
            )
    finally:
        gc.unfreeze()
    load = Load.between(before, Snapshot.take(), cores=usable_cores(), load_average=load_average())
    conditions = {"commit": commit(), "load_average_before": load_before, **load.facts()}
    notes = [f"left out: {name}: {reason}" for name, reason in ready.left_out.items()]
    if ready.disturbed:
        notes.append(
            f"the peers' times were measured while {ready.disturbed}; the bundle's are those of its export: run this "
            "on a quiet machine, or the comparison is not fair to them"
        )
    if found := disturbance(load, threads=options.threads):
        notes.append(f"during the run {found}: misses are partly the machine's")
    return with_shelf(rounds, ready.statics), conditions, notes


def figures_of(rounds: Sequence[Round], ready: Prepared, material: Material, *, seed: int) -> dict[str, dict[str, Any]]:
    """What the rounds say of every peer, by name."""
    from exitsearch.pipeline.bundle_prediction import fallback_value

    told = [(peer.name, peer.words, peer.megabytes) for peer in ready.peers]
    told.append((SHELF, SHELF_WORDS, sum(static.megabytes for static in ready.statics)))
    return {
        name: {
            "words": words,
            "megabytes": megabytes,
            **summary(
                rounds,
                name,
                against=Deadline.name,
                labels=material.labels,
                fallback=fallback_value(material.bundle),
                seed=seed,
            ),
        }
        for name, words, megabytes in told
    }


def show(rows: dict[str, dict[str, Any]], fixed: Sequence[float]) -> None:
    """Print the tables."""
    table = figures.Table(_COLUMNS)
    for name, row in rows.items():
        table.row(
            name,
            row["value"],
            _interval(row["interval"]),
            f"{row['gain']:+.4f}",
            _interval(row["gain_interval"], "+"),
            row["refused"] + row["no_answer"],
            row["late"],
            row["median_ms"],
            row["p99_ms"],
            row["megabytes"],
        )
    print("\nvalue at fixed budgets")
    at = figures.Table({"peer": "<33", **{f"{ms:g} ms": "9.4f" for ms in fixed}})
    for name, row in rows.items():
        values = {point["budget_ms"]: point["value"] for point in row["fixed"]}
        at.row(name, *(values.get(ms) for ms in fixed))  # a short run may not have come to all
    print()
    for name, row in rows.items():
        print(f"{name}: {row['words']}")


def _interval(interval: Sequence[float], sign: str = "") -> str:
    return " to ".join(f"{end:{sign}.3f}" for end in interval)


def commit() -> str | None:
    """Of the code that was run; None outside a clone."""
    asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def milliseconds(text: str) -> list[float]:
    """Budgets with commas between, for argparse; different ones above 0."""
    try:
        found = sorted({float(word) for word in text.split(",")})
    except ValueError:
        found = []
    if not found or not 0 < found[0] <= found[-1] < float("inf"):
        raise argparse.ArgumentTypeError(f"budgets in ms above 0 with commas between, as 1,2.5; found {text!r}")
    return found


def positive(text: str) -> float:
    """Seconds, for argparse."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, found {text!r}")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("--bundle", type=Path, required=True, metavar="B", help="what exitsearch export wrote")
    parser.add_argument("--trained", type=Path, required=True, metavar="DIR", help="what exitsearch train wrote")
    parser.add_argument("--data", default="digits", metavar="D", help="that it was trained on (default: %(default)s)")
    parser.add_argument("--data-dir", metavar="DIR", help="where data sets that have a name are kept")
    parser.add_argument(
        "--static",
        default="",
        metavar="MODEL,...",
        help="static models, as for exitsearch train --compare (default: those in TRAINED/compare)",
    )
    parser.add_argument(
        "--static-epochs", type=int, metavar="N", help="of those that are not trained yet (default: the model's own)"
    )
    parser.add_argument(
        "--pretrained",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="insist on pretrained weights of static models, or train them from scratch (default: what can be had)",
    )
    parser.add_argument("--budget-dist", metavar="B", help="budgets (default: the bundle's own)")
    parser.add_argument("--fixed", type=milliseconds, metavar="MS,...", help="fixed budgets (default: five quantiles)")
    parser.add_argument("--seconds", type=positive, default=60.0, metavar="S", help="of the run (default: %(default)g)")
    parser.add_argument(
        "--calibrate-seconds", type=positive, default=15.0, metavar="S", help="for times before (default: %(default)g)"
    )
    parser.add_argument("--samples", type=int, default=1000, metavar="N", help="of the report split, at most")
    parser.add_argument("--choice", type=int, default=2000, metavar="N", help="of the choice split, at most")
    figures.add_option(parser, "--threads", default=1, help="CPU threads of every peer")
    figures.add_options(parser, "--seed")

    def checked(options: argparse.Namespace) -> int:
        for name in ("samples", "choice", "threads"):
            if getattr(options, name) < 1:
                raise InputError(f"--{name} must be a whole number from 1, found {getattr(options, name)}")
        return work(options)

    return figures.run(checked, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
