"""Exit heads: the registry, and one file per family of head types.

Importing this package registers every built-in head type.
"""

from exitsearch.models.heads import lgvit, mevit, plain, slvit
from exitsearch.models.heads.base import ExitHead
from exitsearch.models.heads.fitting import fitting_exits
from exitsearch.models.heads.plugins import load_entry_points, load_plugin
from exitsearch.models.heads.registry import (
    HeadType,
    check_fits,
    create_head,
    get_head_type,
    list_heads,
    register_head,
)

__all__ = [
    "ExitHead",
    "HeadType",
    "check_fits",
    "create_head",
    "fitting_exits",
    "get_head_type",
    "lgvit",
    "list_heads",
    "load_entry_points",
    "load_plugin",
    "mevit",
    "plain",
    "register_head",
    "slvit",
]
