"""A machine on the terminal, as `exitsearch env` finds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType

from exitsearch.report.terminal.layout import facts_table


def machine_tables(facts: Mapping[str, Any]) -> list[RenderableType]:
    """The machine, each of its GPUs, and the versions of what measures on it."""
    nested = {key: value for key, value in facts.items() if isinstance(value, Mapping)}
    gpus = facts["cuda"] if isinstance(facts["cuda"], list) else []
    plain = {
        _words(key): f"{value:.2f}" if isinstance(value, float) else value
        for key, value in facts.items()
        if key not in nested and not (key == "cuda" and gpus)
    }
    return [
        facts_table("This machine", plain),
        *(facts_table(f"GPU {index}", _flat(gpu)) for index, gpu in enumerate(gpus)),
        *(facts_table(f"{_words(name).capitalize()}", found) for name, found in nested.items()),
    ]


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of facts among the others."""
    found: dict[str, Any] = {}
    for key, value in facts.items():
        if isinstance(value, Mapping):
            found |= {f"{_words(key)}: {_words(name)}": inner for name, inner in value.items()}
        else:
            found[_words(key)] = value
    return found


def _words(key: str) -> str:
    return key.replace("_", " ")
