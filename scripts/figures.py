"""What the scripts share: their options, their tables on the terminal, and the form of the figures that they write.

Those that work for many calls also share the record by which the next call goes on.

A script is called as `python scripts/NAME.py` and has a `main(argv)` that gives its exit status:

    def main(argv: Sequence[str] | None = None) -> int:
        parser = figures.make_parser(__doc__, file=__file__)
        figures.add_options(parser, "--device", "--threads")
        return figures.run(work, parser=parser, argv=argv)

`work(options)` prints what it finds, hands the same to `figures.write`, and returns 0, or 1 where something is not as
it must be. Wrong input ends in one sentence on stderr and the exit status of the error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from exitsearch.errors import ExitSearchError, InputError
from exitsearch.specs.document import write_json

if TYPE_CHECKING:
    from exitsearch.specs.outcomes import Outcomes
    from exitsearch.specs.profile import Profile

# What scripts take alike, as they take it unless they say otherwise.
_OPTIONS: dict[str, dict[str, Any]] = {
    "--model": {"default": "vit_tiny_patch16_224", "metavar": "M", "help": "timm's name of the backbone"},
    "--device": {"default": "cpu", "help": "cpu, cuda or cuda:N"},
    "--dtype": {"default": "fp32", "help": "fp32, bf16 or fp16"},
    "--batch-size": {"type": int, "default": 1, "metavar": "N", "help": "inputs of one batch"},
    "--runtime": {"default": "eager", "help": "what runs the units"},
    "--threads": {"type": int, "metavar": "N", "help": "CPU threads (default: torch's own number)"},
    "--heads": {"metavar": "A,B", "help": "head types, with commas between (default: every type that fits)"},
    "--seed": {"type": int, "default": 0, "metavar": "N", "help": "seed of everything random"},
    "--precision": {"type": float, "default": 0.02, "metavar": "SHARE", "help": "what a profile aims at"},
    "--max-seconds": {"type": float, "default": 120.0, "metavar": "S", "help": "for the profile"},
    "--profile": {"metavar": "P", "help": "a timed profile"},
    "--outcomes": {"metavar": "O", "help": "outcomes of the same backbone"},
}


class Condition(TypedDict):
    """The condition that the options name, as the profiler takes it."""

    device: str
    dtype: str
    batch_size: int
    threads: int | None
    runtime: str


def make_parser(
    doc: str | None, *, file: str, json_help: str = "write the figures here too"
) -> argparse.ArgumentParser:
    """A parser with a script's own text as its help, and with `--json FILE`.

    Args:
        doc: the script's `__doc__`.
        file: the script's `__file__`.
        json_help: what the script does with FILE.
    """
    parser = argparse.ArgumentParser(
        prog=Path(file).name, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help=json_help)
    return parser


def add_option(parser: argparse.ArgumentParser, name: str, **otherwise: Any) -> None:
    """Add one of the options that scripts share.

    Args:
        parser: gets the option.
        name: with its dashes, as `--device`.
        otherwise: what argparse is told differently for this script: `default`, `help`, `required`, `type`.
    """
    told = {**_OPTIONS[name], **otherwise}
    if told.get("default") is not None and "default:" not in told["help"]:
        told["help"] += " (default: %(default)s)"
    parser.add_argument(name, **told)


def add_options(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add some of the options that scripts share, as they are."""
    for name in names:
        add_option(parser, name)


def names(text: str) -> tuple[str, ...]:
    """Names with commas between, for argparse; none in an empty text."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between, for argparse."""
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"numbers with commas between, as 1,2; found {text!r}") from None


def condition(options: argparse.Namespace) -> Condition:
    """The condition to measure in, from `--device`, `--dtype`, `--batch-size`, `--threads` and `--runtime`."""
    return Condition(
        device=options.device,
        dtype=options.dtype,
        batch_size=options.batch_size,
        threads=options.threads,
        runtime=options.runtime,
    )


def documents(options: argparse.Namespace) -> tuple[Profile, Outcomes] | None:
    """The documents that `--profile` and `--outcomes` name; None without both.

    Raises:
        InputError: one is named without the other, or cannot be read.
    """
    if bool(options.profile) != bool(options.outcomes):
        raise InputError("--profile and --outcomes belong together; name both or neither")
    if not options.profile:
        return None
    from exitsearch.specs.load import load_outcomes, load_profile  # most of the package, which few scripts need

    return load_profile(options.profile), load_outcomes(options.outcomes)


def run(
    work: Callable[[argparse.Namespace], int], *, parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> int:
    """Do a script's work with what the command line says.

    Args:
        work: gets the options, gives the exit status.
        parser: reads them.
        argv: the arguments; None means those of the process.

    Returns:
        The exit status: that of the work, or of the error that ended it.
    """
    options = parser.parse_args(argv)
    try:
        return work(options)
    except ExitSearchError as error:
        print(f"{Path(parser.prog).stem}: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # The reader has gone (`| head`); Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


class Table:
    """A table whose rows are printed as they are found.

    Args:
        columns: title to width and format, as `<32` for text on the left or `9.3f` for a number on the right. The
            heading is printed at once.
        indent: spaces before every line.
    """

    def __init__(self, columns: Mapping[str, str], *, indent: int = 0) -> None:
        self._formats = tuple(columns.values())
        self._indent = " " * indent
        self._print(columns)

    def row(self, *cells: object) -> None:
        """Print a row, one cell a column: None as `-`, truth as `yes` and `NO`."""
        self._print(cells)

    def _print(self, cells: Mapping[str, str] | Sequence[object]) -> None:
        shown = (_cell(cell, form) for cell, form in zip(cells, self._formats, strict=True))
        print((self._indent + " ".join(shown)).rstrip(), flush=True)


def _cell(cell: object, form: str) -> str:
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return f"{cell:{form}}"
    text = "-" if cell is None else ("yes" if cell else "NO") if isinstance(cell, bool) else str(cell)
    side = "<" if form.startswith("<") else ">"
    width = form.lstrip("<>").partition(".")[0].rstrip("dfeg%")
    return f"{text:{side}{width}}"


def facts(options: argparse.Namespace) -> dict[str, Any]:
    """What figures need beside them to be read later: the date, the options, the machine and the versions."""
    from exitsearch.measure.machine.fingerprint import describe_machine  # loads torch, which not every script needs

    machine = describe_machine()
    del machine["executable"]  # says where, not what
    versions = {"exitsearch": machine.pop("exitsearch"), **_table(machine.pop("versions"))}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "options": {name: _plain(value) for name, value in vars(options).items() if name != "json"},
        "machine": machine,
        "versions": versions,
    }


def write(options: argparse.Namespace, found: Mapping[str, Any], *, schema_version: int = 1) -> None:
    """Write figures to the FILE of `--json`, whole or not at all; do nothing without it.

    Args:
        options: of the command line.
        found: the script's own keys, which stand before `facts` and over them.
        schema_version: of these keys.

    Raises:
        FileError: when the file cannot be written.
    """
    if options.json is not None:
        beside = {key: value for key, value in facts(options).items() if key not in found}
        write_json(options.json, {"schema_version": schema_version, **found, **beside})


def report(options: argparse.Namespace, found: Mapping[str, Any]) -> None:
    """Print figures, a line each, and `write` them."""
    for key, value in found.items():
        print(f"{key}: {value}")
    write(options, found)


def record(path: Path, row: Mapping[str, Any]) -> None:
    """Print a row as one line of JSON, and append it to a file of such lines, for the call that goes on.

    Args:
        path: the file; its folder is there.
        row: what JSON holds.
    """
    line = json.dumps(row)
    print(line, flush=True)
    with path.open("a+b") as file:
        # Half a line, of a call that was killed while writing, must not spoil this one.
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else "\n" + line
        file.write(line.encode() + b"\n")


def recorded(path: Path) -> list[dict[str, Any]]:
    """The whole rows of a file of `record`, the oldest first; none without the file."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:  # half a line
            continue
    return rows


def _table(value: object) -> dict[str, Any]:
    assert isinstance(value, dict)
    return value


def _plain(value: object) -> Any:
    """An option as JSON holds it."""
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value
