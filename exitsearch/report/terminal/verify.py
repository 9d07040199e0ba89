"""What `exitsearch verify` shows: values and answers of every phase, and the exits on the quiet machine."""

from __future__ import annotations

from typing import Any

from exitsearch.report.terminal.budgets import short_budget
from exitsearch.report.terminal.layout import Rows, rows_table
from exitsearch.specs.verification import ExitUse, Lateness, Phase, Verification


def verification_tables(verification: Verification) -> list[Rows]:
    """Phases twice, and the exits of every policy on the quiet machine; at most 80 columns."""
    quiet = [phase for phase in verification.phases if phase.name.startswith("quiet")]
    return [
        rows_table("Expected value", [_value_row(phase) for phase in verification.phases]),
        rows_table("Answers, predicted / observed", [_answers_row(phase) for phase in verification.phases]),
        *(
            rows_table(
                f"{phase.name}: exits, predicted / observed",
                [_exit_row(*pair) for pair in zip(phase.predicted.exits, phase.observed.exits, strict=True)],
            )
            for phase in quiet
        ),
    ]


def verification_answer(verification: Verification) -> str:
    """Whether it does what was predicted, in one sentence."""
    if verification.within:
        return "as predicted: what was observed lies within the prediction's interval"
    return "not as predicted: the sentences below the tables say where, and by what"


def verification_lines(verification: Verification) -> list[str]:
    """What stands below the tables."""
    source = verification.data or "random inputs"
    asked = f"budgets {short_budget(verification.budget)} ms, {verification.samples} samples of {source}"
    return [asked, *verification.sentences]


def _value_row(phase: Phase) -> dict[str, Any]:
    low, high = phase.observed.interval
    return {
        "phase": phase.name,
        "asked": phase.observed.requests,
        "predicted": f"{phase.predicted.value:.4f}",
        "observed": f"{phase.observed.value:.4f}",
        "95% interval": f"{low:.4f} to {high:.4f}",
    }


def _answers_row(phase: Phase) -> dict[str, Any]:
    late = phase.observed.late or phase.observed.struck or Lateness(share=0.0)
    return {
        "phase": phase.name,
        "no answer": f"{phase.predicted.no_answer:.1%} / {phase.observed.no_answer:.1%}",
        "refused": f"{phase.observed.refused:.1%}",
        "late": "" if phase.observed.late is None else f"{late.share:.2%}",
        "struck": "" if phase.observed.struck is None else f"{late.share:.1%}",
        "by ms, most": "" if late.median_ms is None else f"{late.median_ms:.2f}, {late.worst_ms:.2f}",
    }


def _exit_row(predicted: ExitUse, observed: ExitUse) -> dict[str, Any]:
    return {
        "exit": predicted.exit,
        "share": f"{predicted.share:.1%} / {observed.share:.1%}",
        "median ms": _times(predicted.median_ms, observed.median_ms),
        "p90 ms": _times(predicted.p90_ms, observed.p90_ms),
        "p99 ms": _times(predicted.p99_ms, observed.p99_ms),
    }


def _times(predicted: float | None, observed: float | None) -> str:
    return " / ".join("-" if ms is None else f"{ms:.3f}" for ms in (predicted, observed))
