"""`exitsearch env`: describe this machine and the versions that measure on it."""

from __future__ import annotations

import argparse

from exitsearch.cli import options

HELP = "describe this machine: processor, GPUs, versions, what can be measured"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print what the machine is."""
    from exitsearch.cli import console
    from exitsearch.measure.machine.fingerprint import describe_machine
    from exitsearch.report.terminal.machine import machine_tables

    facts = describe_machine()
    if args.json:
        console.print_json(facts)
    else:
        console.say(args, *machine_tables(facts))
        console.next_step(args, "exitsearch profile measures a model here")
    return 0
