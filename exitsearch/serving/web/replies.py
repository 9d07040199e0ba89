"""What goes back, as JSON: the forms for the schema, and how they are filled."""

from __future__ import annotations

import math
from typing import Any, Literal

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from exitsearch.runtime import Answer, Session
from exitsearch.serving.admission.line import Asked, retry_after
from exitsearch.serving.faults import Refused


class AnswerForm(BaseModel):
    """An answer."""

    status: Literal["ok", "late"] = Field(description="late: there is an answer, behind its deadline")
    label: int | None = Field(description="number of the class; null for regression")
    name: str | None = Field(description="of the class, where the bundle names them")
    confidence: float | None = Field(description="how sure the answer is, 0 to 1; null for regression")
    exit: int = Field(description="which exit answered, counted from 0; the final exit is the last")
    exit_name: str = Field(description="the exit in words, as 3:linear or final")
    outputs: list[float] | None = Field(description="of the model, for regression or with ?outputs=true")
    budget_ms: float = Field(description="that the request had")
    time_ms: float = Field(description="from the arrival of the request's header to the answer's way back")
    waited_ms: float = Field(description="of it, for the body and in the line")
    in_time: bool = Field(description="whether the answer came within its budget")


class ErrorForm(BaseModel):
    """Why there is none: one sentence."""

    error: str = Field(description="the rule, what was found, what to do")


class RefusedForm(ErrorForm):
    """Nothing was computed, since no answer would have been in time."""

    status: Literal["refused"]
    reason: str = Field(description="budget, slow, queue, full, overtaken, connections or closing")
    needed_ms: float | None = Field(description="the least budget that would have been enough; null where it is not it")


def answer_content(
    answer: Answer, session: Session, asked: Asked, *, total_ms: float, waited_ms: float, outputs: bool
) -> dict[str, Any]:
    """An answer as `AnswerForm` says.

    Args:
        answer: with an exit.
        session: that gave it.
        asked: what was wanted.
        total_ms: since the request's arrival, the way back included.
        waited_ms: of it, before a worker took it.
        outputs: whether all outputs are wanted.
    """
    assert answer.exit is not None
    assert answer.outputs is not None
    in_time = answer.in_time and total_ms <= asked.budget_ms
    wanted = outputs or session.manifest.task == "regression"
    return {
        "status": "ok" if in_time else "late",
        "label": answer.label,
        "name": answer.name,
        "confidence": answer.confidence,
        "exit": answer.exit,
        "exit_name": session.exits[answer.exit],
        "outputs": [float(number) for number in answer.outputs] if wanted else None,
        "budget_ms": asked.budget_ms,
        "time_ms": round(total_ms, 3),
        "waited_ms": round(waited_ms, 3),
        "in_time": in_time,
    }


def error_reply(status: int, sentence: str, *, headers: dict[str, str] | None = None) -> JSONResponse:
    """A fault in one sentence."""
    return JSONResponse({"error": sentence}, status_code=status, headers=headers)


def refused_reply(refused: Refused) -> JSONResponse:
    """A refusal, with the time after which it may be tried again."""
    needed = refused.needed_ms
    return JSONResponse(
        {
            "status": "refused",
            "error": str(refused),
            "reason": refused.reason,
            "needed_ms": round(needed, 3) if needed is not None and math.isfinite(needed) else None,
        },
        status_code=503,
        headers={"Retry-After": retry_after(refused.retry_s)},
    )
