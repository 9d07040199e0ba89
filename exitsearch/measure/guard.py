"""The guard against stale profiles: a second of timing before a profile is trusted again.

A profile describes a machine as it was. When `search` uses one that was measured on this very machine, the guard runs
the plain backbone for a second and compares its median with the profile's. It warns when the two 95% intervals do not
meet and the medians are further apart than two measurements one after the other may be.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from exitsearch.measure.machine.load import usable_cores
from exitsearch.measure.machine.processor import cpu_name
from exitsearch.specs.profile import Profile

if TYPE_CHECKING:
    from exitsearch.models.backbone import Backbone

SECONDS = 1.0
# Repeated profiles of a quiet machine differ by up to 2% in their median unit; more than twice that is a change.
TOLERANCE = 0.05
# A larger backbone takes longer to be made than a guard should take (about 2 s for this many parameters).
MOST_PARAMETERS = 120_000_000
# A profile younger than this is what was just measured.
FRESH_S = 120.0


def other_machine(profile: Profile) -> str | None:
    """One sentence when a profile's times are of another processor than this one; None when they are not, or unknown.

    Needs no torch, so that profiles from elsewhere stay quick to search.
    """
    facts = profile.environment.identity
    here = {"cpu": cpu_name(), "cores": usable_cores()}
    apart = [f"{key} {facts[key]} there, {here[key]} here" for key in here if key in facts and facts[key] != here[key]]
    if not apart or not profile.is_timed:
        return None
    return f"the profile was measured on another machine ({'; '.join(apart)}): its times hold there, not here"


def stale(profile: Profile, *, seconds: float = SECONDS) -> str | None:
    """Time the plain backbone again on this machine.

    Args:
        profile: of one batch size.
        seconds: time for the measurement; making the model comes on top.

    Returns:
        One sentence to warn with, or to say why nothing was timed; None when all is well, and for tables that hold
        no conditions.
    """
    facts = profile.environment.identity
    if profile.whole is None or profile.whole.interval_ms is None or not {"device", "cpu", "dtype"} <= set(facts):
        return None
    elsewhere = other_machine(profile)
    if elsewhere is not None or _is_fresh(profile):
        return elsewhere
    reason = _not_timed(profile)
    if reason is not None:
        return f"the profile was not checked against this machine: {reason}"
    # Beyond this point torch is needed.
    from exitsearch.errors import ExitSearchError
    from exitsearch.measure.machine.fingerprint import device_name, resolve_device

    try:
        device = resolve_device(str(facts["device"]))
        if device_name(device) != facts.get("device_name", device_name(device)):
            return f"the profile was measured on {facts['device_name']}, this device is {device_name(device)}"
        return _compare(profile, _timed(profile, seconds))
    except ExitSearchError as error:
        return f"the profile was not checked against this machine: {error}"


def _is_fresh(profile: Profile) -> bool:
    try:
        made = datetime.datetime.fromisoformat(profile.created)
        return 0 <= (datetime.datetime.now(datetime.UTC) - made).total_seconds() < FRESH_S
    except (ValueError, TypeError):  # no date, or one without its time zone
        return False


def _not_timed(profile: Profile) -> str | None:
    """Why a profile of this machine is not timed again, where that would take too long."""
    if profile.environment.identity.get("runtime") != "eager":
        return f"making runtime {profile.environment.identity.get('runtime')} ready takes too long"
    parameters = sum(cost.params or 0 for cost in (*profile.segments, profile.final))
    if parameters > MOST_PARAMETERS:
        return f"making a model of {parameters / 1e6:.0f} million parameters takes too long"
    return None


def _timed(profile: Profile, seconds: float) -> list[float]:
    """Times of the plain backbone in the profile's condition."""
    from exitsearch.measure.paths import measure_paths

    facts = profile.environment.identity
    batch, threads, pause_ms = facts.get("batch_size"), facts.get("threads"), facts.get("pause_ms")
    return measure_paths(
        _backbone(profile),
        [],
        device=str(facts["device"]),
        dtype=str(facts["dtype"]),
        batch_size=batch if isinstance(batch, int) else 1,
        threads=threads if isinstance(threads, int) else None,
        max_seconds=seconds,
        pause_ms=pause_ms if isinstance(pause_ms, int | float) else 0.0,
    ).plain_ms


def _backbone(profile: Profile) -> Backbone:
    from exitsearch.models.backbone import create_backbone

    known = profile.backbone
    channels, size = (known.input_size[0], known.input_size[1:]) if known.input_size else (None, None)
    return create_backbone(
        known.name or "",
        pretrained=False,
        num_outputs=known.num_outputs,
        image_size=size,
        in_chans=channels,
        task=known.task,
        side_inputs=known.side_inputs,
    )


def _compare(profile: Profile, whole: list[float]) -> str | None:
    from exitsearch.measure.timing.statistics import median, median_interval

    assert profile.whole is not None
    assert profile.whole.interval_ms is not None
    then, now = profile.whole.latency_ms, median(whole)
    low, high = profile.whole.interval_ms
    interval = median_interval(whole)
    if not then or interval is None or (interval[0] <= high and interval[1] >= low) or abs(now / then - 1) <= TOLERANCE:
        return None
    return (
        f"the profile may be stale: the plain backbone takes {now:.3f} ms now, {then:.3f} ms in the profile "
        f"({low:.3f} to {high:.3f}); end other programs, or measure again with exitsearch profile "
        "(--no-guard leaves this check out)"
    )
