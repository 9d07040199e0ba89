"""Head types from elsewhere: a user's own file (`--plugin my_heads.py`) and installed packages (entry points)."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from exitsearch.errors import FileError, InputError
from exitsearch.models.heads import registry
from exitsearch.models.heads.registry import HeadType
from exitsearch.specs.document import check_readable

ENTRY_POINT_GROUP = "exitsearch.heads"

_loaded_files: dict[Path, list[str]] = {}
_loaded_entry_points: list[EntryPoint] = []


def load_plugin(path: Path | str) -> list[HeadType]:
    """Run a user's Python file, which registers head types. A file is run once, however often it is named.

    Args:
        path: a Python file whose builders carry `@register_head`.

    Returns:
        The head types that it registered.

    Raises:
        FileError: when it is missing or is no Python file.
        InputError: when it raises; what it had registered until then is forgotten.
    """
    check_readable(path, missing="no such plugin file")
    file = Path(path).resolve()
    if file not in _loaded_files:
        _loaded_files[file] = _run(file, path)
    return [registry.get_head_type(name) for name in _loaded_files[file]]


def _run(file: Path, path: Path | str) -> list[str]:
    # Two plugins may have the same file name in different folders.
    name = f"exitsearch_plugin_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise FileError(path, "a plugin is a Python file (.py)", remedy="name one (--plugin)")
    before = dict(registry._REGISTRY)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        registry._REGISTRY.clear()
        registry._REGISTRY.update(before)
        cause = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        raise InputError(f"the plugin {path} cannot be loaded: {cause}; correct the file, or leave it out") from error
    return [name for name in registry._REGISTRY if name not in before]


def load_entry_points() -> list[str]:
    """Import what installed packages offer under the entry-point group `exitsearch.heads`, once a process.

    An entry point names a module, or a builder in it, decorated with `@register_head`.

    Returns:
        The names of the entry points.

    Raises:
        InputError: when one of them cannot be imported; the message names its package.
    """
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point in _loaded_entry_points:
            continue
        # Noted before it is loaded: a plugin may itself ask for the list of heads.
        _loaded_entry_points.append(point)
        try:
            point.load()
        except (Exception, SystemExit) as error:
            package = point.dist.name if point.dist is not None else point.value
            raise InputError(
                f"the exit heads of the installed package {package} cannot be loaded: {type(error).__name__}: {error}; "
                "repair or uninstall it"
            ) from error
    return [point.name for point in _loaded_entry_points]
