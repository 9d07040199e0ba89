"""What a verification found out, as sentences for people."""

from __future__ import annotations

from exitsearch.specs.verification import Lateness, Phase


def value_sentences(phase: Phase, *, is_observed: bool, words: str) -> list[str]:
    """Whether the phase that decides is as predicted, and what makes the difference.

    Args:
        phase: that decides.
        is_observed: whether answers were compared with labels.
        words: what a value is, as `accuracy`.
    """
    predicted, observed = phase.predicted, phase.observed
    where = "lies in" if phase.within else "has left"
    found = [
        f"{phase.name}: the observed value {observed.value:.4f} {where} the prediction's interval "
        f"{phase.allowed[0]:.4f} to {phase.allowed[1]:.4f} around {predicted.value:.4f} ({words})"
    ]
    if not is_observed:
        found.append(
            "there were no labels, so that values are not observed: every answer counts as what the bundle states of "
            "its exit, and times alone are verified"
        )
    elif predicted.samples_value is not None:
        found.append(
            f"of the difference {observed.value - predicted.value:+.4f}, "
            f"{predicted.samples_value - predicted.value:+.4f} comes from what the exits are worth on these samples, "
            f"{observed.value - predicted.samples_value:+.4f} from when they answered"
        )
    return found


def deadline_sentence(phase: Phase, *, quantile: float) -> str | None:
    """How hard deadlines were kept; None: there were none.

    Args:
        phase: any.
        quantile: by which they were planned.
    """
    late = phase.observed.late
    if late is None:
        return None
    return (
        f"{phase.name}: of the answers to hard deadlines planned at quantile {quantile:g}, {_worded(late)}"
        f"; {phase.observed.refused:.2%} of {phase.observed.requests} requests were refused beforehand"
    )


def strike_sentence(phase: Phase) -> str | None:
    """By how much interruptions missed their time; None: nothing was interrupted."""
    struck = phase.observed.struck
    if struck is None or not struck.share:
        return None
    return (
        f"{phase.name}: {struck.share:.1%} of the interruptions came more than 0.25 ms late (median "
        f"{struck.median_ms:.2f} ms, worst {struck.worst_ms:.2f} ms); predictions are for those moments"
    )


def machine_sentence(phase: Phase, disturbance: str | None) -> str | None:
    """What disturbed a phase; None: nothing that is known of."""
    if disturbance is None:
        return None
    return f"{phase.name}: the machine was noisy: {disturbance}; end other programs and verify again to be sure"


def _worded(late: Lateness) -> str:
    if not late.share:
        return "none was late"
    return f"{late.share:.2%} were late, by {late.median_ms:.2f} ms in the median and {late.worst_ms:.2f} ms at worst"
