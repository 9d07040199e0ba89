"""`exitsearch check FILE`: say whether a file is valid, what it is, and whether its figures can be believed."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from exitsearch.cli import options
from exitsearch.errors import FileError

if TYPE_CHECKING:
    from exitsearch.specs.document import Document
    from exitsearch.specs.outcomes import Outcomes

HELP = "validate a profile, outcomes, chosen.json, search space or CSV table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("file", type=Path, metavar="FILE")
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Read the file by what it holds and print what it is."""
    from exitsearch.cli import console

    document = _open(args.file)
    facts = {"file": str(args.file), "kind": document.kind, "identity": document.identity, **_facts(document)}
    if args.json:
        console.print_json(facts)
    else:
        console.say(args, *(f"{key}: {value}" for key, value in facts.items()))
    return 0


def _open(path: Path) -> Document:
    from exitsearch.specs.config import MultiExitConfig
    from exitsearch.specs.document import read_data, read_text
    from exitsearch.specs.outcomes import DOCUMENT_NAME, Outcomes
    from exitsearch.specs.profile import Profile
    from exitsearch.specs.space import SearchSpace
    from exitsearch.specs.table import csv_rows

    if os.path.isdir(path):
        if (path / DOCUMENT_NAME).exists():
            return _checked(Outcomes.load(path))
        if (path / "chosen.json").exists():
            return MultiExitConfig.read(path / "chosen.json")
        raise FileError(path, f"a folder with {DOCUMENT_NAME} or chosen.json is expected, found neither")
    if path.suffix == ".csv":
        _, header = next(csv_rows(read_text(path), path), (0, []))
        return Profile.from_costs_csv(path) if "part" in header else Outcomes.from_values_csv(path)
    data = read_data(path)
    if path.suffix == ".toml":
        return SearchSpace.parse(data, path)
    # Each kind of document has a key that no other has.
    kinds: dict[str, type[Document]] = {"segments": Profile, "exits": MultiExitConfig, "metric": Outcomes}
    for key, kind in kinds.items():
        if isinstance(data, dict) and key in data:
            return _checked(Outcomes.load(path)) if kind is Outcomes else kind.parse(data, path)
    raise FileError(
        path, "neither a profile, nor outcomes, nor a chosen.json: none of the keys segments, metric, exits"
    )


def _checked(outcomes: Outcomes) -> Outcomes:
    outcomes.check_samples()
    return outcomes


def _facts(document: Document) -> dict[str, object]:
    from exitsearch.specs.config import MultiExitConfig
    from exitsearch.specs.outcomes import Outcomes
    from exitsearch.specs.profile import Profile
    from exitsearch.specs.space import SearchSpace

    match document:
        case Profile():
            return {
                "backbone": document.backbone.name,
                "condition": document.condition(),
                "placements": len(document.segments),
                "heads": len(document.heads),
                "verdict": str(document.verdict),
                **{f"verdict at batch size {b.batch_size}": str(b.verdict) for b in document.batches},
            }
        case Outcomes():
            return {
                "backbone": document.backbone.name,
                "metric": document.metric,
                "splits": ", ".join(f"{name} ({count or 'size unknown'})" for name, count in document.splits.items()),
                "heads": len(document.heads),
                "final": ", ".join(f"{split} {score:g}" for split, score in document.final.scores.items()),
            }
        case MultiExitConfig():
            return {
                "backbone": document.backbone.name,
                "exits": ", ".join(f"{exit_.placement} {exit_.choice}" for exit_ in document.exits) or "none",
                "budget": document.budget,
                "expected": document.expected.value,
                "regret": document.optimum.regret,
                **({} if document.setting is None else {"setting": str(document.setting)}),
            }
        case SearchSpace():
            return {
                "backbone": document.backbone.name or "any",
                "heads": ", ".join(str(head.choice) for head in document.heads) or "all",
                "knobs": ", ".join(f"{name} {values}" for name, values in document.knobs.values.items()) or "none",
            }
    return {}
