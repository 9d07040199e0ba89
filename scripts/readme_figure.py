"""The README's first figure: what choosing heads and placements is worth, on published accuracies.

Left: costs proportional to MACs (1 GMAC = 1 ms), budgets uniform from 10 to 80. Right: the same accuracies with times
measured on a machine, budgets uniform over the same shares of the full model's latency. Prints the numbers as a
Markdown table and draws the accuracy-budget curves.

    exitsearch profile --space search_spaces/mevit_vit_base.toml --num-outputs 100 --threads 1
    python scripts/readme_figure.py profiles/vit_base_patch16_384__cpu__fp32__bs1__eager.json
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import figures
import numpy as np

import exitsearch
from exitsearch.search.result import SearchResult
from exitsearch.search.value import budget_curve
from exitsearch.specs.document import write_bytes

# 10 and 80 GMACs over the 55.7 GMACs of the whole backbone.
LOW, HIGH = 10.0, 80.0
SHOWN = ("backbone alone", "best single exit")


def numbers(result: SearchResult) -> dict[str, float]:
    found = {row.name: row.value for row in result.baselines}
    best_rule = max(
        (row for row in result.baselines if row.name not in SHOWN and row.name != "greedy adding"),
        key=lambda row: row.value,
    )
    return {
        "backbone alone": found["backbone alone"],
        "best single exit": found["best single exit"],
        f"best rule of thumb ({best_rule.name})": best_rule.value,
        "greedy adding": found["greedy adding"],
        "exitsearch (proved optimum)" if result.config.optimum.exact else "exitsearch": result.value,
    }


def work(options: argparse.Namespace) -> int:
    outcomes = exitsearch.load_outcomes("published:mevit-cifar100")
    by_macs = exitsearch.load_profile("published:mevit-gmacs")
    measured = exitsearch.load_profile(options.profile)
    shares = f"uniform:{100 * LOW / by_macs.full_ms:.4g}%,{100 * HIGH / by_macs.full_ms:.4g}%"
    columns = {
        f"1 GMAC = 1 ms, uniform:{LOW:g},{HIGH:g}": exitsearch.search(
            by_macs, outcomes, budget=f"uniform:{LOW:g},{HIGH:g}", trials=0
        ),
        f"measured, {shares}": exitsearch.search(measured, outcomes, budget=shares, trials=0),
    }
    tables = {name: numbers(result) for name, result in columns.items()}
    print(markdown(tables))
    facts = measured.environment.identity
    print(f"\nmeasured on {facts.get('device_name')}, {facts.get('threads')} thread(s), {facts.get('dtype')}, batch 1;")
    print(f"full model {measured.full_ms:.1f} ms; verdict: {measured.verdict}")
    figures.write(options, {"tables": tables, "full_ms": measured.full_ms})
    draw(columns, options.out)
    print(f"wrote {options.out}")
    return 0


def markdown(tables: dict[str, dict[str, float]]) -> str:
    """A column a table; where the name of a row differs between them, both names."""
    lines = ["| expected accuracy, CIFAR-100 | " + " | ".join(tables) + " |", "|---|" + "---|" * len(tables)]
    for cells in zip(*(table.items() for table in tables.values()), strict=True):
        names = dict.fromkeys(name for name, _ in cells)
        lines.append(f"| {' / '.join(names)} | " + " | ".join(f"{value:.4f}" for _, value in cells) + " |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("profile", type=Path, help="profile of vit_base_patch16_384 with the seven heads")
    parser.add_argument("--out", type=Path, default=Path("docs/expected_accuracy.png"))
    return figures.run(work, parser=parser, argv=argv)


def draw(columns: dict[str, SearchResult], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axes, (name, result) in zip(figure.subplots(1, 2, sharey=True), columns.items(), strict=True):
        problem = result.problem
        low, high = problem.budget.support()
        budgets = np.linspace(0, high, 1000)
        shown = [row for row in result.baselines if row.name in SHOWN]
        curves = {row.name: tuple(problem.positions[pair] for pair in row.exits) for row in shown}
        for label, choice in {**curves, "exitsearch": result.choice}.items():
            axes.step(budgets, budget_curve(problem, choice, budgets), where="post", label=label)
        axes.axvspan(low, high, color="grey", alpha=0.12, linewidth=0)
        axes.set(xlabel="budget (ms)", title=name)
        axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.axes[0].set_ylabel("accuracy of the answer in hand")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    write_bytes(path, picture.getvalue())


if __name__ == "__main__":
    sys.exit(main())
