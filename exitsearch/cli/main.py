"""The `exitsearch` command: finds the subcommand, runs it, turns errors into one sentence and an exit status.

Exit status 0: done; 1: it ran and failed; 2: wrong input. Only argparse and this package's light modules are imported
before a command runs, so that `exitsearch --help` is quick.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress

from exitsearch import __version__
from exitsearch.cli.parser import Parser
from exitsearch.errors import ExitSearchError, InputError

# Subcommand to the module that holds it; the order is the order of the work.
COMMANDS = {
    "profile": "profile",
    "train-heads": "train_heads",
    "search": "search",
    "train": "train",
    "export": "export",
    "verify": "verify",
    "serve": "serve",
    "list": "list",
    "compare": "compare",
    "check": "check",
    "env": "env",
    "completion": "completion",
}
DESCRIPTION = "Which early-exit head goes where, on your device, for your latency budgets."
WELCOME = f"""exitsearch: {DESCRIPTION[0].lower()}{DESCRIPTION[1:]}

Try it on a small example, about a minute on any computer:
  exitsearch search --budget-dist uniform:10%,100%

Your own model, step by step:
  exitsearch profile --model M         measure every part and every exit head here
  exitsearch search --budget-dist B    train the heads that matter, choose, prove
  exitsearch train --config DIR        train the chosen model
  exitsearch export --weights DIR      write what is deployed

All commands: exitsearch --help. One command: exitsearch search --help.
"""


def build_parser() -> Parser:
    """The parser with every subcommand's options."""
    parser = Parser(
        prog="exitsearch",
        description=DESCRIPTION,
        epilog="exitsearch search --budget-dist uniform:10%,100% alone runs the whole job on a small example. "
        "exitsearch COMMAND --help explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"exitsearch {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, module_name in COMMANDS.items():
        module = importlib.import_module(f"exitsearch.cli.commands.{module_name}")
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=textwrap.fill(module.HELP, 79),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.add_argument("--quiet", action="store_true", help="no progress; results and warnings alone")
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    if sys.stdout is None:  # closed by the caller (`>&-`)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 for as long as the process runs
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()  # Python's own flush at the very end would be too late for a sentence
    except BrokenPipeError:  # the reader of our output went away (`| head`)
        _drop_output()
        return 1
    except OSError as error:
        # Whoever opens a file of the user's says more. What is left are disks that are full, and the like.
        what = error.filename or "the output cannot be written"
        print(f"exitsearch: {what}: {error.strerror or error}", file=sys.stderr)
        _drop_output()
        return 1


def _run(argv: Sequence[str] | None) -> int:
    try:
        parser = build_parser()
        args = parser.parse_args(argv)
        if "run" not in args:
            print(WELCOME, end="", file=sys.stderr)
            return InputError.exit_status
        status: int = args.run(args)
        return status
    except ExitSearchError as error:
        print(f"exitsearch: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print(
            "exitsearch: interrupted; what was finished is kept, run the same command again to go on", file=sys.stderr
        )
        return 130


def _drop_output() -> None:
    """Send what is still to be written nowhere: Python would complain again when it flushes at the end."""
    with suppress(OSError, ValueError):  # no file, under a test's capture
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
