"""Recipes against each other: what every exit, and the whole choice, is worth after training by each of them.

    python scripts/bench_recipes.py --data torch/fashion_mnist --data-dir data --out recipes/fashion --threads 1
    python scripts/make_counts.py --out counts --size 28 --most 30
    python scripts/bench_recipes.py --data counts --metric mae --out recipes/counts --threads 1

One choice serves all recipes: that of `--config`, or one that is made here, by a short profile, heads trained over the
frozen backbone and a search. Every recipe is run with every seed; `frozen` is the baseline, and by default every other
recipe goes on from the heads that `frozen` trained with the same seed, as somebody does who has just searched
(`--start fresh`: from new heads). Weights are kept the best of by the expected value on `choice`; what is printed is of
`report`, which takes part in nothing: mean and standard deviation over the seeds, in the metric of the data.

Runs are kept under `--out`, one folder each. A run that is finished is not repeated, one that was cut short goes on, so
the same command can be stopped and called again, and later with more recipes or seeds. `--table` prints what is there.
A recipe that cannot train this choice (`lgvit` compares heads of its own kind) is left out, and its reason is printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import figures
import torch
from rich.console import Console
from rich.table import Table

import exitsearch
from exitsearch.cli.console import Terminal
from exitsearch.errors import ExitSearchError, FileError, InputError, MismatchError
from exitsearch.learn.bank.recipe import get_head_recipe
from exitsearch.learn.bank.train import train_bank
from exitsearch.learn.data import DataSplits, Split, data_outputs, in_order, load_data
from exitsearch.learn.data.splits import HeldSplit, identity_of
from exitsearch.learn.engine.train import train_model
from exitsearch.learn.recipes.recipe import Recipe, get_recipe
from exitsearch.models.backbone import Backbone, create_backbone
from exitsearch.models.heads import fitting_exits
from exitsearch.models.inputs import joined_inputs
from exitsearch.models.multi_exit import attach_exits, load_model
from exitsearch.pipeline.trained.judge import chances_of, judge_of
from exitsearch.specs.backbone import FASHION_NAME, Task
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.document import read_data, write_json
from exitsearch.specs.question.candidates import Candidates

BASELINE = "frozen"
RECIPES = (
    BASELINE,
    "layerwise",
    "joint",
    "budget",
    "alternating",
    "lgvit",
    "distill",
    "copycat",
    "adapters",
    "curriculum",
)
RUN_FILE = "run.json"
ASKED_FILE = "asked.json"
WATCH = Terminal()
# Of the samples that are drawn: the same ones for every seed, so that seeds differ in training alone.
_DRAW = 0


@dataclass(frozen=True)
class Question:
    """What all runs share.

    Attributes:
        config: the choice.
        data: so many samples of every split as were asked for, held in memory.
        options: of the command line.
    """

    config: MultiExitConfig
    data: DataSplits
    options: argparse.Namespace

    def folder(self, recipe: str, seed: int) -> Path:
        """Where a run is kept."""
        found: Path = self.options.out / recipe / f"seed{seed}"
        return found


def held(split: Split, count: int | None) -> Split:
    """So many samples of a split, by a fixed permutation, read once and held in memory."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(_DRAW))[:count].tolist()
    read = joined_inputs([split.read([order[number] for number in block]) for block in in_order(len(order), 256)])
    return HeldSplit(read, split.labels[order], finish=split.finish)


def made_data(options: argparse.Namespace, backbone: Backbone) -> DataSplits:
    data = load_data(options.data, backbone=backbone, root=options.data_dir, workers=0)
    counts = [options.train, options.choice, options.report]
    return dataclasses.replace(
        data,
        identity=identity_of(data.identity, _DRAW, counts),
        heads=held(data.heads, options.train),
        choice=held(data.choice, options.choice),
        report=held(data.report, options.report),
    )


def made_config(options: argparse.Namespace, backbone: Backbone, data: DataSplits) -> MultiExitConfig:
    """The choice under `--out`, or a new one: a short profile, the heads of the frozen backbone, and a search."""
    file = options.out / "chosen.json"
    if file.exists():
        return exitsearch.load_config(file)
    profile = exitsearch.profile(
        options.model,
        heads=",".join(options.heads),
        placements=options.placements,
        num_outputs=data.num_outputs,
        threads=options.threads,
        max_seconds=options.max_seconds,
        out=options.out / "profile.json",
        watch=WATCH,
    )
    candidates = Candidates.of(heads=",".join(options.heads), placements=options.placements)
    with WATCH.progress("training the heads to choose from") as report:
        outcomes = train_bank(
            backbone,
            data,
            out=options.out / "outcomes",
            exits=fitting_exits(backbone.placements, candidates),
            recipe=get_head_recipe(BASELINE, epochs=options.head_epochs),
            progress=report,
        )
    result = exitsearch.search(
        profile,
        outcomes,
        budget=options.budget,
        max_exits=options.max_exits,
        metric=options.metric,
        trials=0,
        out=options.out,
    )
    return result.config


def check_asked(options: argparse.Namespace, config: MultiExitConfig, data: DataSplits) -> None:
    """Write what the runs of a folder share; refuse to mix them with others.

    Raises:
        MismatchError: the folder holds runs of another choice, data, number of epochs or start.
    """
    asked = {
        "config": config.identity,
        "data": f"{data.name} {data.identity}",
        "epochs": options.epochs,
        "head_epochs": options.head_epochs,
        "start": options.start,
    }
    file = options.out / ASKED_FILE
    if not file.exists():
        write_json(file, asked)
    there = read_data(file)
    if not isinstance(there, dict):
        raise FileError(file, "what the runs of this folder share is expected; name another --out")
    if keys := [key for key in asked if there.get(key) != asked[key]]:
        raise MismatchError(
            f"{options.out} holds runs that differ in {', '.join(keys)} (there {there.get(keys[0])}, asked for "
            f"{asked[keys[0]]}); name another --out"
        )


def asked_recipe(name: str, options: argparse.Namespace) -> Recipe:
    """A recipe with the epochs that were asked for: of its stages, or where it has none of its heads."""
    recipe = get_recipe(name)
    return get_recipe(recipe, epochs=options.epochs if recipe.stages else options.head_epochs)


def run(question: Question, name: str, seed: int) -> dict[str, Any]:
    """Train by a recipe with a seed, or read what came of it; a run that cannot be has only a `reason`.

    A reason is not kept: it costs little to hear it again, and another version may have mended it.
    """
    folder, options = question.folder(name, seed), question.options
    if (folder / RUN_FILE).exists():
        found = read_data(folder / RUN_FILE)
        assert isinstance(found, dict)
        return found
    row: dict[str, Any] = {"recipe": name, "seed": seed}
    again = folder.exists()
    recipe = asked_recipe(name, options)
    warm = name != BASELINE and options.start == BASELINE
    # Otherwise with the backbone's weights read anew: training changes them.
    model = (
        load_model(question.folder(BASELINE, seed))
        if warm
        else attach_exits(create_backbone_for(options), config=question.config, seed=seed)
    )
    began, cpu = time.perf_counter(), time.process_time()
    try:
        with WATCH.progress(f"{name}, seed {seed}") as report:
            trained = train_model(
                model,
                question.data,
                recipe=recipe,
                out=folder,
                seed=seed,
                warm=warm,
                chances=chances_of(question.config),
                judge=judge_of(question.config),
                progress=report,
                note=WATCH.note,
            )
    except ExitSearchError as error:
        return {**row, "reason": str(error)}
    row["scores"] = {split: list(scores) for split, scores in trained.scores.items()}
    row["values"] = {split: judge_of(question.config)(scores) for split, scores in trained.scores.items()}
    row["seconds"], row["cpu_seconds"] = time.perf_counter() - began, time.process_time() - cpu
    row["resumed"] = again  # then its seconds are those of the last call alone
    write_json(folder / RUN_FILE, row)
    return row


def create_backbone_for(options: argparse.Namespace) -> Backbone:
    task: Task = "regression" if options.metric == "mae" else "classification"
    outputs = data_outputs(options.data, task=task, root=options.data_dir)
    return create_backbone(options.model, num_outputs=outputs, task=task)


def mean_and_spread(numbers: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation of one number or more; no deviation of a single one.

    >>> mean_and_spread([1.0, 2.0, 3.0]), mean_and_spread([0.5])
    ((2.0, 1.0), (0.5, None))
    """
    return statistics.fmean(numbers), statistics.stdev(numbers) if len(numbers) > 1 else None


def summed(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Recipe to what its runs say together: mean and spread of every exit and of the value, held out, and of the time.

    `lead` is the value held out less that of `frozen` with the same seed, seed by seed.
    """
    whole = [row for row in rows if "scores" in row]
    base = {row["seed"]: row["values"]["report"] for row in whole if row["recipe"] == BASELINE}
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(row["recipe"] for row in whole):
        own = [row for row in whole if row["recipe"] == name]
        found[name] = {
            "seeds": [row["seed"] for row in own],
            "exits": [mean_and_spread(column) for column in zip(*(r["scores"]["report"] for r in own), strict=True)],
            "value": mean_and_spread([row["values"]["report"] for row in own]),
            "choice": mean_and_spread([row["values"]["choice"] for row in own]),
            "lead": [row["values"]["report"] - base[row["seed"]] for row in own if row["seed"] in base],
            "seconds": mean_and_spread([row["seconds"] for row in own]),
            "cpu_seconds": mean_and_spread([row["cpu_seconds"] for row in own]),
        }
    return found


def table(found: Mapping[str, Mapping[str, Any]], config: MultiExitConfig) -> Table:
    shown = Table(title=f"{config.expected.metric} held out, and expected value under {config.budget}")
    shown.add_column("recipe")
    for exit_ in config.exits:
        shown.add_column(f"{exit_.placement} {exit_.choice}", justify="right")
    for title in ("final", "expected value", "over frozen", "seeds", "seconds", "CPU s"):
        shown.add_column(title, justify="right")
    for name, row in found.items():
        lead = _cell(mean_and_spread(row["lead"]), "+.4f") if row["lead"] and name != BASELINE else ""
        times = [_cell(row[key], ".0f") for key in ("seconds", "cpu_seconds")]
        exits = [_cell(one, ".4f") for one in row["exits"]]
        shown.add_row(name, *exits, _cell(row["value"], ".4f"), lead, str(len(row["seeds"])), *times)
    return shown


def _cell(number: tuple[float, float | None], form: str) -> str:
    mean, spread = number
    return f"{mean:{form}}" + ("" if spread is None else f" ± {spread:{form.lstrip('+')}}")


def verdicts(found: Mapping[str, Mapping[str, Any]], config: MultiExitConfig) -> list[str]:
    """Which recipe is best, by expected value and at every exit, and whether that is more than the seeds' noise."""
    if not found:
        return []
    sign = -1 if config.expected.metric == "mae" else 1
    best = max(found, key=lambda name: found[name]["value"][0])
    said = [f"expected value: {best} has the highest mean, {_cell(found[best]['value'], '.4f')}"]
    if best != BASELINE and (lead := found[best]["lead"]):
        mean, spread = mean_and_spread(lead)
        sure = "one seed says nothing of noise" if spread is None else _against(lead)
        said.append(f"over {BASELINE} with the same seed {mean:+.4f} ({min(lead):+.4f} to {max(lead):+.4f}): {sure}")
    names = [f"exit {number} (placement {exit_.placement})" for number, exit_ in enumerate(config.exits)]
    for number, exit_name in enumerate([*names, "the final exit"]):
        ahead = max(found, key=lambda name: sign * found[name]["exits"][number][0])
        said.append(f"{exit_name}: {ahead}, {_cell(found[ahead]['exits'][number], '.4f')}")
    return said


def _against(lead: Sequence[float]) -> str:
    return "better with every seed" if min(lead) > 0 else "not with every seed, so within their noise"


def work(options: argparse.Namespace) -> int:
    if min(options.seeds, options.epochs, options.head_epochs) < 1 or not options.recipes:
        raise InputError("--seeds, --epochs and --head-epochs must be 1 or more, and --recipes name at least one")
    for name in options.recipes:
        get_recipe(name)  # a wrong name is said before an hour is spent
    if options.threads:
        torch.set_num_threads(options.threads)
    backbone = create_backbone_for(options)
    data = made_data(options, backbone)
    config = exitsearch.load_config(options.config) if options.config else made_config(options, backbone, data)
    check_asked(options, config, data)
    question = Question(config, data, options)
    recipes = tuple(options.recipes)
    if options.start == BASELINE and BASELINE not in recipes:
        recipes = (BASELINE, *recipes)  # the others go on from it
    rows = []
    # Seed by seed, so that what stands after a while holds every recipe.
    for seed in range(options.seeds):
        for name in sorted(recipes, key=lambda name: name != BASELINE):
            if options.table and not (question.folder(name, seed) / RUN_FILE).exists():
                continue
            rows.append(run(question, name, seed))
    found = summed(rows)
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    console.print(table(found, config))
    reasons = {row["recipe"]: row["reason"] for row in rows if "reason" in row}
    for sentence in [*verdicts(found, config), *(f"{name} left out: {reason}" for name, reason in reasons.items())]:
        print(sentence)
    exits = [[exit_.placement, str(exit_.choice)] for exit_ in config.exits]
    figures.write(options, {"exits": exits, "recipes": found, "left_out": reasons, "runs": rows})
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("--data", default="torch/fashion_mnist", metavar="D", help="default: %(default)s")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR", help="default: data")
    parser.add_argument("--metric", choices=("accuracy", "mae"), default="accuracy", help="mae: a regression")
    parser.add_argument("--out", type=Path, default=Path("recipes"), metavar="DIR", help="default: recipes")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the choice (default: one is made)")
    figures.add_option(parser, "--model", default=FASHION_NAME)
    parser.add_argument("--train", type=int, metavar="N", help="samples that are trained on (default: all)")
    parser.add_argument("--choice", type=int, metavar="N", help="samples judged by after every epoch (default: all)")
    parser.add_argument("--report", type=int, metavar="N", help="samples of the table (default: all)")
    parser.add_argument("--epochs", type=int, default=5, metavar="N", help="of every stage (default: 5)")
    parser.add_argument("--head-epochs", type=int, default=5, metavar="N", help=f"of {BASELINE} (default: 5)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="0 to N - 1 (default: 3)")
    parser.add_argument("--recipes", type=figures.names, default=",".join(RECIPES), metavar="A,B", help="default: ten")
    parser.add_argument("--start", choices=(BASELINE, "fresh"), default=BASELINE, help="heads that others begin with")
    figures.add_option(parser, "--heads", default="lph,gah", type=figures.names)
    parser.add_argument("--placements", default="1,3,5,7,9", metavar="P", help="to choose from (default: %(default)s)")
    parser.add_argument("--max-exits", type=int, default=4, metavar="N", help="of the choice made here (default: 4)")
    parser.add_argument("--budget", default="uniform:10%,100%", metavar="B", help="default: %(default)s")
    parser.add_argument("--table", action="store_true", help="train nothing more, print what is there")
    figures.add_options(parser, "--threads")
    figures.add_option(parser, "--max-seconds", default=20.0)
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
