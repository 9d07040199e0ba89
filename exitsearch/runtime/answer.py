"""What a session says to one input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

from .bundle.manifest import Manifest
from .scores import confidence
from .work import Best

Status = Literal["ok", "late", "refused", "none"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """An answer, or why there is none.

    Attributes:
        status: `ok`; `late`: there is an answer, behind the deadline; `refused`: no exit could have answered in time,
            so nothing was run; `none`: time was up before the first exit had answered.
        label: number of the class; None without an answer, and for regression.
        name: of the class, where the bundle names them.
        outputs: as the model gives them, before the softmax [num_outputs]; for regression the values.
        confidence: how sure the answer is, 0 to 1, by the bundle's own score (largest probability, where it has none or
            counts patience); None for regression.
        exit: which exit answered, counted from 0; the final exit is the last.
        time_ms: from the request's arrival to its answer; of an interruptible one, to the end of the exit that counts.
        in_time: whether there is an answer, and none of it came behind the deadline.
        needed_ms: of a refusal, what the earliest exit was planned to take.
    """

    status: Status
    time_ms: float
    label: int | None = None
    name: str | None = None
    outputs: NDArray[Any] | None = field(default=None, repr=False)
    confidence: float | None = None
    exit: int | None = None
    needed_ms: float | None = None

    @property
    def in_time(self) -> bool:
        """Whether there is an answer that did not come behind the deadline."""
        return self.status == "ok"


def answer_of(manifest: Manifest, best: Best | None, status: Status, spent_ms: float) -> Answer:
    """What counts for an input as an answer; without anything, of the status `none`."""
    if best is None:
        return Answer(status="none", time_ms=spent_ms)
    if manifest.task == "regression":
        return Answer(status=status, time_ms=spent_ms, outputs=best.outputs, exit=best.exit)
    label = int(best.outputs.argmax())
    return Answer(
        status=status,
        time_ms=spent_ms,
        label=label,
        name=manifest.classes[label] if manifest.classes else None,
        outputs=best.outputs,
        confidence=_sureness(manifest, best),
        exit=best.exit,
    )


def _sureness(manifest: Manifest, best: Best) -> float:
    if manifest.num_outputs < 2:
        return 1.0
    table = manifest.confidence
    score = table.score if table and table.score != "patience" else "softmax"
    own = table is not None and best.exit < len(table.temperatures)
    temperature = table.temperatures[best.exit] if table and own else 1.0
    return float(confidence(best.outputs[None], score=score, temperature=temperature)[0])
