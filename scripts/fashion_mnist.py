"""Fashion-MNIST from end to end: heads over the embedded ViT, then the choice for three families of budgets and three
policies, then the chosen models trained; the tables of docs/fashion_mnist.md.

    python scripts/fashion_mnist.py --data-dir data --out fashion --threads 1

Profile, heads and models are kept under `--out`, so a call that is stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

import figures
import torch

import exitsearch
from exitsearch.cli.console import Terminal
from exitsearch.learn.bank.recipe import get_head_recipe
from exitsearch.learn.data import load_data
from exitsearch.learn.train import train_config
from exitsearch.pipeline import places
from exitsearch.search.result import SearchResult
from exitsearch.specs.backbone import FASHION_NAME
from exitsearch.specs.profile import Profile

DATA = "torch/fashion_mnist"
WATCH = Terminal()
OUTCOMES = str(places.outcomes_folder(FASHION_NAME, DATA))
BUDGETS = ("uniform:10%,100%", "lognormal:40%,0.6", "discrete:20%@0.5,50%@0.3,100%@0.2")
POLICIES = ("interruptible", "contract", "confidence")


def made_profile(options: argparse.Namespace, file: Path) -> Profile:
    """The profile under `--out`, or a new one."""
    if file.exists():
        return exitsearch.load_profile(file)
    return exitsearch.profile(
        FASHION_NAME,
        heads=options.heads,
        threads=options.threads,
        max_seconds=options.max_seconds,
        seed=options.seed,
        out=file,
        watch=WATCH,
    )


def facts(result: SearchResult) -> dict[str, Any]:
    """What a choice says of itself, for a table and for `--json`."""
    best = max((row for row in result.baselines if row.name != "backbone alone"), key=lambda row: row.value)
    untrained = result.config.optimum.untrained
    return {
        "exits": [[c.placement, c.head] for c in result.problem.chosen(result.choice)],
        "expected": result.value,
        "held_out": result.held_out,
        "interval": result.interval,
        "exact": result.config.optimum.exact,
        "regret": result.regret,
        "could_add": untrained.could_add if untrained else None,
        "trained": untrained.trained if untrained else None,
        "candidates": untrained.candidates if untrained else len(result.problem.candidates),
        "backbone_alone": next(row.value for row in result.baselines if row.name == "backbone alone"),
        "best_rule": [best.name, best.value],
    }


def choices_table(rows: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    """Markdown: a row a family of budgets and policy."""
    lines = [
        "| budgets, of the full model | policy | exits | expected (choice) | held out (report), 95% interval "
        "| untrained heads could add | backbone alone | best rule of thumb |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (budget, policy), row in rows.items():
        name, value = row["best_rule"]
        low, high = row["interval"]
        exits = ", ".join(f"{placement} `{head}`" for placement, head in row["exits"]) or "none"
        could = "not known" if row["could_add"] is None else f"{row['could_add']:.4f}"
        lines.append(
            f"| `{budget}` | {policy} | {exits} | {row['expected']:.4f} | {row['held_out']:.4f} ({low:.4f} to "
            f"{high:.4f}) | {could} | {row['backbone_alone']:.4f} | {value:.4f} ({name}) |"
        )
    return "\n".join(lines)


def exits_table(result: SearchResult, trained: Sequence[float]) -> str:
    """Markdown: a row an exit of a choice, with its score on the report split after `exitsearch train`."""
    lines = [
        "| placement | head | answers at ms | choice | report | report, after train |",
        "|---|---|---|---|---|---|",
    ]
    for row, score in zip(result.rows, trained, strict=True):
        place, head = ("final", "") if row.placement is None else (row.placement, f"`{row.head}`")
        lines.append(
            f"| {place} | {head} | {row.arrives_ms:.3f} | {row.choice_score:.4f} | {row.report_score:.4f} "
            f"| {score:.4f} |"
        )
    return "\n".join(lines)


def work(options: argparse.Namespace) -> int:
    options.out.mkdir(parents=True, exist_ok=True)
    took: dict[str, float] = {}

    def timed(step: str, begin: float) -> None:
        took[step] = round(time.perf_counter() - begin, 1)
        print(f"{step}: {took[step]:.0f} s", flush=True)

    begin = time.perf_counter()
    profile = made_profile(options, options.out / "profile.json")
    timed("profile", begin)
    data: dict[str, Any] = {"data": DATA, "data_dir": options.data_dir.resolve(), "workers": 0}
    training: dict[str, Any] = {"epochs": options.epochs, "threads": options.threads, "tolerance": options.tolerance}
    found: dict[tuple[str, str], SearchResult] = {}
    with chdir(options.out):
        for policy in POLICIES:
            for budget in BUDGETS:
                begin = time.perf_counter()
                # No single optimum says which heads thresholds need: those that the exact policies trained are taken.
                given = {"outcomes": OUTCOMES} if policy == "confidence" else {**data, **training}
                found[budget, policy] = exitsearch.search(
                    profile,
                    budget=budget,
                    policy=policy,
                    trials=options.trials,
                    seed=options.seed,
                    watch=WATCH,
                    **given,
                )
                timed(f"search {policy} {budget}", begin)
        begin = time.perf_counter()
        if options.threads:
            torch.set_num_threads(options.threads)
        first = found[BUDGETS[0], POLICIES[0]]
        backbone = exitsearch.create_backbone(FASHION_NAME)
        trained = train_config(
            first.config,
            backbone=backbone,
            data=load_data(DATA, backbone=backbone, root=data["data_dir"], workers=0),
            recipe=get_head_recipe("frozen", epochs=options.epochs),
            out=Path("trained"),
            seed=options.seed,
        )
        timed("train", begin)
    rows = {key: facts(result) for key, result in found.items()}
    print(choices_table(rows))
    print(exits_table(first, trained.scores["report"]))
    print(f"full model {profile.full_ms:.3f} ms; the profile's verdict: {profile.verdict}")
    figures.write(
        options,
        {
            "choices": [{"budget": budget, "policy": policy, **row} for (budget, policy), row in rows.items()],
            "trained": trained.scores,
            "full_ms": profile.full_ms,
            "seconds": took,
        },
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR", help="default: data")
    parser.add_argument("--out", type=Path, default=Path("fashion"), metavar="DIR", help="default: fashion")
    parser.add_argument("--epochs", type=int, metavar="N", help="of the heads, instead of the recipe's own number")
    parser.add_argument("--trials", type=int, default=100, metavar="N", help="of Optuna (default: 100)")
    parser.add_argument("--tolerance", type=float, metavar="X", help="of every search (default: 0.01)")
    figures.add_options(parser, "--heads", "--threads", "--seed", "--max-seconds")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
