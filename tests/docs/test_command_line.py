"""The page of the command line holds every option of every command."""

from __future__ import annotations

import argparse

import command_line

from exitsearch.cli.main import build_parser


def test_every_option_of_every_command() -> None:
    parser = build_parser()
    text = command_line.markdown(parser)
    found = command_line.commands(parser)
    assert {"profile", "search", "serve"} <= found.keys()
    for command_name, command in found.items():
        section = text.split(f"## exitsearch {command_name}\n")[1].split("\n## ")[0]
        for action in command._actions:
            name = action.option_strings[-1] if action.option_strings else action.metavar
            shown = [name] if name else action.choices or [action.dest]
            assert action.help is argparse.SUPPRESS or all(each in section for each in shown)


def test_defaults_and_percent_signs_read_as_a_user_reads_them() -> None:
    parser = argparse.ArgumentParser(prog="tool")
    command = parser.add_subparsers().add_parser("do", description="does it")
    command.add_argument("--share", default="2%", metavar="S", help="as 10%% (default: %(default)s)")
    command.add_argument("--hidden", help=argparse.SUPPRESS)
    command.add_argument("mode", choices=["a", "b"])
    text = command_line.markdown(parser)
    assert "`--share S`\n: as 10% (default: 2%)" in text
    assert "hidden" not in text.replace("[--hidden", "")
    assert ": one of a, b" in text
