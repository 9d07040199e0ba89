"""Verdict: whether the times of a profile can be believed, and what disturbed them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from exitsearch.specs.document import Part


class Reason(Part):
    """One thing that disturbed a measurement: what, how much, and what to do about it.

    Attributes:
        what: in words, with what the number is.
        number: how much.
        remedy: what to do, in words.
    """

    what: str
    number: float
    remedy: str


class Verdict(Part):
    """Whether the times can be believed. `unmeasured` stands in profiles without times, `given` in brought ones.

    Attributes:
        status: `ok`, `noisy` (believable, within more than was asked), `invalid` (measure again), `unmeasured` or
            `given`.
        reasons: what disturbed the measurement.
        not_checked: what might have disturbed them and could not be read on that machine. Written only where there is
            something.
    """

    status: Literal["ok", "noisy", "invalid", "unmeasured", "given"]
    reasons: list[Reason] = []
    not_checked: list[str] = []

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Profiles from before this key keep their identity.
        data: dict[str, Any] = handler(self)
        if not data["not_checked"]:
            del data["not_checked"]
        return data

    def __str__(self) -> str:
        words = [self.status, *(f"{r.what} ({r.number:.3g}): {r.remedy}" for r in self.reasons)]
        return "; ".join([*words, f"not checked: {', '.join(self.not_checked)}"] if self.not_checked else words)
