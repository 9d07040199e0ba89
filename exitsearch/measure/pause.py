"""The pause before every pass or request: the rule for it. Imports no torch."""

from __future__ import annotations

from exitsearch.errors import InputError

_LONGEST_MS = 60_000.0


def check_pause(pause_ms: float) -> None:
    """Refuse a pause that is none, or that nobody waits for.

    Raises:
        InputError: it is not from 0 to 60,000 ms.
    """
    if not 0 <= pause_ms <= _LONGEST_MS:
        raise InputError(
            f"--pause-ms must be from 0 to {_LONGEST_MS:g}, found {pause_ms}; give the time between two requests"
        )
