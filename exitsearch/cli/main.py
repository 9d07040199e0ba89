"""The `exitsearch` command: finds the subcommand, runs it, turns errors into one sentence and an exit status.

Exit status 0: done; 1: it ran and failed; 2: wrong input. Only argparse and this package's light modules are imported
before a command runs, so that `exitsearch --help` is quick.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from exitsearch import __version__
from exitsearch.errors import ExitSearchError

# Subcommand to the module that holds it; the order is the order of the work.
COMMANDS = {
    "profile": "exitsearch.cli.profile",
    "train-heads": "exitsearch.cli.train_heads",
    "search": "exitsearch.cli.search",
    "train": "exitsearch.cli.train",
    "list": "exitsearch.cli.list",
    "compare": "exitsearch.cli.compare",
    "check": "exitsearch.cli.check",
    "env": "exitsearch.cli.env",
}


def build_parser() -> argparse.ArgumentParser:
    """The parser with every subcommand's options."""
    parser = argparse.ArgumentParser(
        prog="exitsearch",
        description="Which early-exit head goes where, on your device, for your latency budgets.",
        epilog="exitsearch search --budget-dist uniform:10%%,100%% alone runs the whole job on a small example.",
    )
    parser.add_argument("--version", action="version", version=f"exitsearch {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, module_name in COMMANDS.items():
        module = importlib.import_module(module_name)
        command = commands.add_parser(
            name, help=module.HELP, description=module.HELP, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    args = build_parser().parse_args(argv)
    try:
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
    except BrokenPipeError:
        # The reader of our output went away (`| head`). Python would complain again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
