"""Budgets in words: as they were given, with milliseconds beside them."""

from __future__ import annotations

import re

from exitsearch.specs.config import MultiExitConfig

# A number with more digits than a reader wants; names of trace files seldom hold one.
_LONG = re.compile(r"(?<![\w.])\d+\.\d{3,}(?:e-?\d+)?(?![\w.])")


def short_budget(text: str) -> str:
    """A budget distribution with four digits a number, for people; a trace's file keeps its name.

    >>> short_budget("uniform:0.321999404307,3.21999404307")
    'uniform:0.322,3.22'
    >>> short_budget("mix:0.7*uniform:10,40+0.3*point:60.123456"), short_budget("trace:2.123456.csv")
    ('mix:0.7*uniform:10,40+0.3*point:60.12', 'trace:2.123456.csv')
    """
    return text if "trace:" in text else _LONG.sub(lambda found: f"{float(found[0]):.4g}", text)


def asked_budget(config: MultiExitConfig, *, full_ms: float | None = None) -> str:
    """The budgets of a configuration as they were asked for; of shares, what they are of and what they are in ms.

    Args:
        full_ms: latency of the full model, where it is known.
    """
    asked, in_ms = config.request, short_budget(config.budget)
    if asked is None or "%" not in asked.budget:
        return f"{in_ms} ms"
    whole = "" if full_ms is None else f" of the full model's {full_ms:.4g} ms"
    return f"{asked.budget}{whole} ({in_ms} ms)"
