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
from pathlib import Path
from typing import Any

import figures

import exitsearch
from exitsearch.cli.console import Terminal
from exitsearch.learn.train import train_config
from exitsearch.search.result import SearchResult
from exitsearch.specs.backbone import FASHION_NAME
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile

DATA = "torch/fashion_mnist"
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
        watch=Terminal(),
    )


def facts(result: SearchResult, outcomes: Outcomes) -> dict[str, Any]:
    """What a choice says of itself, for a table and for `--json`."""
    best = max((row for row in result.baselines if row.name != "exitsearch"), key=lambda row: row.value)
    return {
        "exits": [[c.placement, c.head] for c in result.problem.chosen(result.choice)],
        "expected": result.value,
        "held_out": result.held_out,
        "interval": result.interval,
        "exact": result.config.optimum.exact,
        "regret": result.regret,
        "backbone_alone": next(row.value for row in result.baselines if row.name == "backbone alone"),
        "best_baseline": [best.name, best.value],
        "trained_heads": len(outcomes.heads),
    }


def choices_table(rows: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    """Markdown: a row a family of budgets and policy."""
    lines = [
        "| budgets, of the full model | policy | exits | expected (choice) | held out (report), 95% interval "
        "| backbone alone | best other rule |",
        "|---|---|---|---|---|---|---|",
    ]
    for (budget, policy), row in rows.items():
        name, value = row["best_baseline"]
        low, high = row["interval"] or (float("nan"), float("nan"))
        exits = ", ".join(f"{placement} `{head}`" for placement, head in row["exits"]) or "none"
        lines.append(
            f"| `{budget}` | {policy} | {exits} | {row['expected']:.4f} | {row['held_out']:.4f} ({low:.4f} to "
            f"{high:.4f}) | {row['backbone_alone']:.4f} | {value:.4f} ({name}) |"
        )
    return "\n".join(lines)


def exits_table(result: SearchResult, trained: Sequence[float] | None) -> str:
    """Markdown: a row an exit of a choice, with its score after `train`."""
    lines = ["| placement | head | answers at ms | choice | report | report, trained alone |", "|---|---|---|---|---|---|"]
    for number, row in enumerate(result.rows):
        alone = "" if trained is None else f"{trained[number]:.4f}"
        lines.append(
            f"| {'final' if row.placement is None else row.placement} | {row.head or ''} | {row.arrives_ms:.3f} "
            f"| {row.choice_score:.4f} | {row.report_score:.4f} | {alone} |"
        )
    return "\n".join(lines)


def work(options: argparse.Namespace) -> int:
    options.out.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    seconds: dict[str, float] = {}

    def took(step: str) -> None:
        seconds[step] = round(time.perf_counter() - begin - sum(seconds.values()), 1)
        print(f"{step}: {seconds[step]:.0f} s", flush=True)

    profile = made_profile(options, options.out / "profile.json")
    took("profile")
    data: dict[str, Any] = {"data": DATA, "data_dir": options.data_dir}
    outcomes = exitsearch.train_heads(
        FASHION_NAME,
        **data,
        heads=options.heads,
        epochs=options.epochs,
        threads=options.threads,
        seed=options.seed,
        out=options.out / "outcomes",
        watch=Terminal(),
    )
    took("train-heads")
    found: dict[tuple[str, str], SearchResult] = {}
    for budget in BUDGETS:
        for policy in POLICIES:
            found[budget, policy] = exitsearch.search(
                profile, outcomes, budget=budget, policy=policy, trials=options.trials, seed=options.seed
            )
            took(f"search {budget} {policy}")
    first = found[BUDGETS[0], POLICIES[0]]
    scores = train_config(
        first.config,
        data=splits(options),
        out=options.out / "trained",
        epochs=options.epochs,
        seed=options.seed,
    ).scores
    took("train")
    rows = {key: facts(result, outcomes) for key, result in found.items()}
    print(choices_table(rows))
    print(exits_table(first, scores["report"]))
    print(f"profile's verdict: {profile.verdict}")
    figures.write(
        options,
        {
            "choices": [{"budget": budget, "policy": policy, **row} for (budget, policy), row in rows.items()],
            "scores": scores,
            "full_ms": profile.full_ms,
            "final": outcomes.final.scores,
            "seconds": seconds,
        },
    )
    return 0
