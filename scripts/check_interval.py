"""Whether the printed interval covers: choice value, report value and interval of the same samples, split anew.

    python scripts/check_interval.py --profile P --outcomes O [--json FILE]

The interval of a search speaks of the value over the population that the report samples were drawn from, for the exits
that were chosen, with latencies as profiled. Choice and report samples are pooled and searched in two ways:

drawn   both splits are drawn from the pool with replacement. The pool is then exactly the population, the true value
        of every choice is known, and the interval must hold it at the stated rate of 95%, within binomial chance. To
        see the rate closer, each choice is then judged on 20 more report splits; only the first is printed.
halves  the pool is cut in two, as a user would. The pool's value is the mean of both halves', so the report value is
        off from it by half the optimism, the other way; and without optimism the interval would hold it more often
        than stated, since half of the pool is known: sampling n of N narrows the error by sqrt(1 - n / N).

Exit status 1 when the rate of `drawn`, all its report splits together, is one that a true 95% would give in less than
1 of 100 runs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import figures
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, binomtest, norm

from exitsearch.cli.console import progress
from exitsearch.errors import InputError
from exitsearch.search.held_out import mean_interval, sample_values, split_value
from exitsearch.search.run import search
from exitsearch.search.value import exit_probabilities
from exitsearch.specs.answers.kept import ExitOutputs, KeptOutputs
from exitsearch.specs.answers.samples import write_samples
from exitsearch.specs.document import write_json
from exitsearch.specs.load import load_outcomes, load_profile
from exitsearch.specs.outcomes import DOCUMENT_NAME, Outcomes, Samples
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.request import Policy

RATE = 0.95
WAYS = ("drawn", "halves")
POOL = "pool"
MORE = 20


@dataclass(frozen=True)
class Row:
    """One split: what a search prints, and the value of its choice over the whole pool.

    Attributes:
        more: how many intervals of further report splits hold that value.
    """

    choice: float
    report: float
    low: float
    high: float
    pool: float
    exits: int
    more: int = 0

    @property
    def covers(self) -> bool:
        return self.low <= self.pool <= self.high


def joined(parts: Sequence[ExitOutputs]) -> ExitOutputs:
    """One exit's outputs, or what is kept of them, on both splits."""
    kept = [part for part in parts if isinstance(part, KeptOutputs)]
    return KeptOutputs.joined(kept) if kept else np.concatenate([np.asarray(part) for part in parts])


class Pool:
    """The samples of both splits together, and outcomes made of any of them."""

    def __init__(self, outcomes: Outcomes) -> None:
        parts = [outcomes.samples(split) for split in ("choice", "report") if split in outcomes.splits]
        if outcomes.metric != "accuracy" or len(parts) != 2 or parts[0] is None or parts[1] is None:
            raise InputError("this check needs outcomes of accuracy, with samples of a choice and a report split")
        self.outcomes = outcomes
        self.sizes = tuple(len(part.labels) for part in parts if part)
        self.samples = Samples(
            labels=np.concatenate([part.labels for part in parts if part]),
            outputs={key: joined([part.outputs[key] for part in parts if part]) for key in parts[0].outputs},
            final=joined([part.final for part in parts if part]),
        )

    def write(self, folder: Path, splits: dict[str, NDArray[np.int64]]) -> Outcomes:
        """An outcomes folder whose splits hold these rows of the pool."""
        scores: dict[str, dict[str, float]] = {}
        for split, rows in splits.items():
            exits = {key: outputs[rows] for key, outputs in self.samples.outputs.items()}
            samples = Samples(self.samples.labels[rows], exits, self.samples.final[rows])
            write_samples(folder, split, samples)
            named = {f"{place}/{head}": outputs for (place, head), outputs in exits.items()} | {"final": samples.final}
            for name, outputs in named.items():
                scores.setdefault(name, {})[split] = float((outputs.argmax(axis=1) == samples.labels).mean())
        document = self.outcomes.model_dump(mode="json")
        document["splits"] = {split: len(rows) for split, rows in splits.items()}
        document["final"]["scores"] = scores["final"]
        for head in document["heads"]:
            head["scores"] = scores[f"{head['placement']}/{head['head']}"]
        write_json(folder / DOCUMENT_NAME, document)
        return Outcomes.load(folder)


def look(pool: Pool, profile: Profile, folder: Path, *, way: str, policy: Policy, budget: str, seed: int) -> Row:
    """Split anew and search."""
    rng = np.random.default_rng([seed, WAYS.index(way)])
    every = np.arange(sum(pool.sizes))
    order = rng.permutation(every) if way == "halves" else rng.choice(every, len(every))
    splits = {"choice": order[: pool.sizes[0]], "report": order[pool.sizes[0] :], POOL: every}
    outcomes = pool.write(folder, splits)
    result = search(profile, outcomes, budget=budget, policy=policy, trials=0, seed=seed)
    assert result.held_out is not None
    assert result.interval is not None
    true = split_value(result.problem, result.choice, outcomes, POOL)
    row = Row(result.value, result.held_out, *result.interval, true, len(result.choice))
    if way == "halves" or policy == "confidence":
        return row
    values = sample_values(result.problem, result.choice, outcomes, POOL)
    assert values is not None
    chances, nothing = exit_probabilities(result.problem, result.choice)
    each = values @ chances + nothing * result.problem.fallback
    ends = [mean_interval(rng.choice(each, pool.sizes[1]), seed=more) for more in range(MORE)]
    return replace(row, more=sum(low <= true <= high for low, high in ends))


def summary(rows: list[Row], pool: Pool, way: str) -> dict[str, float]:
    """How often the interval covers, beside how often it should."""
    more = MORE if any(row.more for row in rows) else 0
    covered, count = sum(row.covers + row.more for row in rows), len(rows) * (1 + more)
    rate = RATE
    if way == "halves":
        rate = 2 * norm.cdf(norm.ppf((1 + RATE) / 2) / np.sqrt(1 - pool.sizes[1] / sum(pool.sizes))) - 1
    return {
        "printed_covered": sum(row.covers for row in rows),
        "covered": covered,
        "intervals": count,
        "rate": float(rate),
        "usual_from": float(binom.ppf(0.005, count, rate)),
        "usual_to": float(binom.ppf(0.995, count, rate)),
        "chance": float(binomtest(covered, count, rate).pvalue),
        "choice": float(np.mean([row.choice for row in rows])),
        "report": float(np.mean([row.report for row in rows])),
        "pool": float(np.mean([row.pool for row in rows])),
        "width": float(np.mean([row.high - row.low for row in rows])),
    }


def look_often(pool: Pool, profile: Profile, options: argparse.Namespace, *, way: str, policy: Policy) -> list[Row]:
    """So many splits of one way, told if asked."""
    rows = []
    with tempfile.TemporaryDirectory() as folder, progress(f"{policy}, {way}") as report:
        for seed in range(options.splits):
            rows.append(
                look(pool, profile, Path(folder), way=way, policy=policy, budget=options.budget_dist, seed=seed)
            )
            report((seed + 1) / options.splits, f"{seed + 1} of {options.splits}")
    if not options.quiet:
        print(f"{policy}, {way}")
        table = figures.Table(
            {"split": "6", "exits": "5", "choice": "8.4f", "report": "8.4f", "from": "8.4f", "to": "8.4f",
             "pool": "8.4f", "covered": "8"}
        )  # fmt: skip
        for seed, row in enumerate(rows):
            table.row(seed, row.exits, row.choice, row.report, row.low, row.high, row.pool, row.covers)
    return rows


def work(options: argparse.Namespace) -> int:
    profile = load_profile(options.profile)
    pool = Pool(load_outcomes(options.outcomes))
    found: list[dict[str, Any]] = []
    for policy in options.policies:
        for way in WAYS:
            rows = look_often(pool, profile, options, way=way, policy=policy)
            rates = summary(rows, pool, way)
            found.append({"policy": policy, "way": way, **rates, "rows": [vars(row) for row in rows]})
            print(
                f"{policy}, {way}: covers {rates['printed_covered']} of {len(rows)}; of all {rates['intervals']} "
                f"intervals {rates['covered']}, {rates['covered'] / rates['intervals']:.1%} ({rates['rate']:.1%} gives "
                f"{rates['usual_from']:.0f} to {rates['usual_to']:.0f} in 99 of 100 runs); mean width "
                f"{rates['width']:.4f}\n  means: choice {rates['choice']:.4f}, report "
                f"{rates['report']:.4f}, pool {rates['pool']:.4f}; optimism {rates['choice'] - rates['report']:.4f}",
                flush=True,
            )
    figures.write(options, {"stated": RATE, "runs": found})
    return 1 if any(run["way"] == "drawn" and run["chance"] < 0.01 for run in found) else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    figures.add_option(parser, "--profile", required=True)
    figures.add_option(parser, "--outcomes", required=True, help="outcomes with samples, of the same backbone")
    parser.add_argument("--splits", type=int, default=50, help="random splits of each way (default 50)")
    parser.add_argument(
        "--policies", type=figures.names, default=("interruptible", "contract"), help="default: interruptible,contract"
    )
    parser.add_argument("--budget-dist", default="uniform:10%,100%", help="default: uniform:10%%,100%%")
    parser.add_argument("--quiet", action="store_true", help="only the rates")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
