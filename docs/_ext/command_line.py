"""The directive `{command-line}`: every command with all its options, read from the parser that the command uses."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The subcommands of a parser by name, in its own order."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def usage_of(parser: argparse.ArgumentParser) -> str:
    """The usage, at a width that does not depend on a terminal's."""
    formatter = argparse.HelpFormatter(parser.prog, width=100)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    return formatter.format_help().strip()


def sections(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Title, description and (names, explanation) of the options of every group that has some."""
    formatter = parser._get_formatter()
    for group in parser._action_groups:
        rows = []
        for action in group._group_actions:
            if isinstance(action, argparse._SubParsersAction) or action.help is argparse.SUPPRESS:
                continue
            names = formatter._format_action_invocation(action)
            text = formatter._expand_help(action) if action.help else ""
            choices = action.choices if not action.option_strings else None
            if choices and not text:
                text = "one of " + ", ".join(map(str, choices))
            rows.append((names, text))
        if rows:
            yield group.title or "options", group.description or "", rows


def markdown(parser: argparse.ArgumentParser) -> str:
    """Every subcommand as Markdown."""
    lines = []
    for name, command in commands(parser).items():
        lines += [f"## exitsearch {name}", "", command.description or "", "", "```text", usage_of(command), "```", ""]
        for title, description, rows in sections(command):
            lines += [f"**{title}**" + (f" ({description})" if description else ""), ""]
            for names, text in rows:
                lines += [f"`{names}`", f": {text or 'as it says'}", ""]
    return "\n".join(lines)


class CommandLine(SphinxDirective):
    """Written into the page where it stands."""

    def run(self) -> list[nodes.Node]:
        """The nodes of all commands."""
        from exitsearch.cli.main import build_parser

        return self.parse_text_to_nodes(markdown(build_parser()), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
