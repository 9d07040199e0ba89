"""`exitsearch check FILE`: say whether a file is valid, what it is, and whether its figures can be believed."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from exitsearch.cli import options
from exitsearch.errors import FileError, InputError

if TYPE_CHECKING:
    from exitsearch.specs.document import Document
    from exitsearch.specs.outcomes import Outcomes

HELP = "validate a profile, outcomes, chosen.json, search space or CSV table; repeat the proof of a chosen.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("file", type=Path, metavar="FILE")
    proof = parser.add_argument_group("proof of a chosen.json", "what it was computed from; then it is solved again")
    proof.add_argument("--profile", metavar="P", help="profile JSON, costs CSV or published:NAME")
    proof.add_argument("--outcomes", metavar="O", help="outcomes folder, values CSV or published:NAME")
    options.add_utility(proof)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Read the file by what it holds and print what it is; repeat its proof where the documents are named."""
    from exitsearch.cli import console
    from exitsearch.report.terminal import next_steps
    from exitsearch.report.terminal.layout import facts_table

    document = _open(args.file)
    if args.profile or args.outcomes:
        return _repeat(args, document)
    facts = {"file": str(args.file), "kind": document.kind, "identity": document.identity, **_facts(document)}
    if args.json:
        console.print_json(facts)
    else:
        known = {key: value for key, value in (facts | _for_people(document)).items() if value is not None}
        console.say(args, facts_table("", known))
        console.next_step(args, next_steps.after_check(document, args.file))
    return 0


def _repeat(args: argparse.Namespace, document: Document) -> int:
    """Solve the question of a chosen.json again; exit status 1 where something is not the same."""
    from exitsearch.cli import console
    from exitsearch.search.proof import repeat_proof
    from exitsearch.specs.config import MultiExitConfig
    from exitsearch.specs.load import load_outcomes, load_profile

    if not isinstance(document, MultiExitConfig):
        raise FileError(
            args.file,
            f"--profile and --outcomes are for a chosen.json, this is a {document.kind}",
            remedy="leave them out",
        )
    if not (args.profile and args.outcomes):
        raise InputError("a proof is repeated from both documents; name them with --profile and --outcomes")
    backbone, metric = document.backbone.name, document.expected.metric
    profile = load_profile(args.profile, backbone=backbone)
    outcomes = load_outcomes(args.outcomes, metric=metric, backbone=backbone)
    findings = repeat_proof(document, profile, outcomes, utility=options.read_utility(args))
    differing = [finding for finding in findings if not finding.same]
    if args.json:
        console.print_json({"file": str(args.file), "same": not differing, "findings": [asdict(f) for f in findings]})
    else:
        same = f"the proof holds: all {len(findings)} numbers and facts of {args.file} are the same"
        console.say(args, *map(str, differing or findings[-4:]), *([] if differing else [same]))
        if differing:
            console.say(args, f"{len(differing)} of {len(findings)} are not what follows from the documents")
    return 1 if differing else 0


def _open(path: Path) -> Document:
    from exitsearch.specs.config import MultiExitConfig
    from exitsearch.specs.document import read_data, read_text
    from exitsearch.specs.outcomes import DOCUMENT_NAME, Outcomes
    from exitsearch.specs.profile import Profile
    from exitsearch.specs.question.space import SearchSpace
    from exitsearch.specs.table import csv_rows

    if os.path.isdir(path):
        if (path / DOCUMENT_NAME).exists():
            return _checked(Outcomes.load(path))
        if (path / "chosen.json").exists():
            return MultiExitConfig.read(path / "chosen.json")
        raise FileError(
            path,
            f"a folder with {DOCUMENT_NAME} or chosen.json is expected, found neither",
            remedy="name another folder, or a file",
        )
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
        path,
        "neither a profile, nor outcomes, nor a chosen.json: none of the keys segments, metric, exits",
        remedy="name one of these",
    )


def _checked(outcomes: Outcomes) -> Outcomes:
    outcomes.check_samples()
    return outcomes


def _for_people(document: Document) -> dict[str, object]:
    """What reads better than the facts for machines, by the same names."""
    from exitsearch.report.terminal.budgets import asked_budget
    from exitsearch.report.terminal.profile import verdict_words
    from exitsearch.specs.config import MultiExitConfig
    from exitsearch.specs.profile import Profile

    match document:
        case Profile():
            of = {f"verdict at batch size {batch.batch_size}": batch.verdict for batch in document.batches}
            return {name: verdict_words(verdict) for name, verdict in ({"verdict": document.verdict} | of).items()}
        case MultiExitConfig():
            return {"budget": asked_budget(document)}
    return {}


def _facts(document: Document) -> dict[str, object]:
    from exitsearch.specs.config import MultiExitConfig
    from exitsearch.specs.outcomes import Outcomes
    from exitsearch.specs.profile import Profile
    from exitsearch.specs.question.space import SearchSpace

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
