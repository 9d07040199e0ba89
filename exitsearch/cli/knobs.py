"""`exitsearch search` over a space with [knobs]: a profile of every condition, heads trained when first asked for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from exitsearch.errors import InputError

if TYPE_CHECKING:
    from exitsearch.search.knobs import SettingRow
    from exitsearch.specs.budget import BudgetDistribution
    from exitsearch.specs.limits import Limits
    from exitsearch.specs.space import SearchSpace

# Options of `search` that speak of one profile or of something that a search over settings does not do.
_REFUSED = {
    "profile": "every setting has its own profile",
    "objectives": "settings are compared by their expected value alone",
    "sensitivity": "it is of one setting; search that one alone",
    "trace": "the table is of one setting; search that one alone",
    "quantile": "it goes with the policy confidence",
    "worth": "settings are compared by the metric",
    "class_weights": "settings are compared by the metric",
}


def run(args: argparse.Namespace, space: SearchSpace, budget: BudgetDistribution) -> int:
    """Search, write, print: what `exitsearch search` does with a space that has knobs.

    Raises:
        InputError: options or knobs that are wrong whatever the setting.
    """
    from exitsearch.cli import console
    from exitsearch.cli.settings import MeasuredSettings
    from exitsearch.report import choice, front, html, knobs
    from exitsearch.search.knobs import search_settings

    for name, reason in _REFUSED.items():
        if getattr(args, name):
            raise InputError(f"--{name.replace('_', '-')} cannot be combined with [knobs] in a search space: {reason}")
    limits = read_limits(args)
    energies = (limits.max_energy, space.limits.max_energy)
    tell = _Told()
    provider = MeasuredSettings(args, space, energy=any(energy is not None for energy in energies))
    found = search_settings(
        space.knobs,
        provider,
        otherwise=provider.otherwise,
        budget=budget,
        trials=args.trials,
        key=provider.key,
        seed=args.seed,
        storage=args.storage or str(args.out / "study.journal"),
        limits=provider.named(limits),
        on_tried=tell,
        policy=args.policy,
        placements=args.placements,
        fallback=args.fallback,
        metric=args.metric,
    )
    chosen = found.result.config.write(args.out / "chosen.json")
    front.remove_front(args.out)  # of an earlier search, and no part of this one
    table = ("The settings that were tried", knobs.setting_rows(found))
    page = html.write_report(found.result, args.out / "report.html", lines=knobs.lines(found), tables=[table])
    sources = provider.sources(found.setting, found.result.config)
    if args.json:
        facts = {"chosen": str(chosen), "report": str(page), **sources, **choice.summary(found.result)}
        console.print_json({**facts, **knobs.summary(found)})
    else:
        files = [f"{name}: {file}" for name, file in sources.items()]
        wrote = f"wrote {chosen} and {page}"
        console.say(args, *knobs.renderables(found), *files, choice.renderable(found.result), wrote)
    for sentence in found.result.notes:
        console.note(sentence)
    if found.interrupted:
        console.note("interrupted before every setting was tried; run the same command again to go on")
    elif not tell.count:
        console.note(
            "no setting was tried anew: the storage holds the results of earlier runs; for more settings give a larger "
            "--trials, to try these again another --storage"
        )
    return 0


def read_limits(args: argparse.Namespace) -> Limits:
    """The limits of the options.

    Raises:
        InputError: one that is out of range or cannot be read.
    """
    from exitsearch.specs.limits import Limits

    return Limits.checked(
        max_exits=args.max_exits,
        max_extra_params=args.max_extra_params,
        max_memory=args.max_memory,
        max_energy=args.max_energy,
        min_value_at=args.min_value_at,
        force=args.force,
        forbid=args.forbid,
    )


class _Told:
    """Prints one line on stderr for every setting that was tried.

    Attributes:
        count: how many were.
    """

    def __init__(self) -> None:
        from exitsearch.cli import console

        self.count = 0
        self._lines = console.err()

    def __call__(self, row: SettingRow) -> None:
        """Print the line of one setting."""
        self.count += 1
        value = "" if row.value is None else f"{row.value:.4f} with {row.exits} exits, full model {row.full_ms:.4g} ms"
        words = {"tried": value, "pruned": f"given up early at {value}", "impossible": str(row.reason)}
        words["failed"] = f"failed, the next run tries it again: {row.reason}"
        self._lines.print(f"{row.setting}: {words[row.state]}", markup=False, soft_wrap=True)
