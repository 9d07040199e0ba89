"""`exitsearch search` over a space with [knobs]: a profile of every condition, heads trained when first asked for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from exitsearch.cli.commands import search_report
from exitsearch.errors import InputError

if TYPE_CHECKING:
    from exitsearch.pipeline.job import SearchJob
    from exitsearch.search.result import SettingRow
    from exitsearch.search.utility import Utility


def run(args: argparse.Namespace, job: SearchJob, utility: Utility | None) -> int:
    """Search, write, print: what `exitsearch search` does with a space that has knobs.

    Raises:
        InputError: options or knobs that are wrong whatever the setting.
    """
    from exitsearch.cli import console
    from exitsearch.pipeline.places import CHOSEN
    from exitsearch.pipeline.search import search_over_settings
    from exitsearch.report.html.settings import settings_table
    from exitsearch.report.terminal import choice, front, next_steps, settings
    from exitsearch.specs.load import load_outcomes, load_profile

    for name in ("sensitivity", "trace"):
        if getattr(args, name):
            raise InputError(
                f"--{name} cannot be combined with [knobs] in a search space: the table is of one setting; search that "
                "one alone"
            )
    tell = _Told(quiet=args.quiet)
    result = search_over_settings(job, utility=utility, on_tried=tell, watch=console.Terminal.of(args))
    found = result.settings
    assert found is not None
    chosen = result.config.write(args.out / CHOSEN)
    front.remove_front(args.out)  # of an earlier search, and no part of this one
    page, pictures = search_report.write(
        args,
        result,
        profile=load_profile(found.sources["profile"]),
        outcomes=load_outcomes(found.sources["outcomes"], backbone=result.config.backbone.name),
        sources=(found.sources["profile"], found.sources["outcomes"]),
        lines=settings.lines(found),
        tables=[settings_table(found)],
    )
    if args.json:
        facts = {"chosen": str(chosen), "report": str(page), **found.sources, **choice.summary(result)}
        console.print_json({**facts, **settings.summary(found)})
    else:
        files = [f"{name}: {file}" for name, file in found.sources.items()]
        wrote = [f"wrote {chosen} and {page}", *(f"wrote {picture}" for picture in pictures)]
        step = next_steps.after_search(result.config, chosen, data=args.data)
        tables = choice.renderable(result, all_baselines=args.all_baselines)
        console.say(args, choice.answer(result, next_step=step), "", *settings.renderables(found), "", tables)
        console.lines(args, *files, *wrote)
        console.next_step(args, step)
    for sentence in result.notes:
        console.note(sentence)
    if found.interrupted:
        console.note("interrupted before every setting was tried; run the same command again to go on")
    elif not tell.count:
        console.note(
            "no setting was tried anew: the storage holds the results of earlier runs; for more settings give a larger "
            "--trials, to try these again another --storage"
        )
    return 0


class _Told:
    """Prints one line on stderr for every setting that was tried.

    Args:
        quiet: print none.

    Attributes:
        count: how many were.
    """

    def __init__(self, *, quiet: bool) -> None:
        from exitsearch.cli import console

        self.count = 0
        self._lines = console.err()
        self._quiet = quiet

    def __call__(self, row: SettingRow) -> None:
        """Print the line of one setting."""
        self.count += 1
        if self._quiet:
            return
        value = "" if row.value is None else f"{row.value:.4f} with {row.exits} exits, full model {row.full_ms:.4g} ms"
        words = {"tried": value, "pruned": f"given up early at {value}", "impossible": str(row.reason)}
        words["failed"] = f"failed, the next run tries it again: {row.reason}"
        self._lines.print(f"{row.setting}: {words[row.state]}", markup=False, soft_wrap=True)
