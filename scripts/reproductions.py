"""What was published of early-exit heads, computed again: `docs/reproductions.md` and all its figures as JSON.

    python scripts/reproductions.py

Takes some minutes on one thread. Of Multi-Exit Vision Transformer: operations and parameters of its seven heads, and
what its tables of accuracies imply for five families of budgets on every profile under `profiles/`. Of LGViT and
SL-ViT: what their heads cost. Every sentence of the page that says something of figures follows from them. `--check`
writes nothing and says where the figures or the page are no longer those of the code. `--only counts,lgvit` computes
these parts and keeps the figures that the others have. `--measure` times LGViT's heads on this machine first (some two
minutes, with nothing else running); the page says from which profile its times are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import figures
from reproduce import counts, lgvit, lgvit_words, sl_vit, tables, tables_words
from reproduce.page import Figures, differs, paragraph

from exitsearch.errors import FileError, InputError
from exitsearch.pipeline.backbone import BackboneRequest
from exitsearch.pipeline.profile import Measuring, make_profile
from exitsearch.pipeline.watch import Quiet
from exitsearch.specs.document import read_text, write_text

ROOT = Path(__file__).resolve().parents[1]
PROFILES = ROOT / "profiles"
PAGE = Path("docs/reproductions.md")

# Each part: how its figures are found, and how they are said.
PARTS: dict[str, tuple[Callable[[], Figures], Callable[[Figures], list[str]]]] = {
    "counts": (counts.find, counts.text),
    "tables": (lambda: tables.find(PROFILES), tables_words.text),
    "lgvit": (lambda: lgvit.find(ROOT / lgvit.PROFILE), lgvit_words.text),
    "sl_vit": (sl_vit.find, sl_vit.text),
}


def page(found: Figures) -> str:
    """The whole page from its figures, and from nothing else."""
    lines = [
        "# Reproductions",
        "",
        *paragraph(
            "What was published of exit heads, computed again with this package. `python scripts/reproductions.py` "
            "finds the figures and writes this page, sentences included; `docs/reproductions.json` holds every figure. "
            "A test holds the page against both."
        ),
        "",
    ]
    for name, (_, text) in PARTS.items():
        lines += text(found[name])
    return "\n".join(lines).rstrip() + "\n"


def measure(seconds: float) -> None:
    """Time ViT-B/16 at 224 pixels with LGViT's eight heads where the page looks for the profile."""
    request = BackboneRequest.asked(lgvit.MEASURED, space=None, num_outputs=lgvit.OUTPUTS, pretrained=False)
    measuring = Measuring(threads=1, max_seconds=seconds)
    profile = make_profile(request, measuring, exits=lgvit.VIT_EXITS, watch=Quiet())
    print(f"measured {profile.write(ROOT / lgvit.PROFILE)}: {profile.verdict.status}", file=sys.stderr)


def known_figures(path: Path) -> Figures:
    """The figures that an earlier call wrote.

    Raises:
        FileError: there are none, or they cannot be read.
    """
    text = read_text(path)
    try:
        found: Figures = json.loads(text)
    except ValueError:
        raise FileError(
            path, "not the figures of reproductions.py", remedy="run it without --only and --check"
        ) from None
    return found


def work(options: argparse.Namespace) -> int:
    unknown = [name for name in options.only if name not in PARTS]
    if unknown:
        raise InputError(f"unknown part {unknown[0]!r}; known: {', '.join(PARTS)}")
    if options.measure and options.check:
        raise InputError("--measure writes a profile and --check writes nothing; leave one of both out")
    if options.measure and options.only and "lgvit" not in options.only:
        raise InputError("--measure times LGViT's heads; name lgvit with --only, or all parts")
    options.json = options.json or options.out.with_suffix(".json")
    before = known_figures(options.json) if options.only or options.check else {}
    if options.measure:
        measure(options.max_seconds)
    found: Figures = {}
    for name, (find, _) in PARTS.items():
        if options.only and name not in options.only:
            if name not in before:
                raise FileError(options.json, f"holds no figures of {name}", remedy="run the script without --only")
            found[name] = before[name]
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        # As they will be read again: tuples are lists there.
        found[name] = json.loads(json.dumps(find()))
    if options.check:
        return check(found, before, page_file=options.out)
    write_text(options.out, page(found))
    figures.write(options, found)
    print(f"wrote {options.out} and {options.json}")
    return 0


def check(found: Figures, before: Figures, *, page_file: Path) -> int:
    """Say where figures are not those that were written, or the page is not theirs."""
    faults = [line for name in PARTS for line in differs(found[name], before.get(name), where=name)]
    if read_text(page_file) != page(found):
        faults.append(f"{page_file} is not what the figures say; run python scripts/reproductions.py")
    print("\n".join(faults) or f"{page_file} and its figures are those of the code")
    return 1 if faults else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__, json_help="the figures (default: beside the page)")
    parser.add_argument("--out", type=Path, default=PAGE, metavar="PAGE", help="the page (default: %(default)s)")
    parser.add_argument("--only", type=figures.names, default=(), metavar="A,B", help=f"parts: {', '.join(PARTS)}")
    parser.add_argument("--check", action="store_true", help="write nothing; say what is no longer true")
    parser.add_argument("--measure", action="store_true", help="time LGViT's heads on this machine first")
    figures.add_options(parser, "--max-seconds")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
