"""`exitsearch completion SHELL`: the script by which a shell completes our commands and options."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from exitsearch.cli import options

HELP = "print the script by which bash, zsh or fish complete commands, options and their values"

SHELLS = ("bash", "zsh", "fish")
# What to type once, and what to write into the shell's own file for every time.
_ENABLED_BY = {
    "bash": 'eval "$(exitsearch completion bash)"  (in ~/.bashrc: for every shell)',
    "zsh": "exitsearch completion zsh > DIR/_exitsearch  (DIR: one of $fpath)",
    "fish": "exitsearch completion fish > ~/.config/fish/completions/exitsearch.fish",
}

# Options whose names are checked below the command line, where they are not argparse's choices.
_NAMES = {
    "policy": ("interruptible", "contract", "confidence"),
    "confidence": ("softmax", "entropy", "margin", "patience"),
    "runtime": ("eager", "compile", "cudagraph", "onnxruntime", "openvino"),
    "device": ("cpu", "cuda"),
    "format": ("onnx", "openvino"),
    "precision": ("fp32", "fp16", "int8"),
}
# Options that take a file or something else, and are not of the type Path.
_FILES = ("profile", "outcomes", "data", "start", "before", "after", "worth", "trace")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.epilog = "\n".join(["to enable it:", *(f"  {shell}: {how}" for shell, how in _ENABLED_BY.items())])
    parser.add_argument("shell", choices=SHELLS)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    from exitsearch.cli import console

    script = completion_script(args.shell)
    if args.json:
        console.print_json({"shell": args.shell, "script": script})
        return 0
    sys.stdout.write(script)
    if sys.stdout.isatty():  # nobody reads it but a shell
        console.note(f"to enable it: {_ENABLED_BY[args.shell]}")
    return 0


def completion_script(shell: str) -> str:
    """What the shell is to read: every command and option, files where files are asked for.

    Args:
        shell: one of `SHELLS`.
    """
    import shtab

    from exitsearch.cli.main import build_parser

    parser = build_parser()
    _mark_files(parser, shtab)
    return str(shtab.complete(parser, shell=shell)) + "\n"


def _mark_files(parser: argparse.ArgumentParser, shtab: Any) -> None:
    """Say of every option what completes its value: its names, files, or folders."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _mark_files(command, shtab)
        elif action.dest in _NAMES and action.choices is None and not action.type:
            action.choices = _NAMES[action.dest]
        elif action.metavar in ("DIR", "BUNDLE"):
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined] # what shtab looks for
        elif action.type is Path or action.dest in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
