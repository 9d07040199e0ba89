"""exitsearch: which early-exit head goes where, on your device, for your latency budgets.

Names below are loaded when first used, so that `import exitsearch` loads neither torch nor timm nor optuna.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from exitsearch.allocator import keep_freed_memory as keep_freed_memory
    from exitsearch.models.backbone import create_backbone as create_backbone
    from exitsearch.models.heads import create_head as create_head
    from exitsearch.models.heads import list_heads as list_heads
    from exitsearch.models.heads import register_head as register_head
    from exitsearch.models.multi_exit import build_model as build_model
    from exitsearch.models.multi_exit import load_model as load_model
    from exitsearch.pipeline.export import export as export
    from exitsearch.pipeline.outcomes import train_heads as train_heads
    from exitsearch.pipeline.profile import profile as profile
    from exitsearch.pipeline.search import search as search
    from exitsearch.pipeline.training.train import train as train
    from exitsearch.pipeline.verify import verify as verify
    from exitsearch.specs import load_config as load_config
    from exitsearch.specs import load_outcomes as load_outcomes
    from exitsearch.specs import load_profile as load_profile
    from exitsearch.specs import parse_budget as parse_budget

__all__ = [
    "build_model",
    "create_backbone",
    "create_head",
    "export",
    "keep_freed_memory",
    "list_heads",
    "load_config",
    "load_model",
    "load_outcomes",
    "load_profile",
    "parse_budget",
    "profile",
    "register_head",
    "search",
    "train",
    "train_heads",
    "verify",
]

# Public name to the module that defines it.
_HOME = {
    "build_model": "exitsearch.models.multi_exit",
    "create_backbone": "exitsearch.models.backbone",
    "create_head": "exitsearch.models.heads",
    "export": "exitsearch.pipeline.export",
    "keep_freed_memory": "exitsearch.allocator",
    "list_heads": "exitsearch.models.heads",
    "load_config": "exitsearch.specs",
    "load_model": "exitsearch.models.multi_exit",
    "load_outcomes": "exitsearch.specs",
    "load_profile": "exitsearch.specs",
    "parse_budget": "exitsearch.specs",
    "profile": "exitsearch.pipeline.profile",
    "register_head": "exitsearch.models.heads",
    "search": "exitsearch.pipeline.search",
    "train": "exitsearch.pipeline.training.train",
    "train_heads": "exitsearch.pipeline.outcomes",
    "verify": "exitsearch.pipeline.verify",
}


def public(name: str) -> Any:
    """The public name's own object, from the module that defines it."""
    return getattr(importlib.import_module(_HOME[name]), name)


def _version() -> str:
    """The version of the installed package, which its build took from the git tags; `0+unknown` of a bare checkout."""
    from importlib import metadata

    try:
        return metadata.version("exitsearch")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def __getattr__(name: str) -> Any:
    if name == "__version__":
        globals()[name] = version = _version()
        return version
    if name not in _HOME:
        raise AttributeError(f"module 'exitsearch' has no attribute {name!r}")
    globals()[name] = value = public(name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
