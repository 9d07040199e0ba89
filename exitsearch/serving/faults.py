"""Why a request gets no answer: it is wrong (4xx), or it would come too late (503)."""

from __future__ import annotations

from typing import Literal

# `budget`: no exit answers within it, even on this machine at rest; `slow`: none while the machine is as slow as now;
# `queue`: not behind those that wait; `full`: as many wait as may; `overtaken`: admitted, and slower since then;
# `connections`: too many at once; `closing`: the server ends.
Reason = Literal["budget", "slow", "queue", "full", "overtaken", "connections", "closing"]
REASONS: tuple[Reason, ...] = ("budget", "slow", "queue", "full", "overtaken", "connections", "closing")


class WrongRequest(Exception):
    """A request breaks a rule; the text is one sentence for whoever sent it.

    Args:
        status: of HTTP, 400 to 499.
        sentence: the rule, what was found, what to do.
    """

    def __init__(self, status: int, sentence: str) -> None:
        assert 400 <= status < 500
        super().__init__(sentence)
        self.status = status


class Refused(Exception):
    """A request that could not be answered in time, so nothing was computed for it.

    Args:
        reason: one of `REASONS`.
        sentence: for whoever sent it.
        needed_ms: the least budget that would have been enough; None where it is not a matter of the budget.
        retry_s: seconds after which it may be tried again.
    """

    def __init__(self, reason: Reason, sentence: str, *, needed_ms: float | None = None, retry_s: float = 1.0) -> None:
        super().__init__(sentence)
        self.reason, self.needed_ms, self.retry_s = reason, needed_ms, retry_s
