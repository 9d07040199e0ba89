"""Does a head that also hears beat the same head that only sees, where it must, and what does it cost?

Scenes of `make_sounding_counts.py` are counted: part of what is there can only be seen, part only be heard. Over one
frozen backbone two heads are trained at the same placements, with the same recipe and seed: `sl_vit`, and `sl_vit` with
the sound as its side input. Their errors are held out (the report split, which takes no part in any decision). Both are
measured in place, the side input's work included. Status 1 where hearing does not help at every placement, or where
no head that hears is below the error that seeing alone cannot go below.

    python scripts/check_side_input.py             # 2,000 scenes, about ten minutes on one core
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import figures
import make_sounding_counts

from exitsearch.errors import InputError
from exitsearch.learn.bank.recipe import get_head_recipe
from exitsearch.learn.bank.train import train_bank
from exitsearch.learn.data import load_data
from exitsearch.measure.profiler import profile_backbone
from exitsearch.models.backbone import create_backbone
from exitsearch.pipeline.profile import torch_threads
from exitsearch.specs.backbone import FASHION_NAME
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.profile import Profile
from exitsearch.specs.side import parse_side_inputs

SEEING, HEARING = "sl_vit", "sl_vit(side=audio)"


def rows(outcomes: Outcomes, profile: Profile) -> list[dict[str, float]]:
    """By placement the held-out errors of both heads, and what each takes in place."""
    errors = {(head.placement, head.head): head.scores["report"] for head in outcomes.heads}
    return [
        {
            "placement": place,
            "error_seeing": errors[place, SEEING],
            "error_hearing": errors[place, HEARING],
            "ms_seeing": profile.head_ms(place, SEEING),
            "ms_hearing": profile.head_ms(place, HEARING),
            "macs_seeing": profile.head(place, SEEING).macs or 0,
            "macs_hearing": profile.head(place, HEARING).macs or 0,
        }
        for place in sorted({placement for placement, _ in errors})
    ]


def show(found: list[dict[str, float]], profile: Profile, *, bound: float) -> None:
    print("placement   sl_vit  + audio  sl_vit ms + audio ms       MACs    + audio")
    for row in found:
        print(
            f"{row['placement']:>9.0f} {row['error_seeing']:>8.3f} {row['error_hearing']:>8.3f} "
            f"{row['ms_seeing']:>10.3f} {row['ms_hearing']:>10.3f} {row['macs_seeing']:>10,.0f} "
            f"{row['macs_hearing']:>10,.0f}"
        )
    print(f"no answer from the pictures alone has a lower mean error than {bound:.3f} (over all scenes)")
    print(f"the whole backbone takes {profile.full_ms:.3f} ms")


def work(options: argparse.Namespace) -> int:
    if options.epochs < 1 or not options.placements:
        raise InputError(f"--epochs must be 1 or more and --placements name one, found {options.epochs}")
    with tempfile.TemporaryDirectory() as made:
        folder = options.out or Path(made)
        scenes = argparse.Namespace(
            count=options.count, most=options.most, most_heard=options.most, size=28, seed=options.seed, out=folder
        )
        bound = make_sounding_counts.make(scenes)["least_error_without_sound"]
        assert isinstance(bound, float)
        backbone = create_backbone(
            options.model, task="regression", num_outputs=1, side_inputs=parse_side_inputs(options.side)
        )
        exits = [(place, head) for place in options.placements for head in (SEEING, HEARING)]
        profile = profile_backbone(
            backbone, exits=exits, threads=options.threads, max_seconds=options.max_seconds, seed=options.seed
        )
        data = load_data(str(folder), backbone=backbone, workers=options.workers)
        with torch_threads(options.threads):
            outcomes = train_bank(
                backbone,
                data,
                exits=exits,
                recipe=get_head_recipe("frozen", epochs=options.epochs),
                out=folder / "outcomes",
                seed=options.seed,
                restart=True,
            )
        data.close()
    found = rows(outcomes, profile)
    show(found, profile, bound=bound)
    helps = all(row["error_hearing"] < row["error_seeing"] for row in found)
    below = min(row["error_hearing"] for row in found) < bound
    print(f"hearing helps at every placement: {'yes' if helps else 'NO'}")
    print(f"the best that hears is below what seeing alone can reach: {'yes' if below else 'NO'}")
    constant = outcomes.constant_errors["report"]
    print(f"best constant answer: {constant:.3f}")
    passed = helps and below
    facts = {"rows": found, "bound": bound, "constant": constant, "full_ms": profile.full_ms, "passed": passed}
    figures.write(options, facts)
    return 0 if passed else 1


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    figures.add_option(parser, "--model", default=FASHION_NAME)
    parser.add_argument("--side", default="audio=1x32x64", metavar="NAME=CxHxW", help="size of the spectrograms")
    parser.add_argument("--placements", type=figures.numbers, default=(2, 6, 11), metavar="A,B", help="default: 2,6,11")
    parser.add_argument("--count", type=int, default=2000, metavar="N", help="scenes (default: 2000)")
    parser.add_argument("--most", type=int, default=20, metavar="N", help="most seen, and most heard (default: 20)")
    parser.add_argument("--epochs", type=int, default=12, metavar="N", help="of the recipe frozen (default: 12)")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes that read (default: 0)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep scenes and outcomes there")
    figures.add_options(parser, "--threads", "--seed")
    figures.add_option(parser, "--max-seconds", default=20.0)
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
