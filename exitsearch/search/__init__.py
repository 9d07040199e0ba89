"""Choosing exits: problems, values, the exact solver, Optuna's study, baselines. numpy and optuna only, no torch.

The package itself can be called: `exitsearch.search(profile, outcomes, budget="uniform:10,80")` is
`exitsearch.pipeline.search.search`. Python enters a package into its parent as soon as anything in it is imported, so a
function of the same name beside it would be lost. `from exitsearch.search import search` is the search of two documents
that are at hand (`run.py`).
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exitsearch.search.run import search as search


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        import exitsearch

        return exitsearch.public("search")(*args, **options)


sys.modules[__name__].__class__ = _CallablePackage


def __getattr__(name: str) -> Any:
    if name != "search":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from exitsearch.search.run import search

    return search
