"""Comparing two profiles, unit by unit: faster, slower, same or ambiguous.

The ratio of two medians is uncertain because both are. Its 95% interval comes from resampling both profiles' times with
their machine's speed taken out (bootstrap); where a profile holds intervals and no samples, from the ends of the
intervals; where it holds neither (a brought table), the ratio stands alone. Two measurements of the same thing, one
after the other, may differ by a percent or two, which no interval of either shows. So with a tolerance of 2%:

    interval:      |---|            below 0.98              faster
                     |---|          partly below            ambiguous
                        |---|       within 0.98 to 1.02     same
                            |---|   above 1.02              slower
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from exitsearch.errors import MismatchError
from exitsearch.measure.timing.statistics import machine_speeds
from exitsearch.specs.frames.frame import Column, Frame, Framed
from exitsearch.specs.profile import Cost, Profile, Scalar

Change = Literal["faster", "slower", "same", "ambiguous"]

TOLERANCE = 0.02
_RESAMPLES = 1000


@dataclass(frozen=True)
class UnitComparison:
    """One unit in both profiles.

    Attributes:
        unit: its name (`segment 3`, `linear at placement 3`, `sum of the parts`).
        before_ms: median in the first profile.
        after_ms: median in the second.
        ratio: after over before.
        interval: 95% interval of the ratio, lower and upper end equal where nothing is known of the noise.
        change: what the interval says.
    """

    unit: str
    before_ms: float
    after_ms: float
    ratio: float
    interval: tuple[float, float]
    change: Change


def _counts(found: Comparison) -> str:
    return "two profiles: " + ", ".join(f"{count} {change}" for change, count in found.counts().items())


def _differing(found: Comparison) -> list[str]:
    return [
        f"{name} differs: {before} and {after}; times are not comparable."
        for name, (before, after) in found.differences.items()
    ]


_UNITS = Frame(
    title=_counts,
    columns={
        "unit": Column("its name, as `segment 3` or `linear at placement 3`", "text"),
        "before_ms": Column("median in the first profile, in ms of one batch"),
        "after_ms": Column("median in the second, in ms of one batch"),
        "ratio": Column("after over before"),
        "low": Column("lower end of the ratio's 95% interval"),
        "high": Column("upper end of it"),
        "change": Column("faster, slower, same or ambiguous", "text"),
    },
    rows=lambda found: [
        (unit.unit, unit.before_ms, unit.after_ms, unit.ratio, *unit.interval, unit.change) for unit in found.units
    ],
    brief=Frame(
        title=_counts,
        columns={
            "unit": Column("its name", "text"),
            "before ms": Column("median in the first profile, in ms of one batch"),
            "after ms": Column("median in the second, in ms of one batch"),
            "ratio": Column("after over before"),
            "change": Column("faster, slower, same or ambiguous", "text"),
        },
        rows=lambda found: [
            (unit.unit, unit.before_ms, unit.after_ms, unit.ratio, unit.change) for unit in found.units
        ],
        notes=_differing,
    ),
)


@dataclass(frozen=True, repr=False)
class Comparison(Framed):
    """Two profiles of one backbone.

    Attributes:
        units: every unit that both hold, in order; last the sum of the backbone's parts.
        differences: facts of identity that differ, with both values; empty when the conditions are the same.
        soft: the same for facts that are only worth a warning.
        only_before: units of the first profile alone.
        only_after: units of the second alone.
    """

    frame: ClassVar[Frame] = _UNITS
    units: list[UnitComparison]
    differences: dict[str, tuple[Scalar, Scalar]]
    soft: dict[str, tuple[Scalar, Scalar]]
    only_before: list[str]
    only_after: list[str]

    @property
    def in_all(self) -> UnitComparison:
        """The sum of the backbone's parts."""
        return self.units[-1]

    def counts(self) -> dict[Change, int]:
        """Units (the sum left out) by change."""
        return {change: sum(unit.change == change for unit in self.units[:-1]) for change in get_args(Change)}


def compare_profiles(
    before: Profile, after: Profile, *, across: bool = False, tolerance: float = TOLERANCE, seed: int = 0
) -> Comparison:
    """Compare two profiles of one backbone.

    Args:
        before: the yardstick, of one batch size.
        after: what is compared with it.
        across: compare although the conditions differ (device, dtype, threads, runtime, ...).
        tolerance: a ratio within 1 - tolerance to 1 + tolerance is the same, from 0 and below 1.
        seed: of the resampling.

    Raises:
        MismatchError: they are of different backbones, or their conditions differ and `across` is not set.
        InputError: one of them holds no times.
    """
    name, other = before.backbone.name, after.backbone.name
    if None not in (name, other) and name != other:
        raise MismatchError(
            f"profiles of one backbone can be compared, found {name} and {other}; name two of the same one"
        )
    if len(before.segments) != len(after.segments):
        raise MismatchError(
            f"profiles of one backbone have as many segments, found {len(before.segments)} and {len(after.segments)}; "
            "name two that were cut alike, or measure one again"
        )
    differences = _differences(_condition(before), _condition(after))
    if differences and not across:
        listed = ", ".join(f"{key} {old} and {new}" for key, (old, new) in differences.items())
        raise MismatchError(
            f"the two profiles were measured in different conditions ({listed}); add --across to compare all the same"
        )
    draw = np.random.default_rng(seed)
    totals = Cost(latency_ms=before.full_ms), Cost(latency_ms=after.full_ms)
    first, second = _units(before), _units(after)
    units: list[UnitComparison] = []
    sums: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([], [])
    for unit, cost in first.items():
        if unit not in second:
            continue
        resampled = _medians(cost, before, draw), _medians(second[unit], after, draw)
        units.append(_compare(unit, cost, second[unit], resampled, tolerance))
        if unit.startswith("segment") or unit == "final":
            for total, medians in zip(sums, resampled, strict=True):
                total.append(medians)
    # Neighbouring units of one pass slow down together; resampled apart, their sum looks a little surer than it is.
    units.append(_compare("sum of the parts", *totals, (_sum(sums[0]), _sum(sums[1])), tolerance))
    return Comparison(
        units=units,
        differences=differences,
        soft=_differences(before.environment.soft, after.environment.soft),
        only_before=[unit for unit in first if unit not in second],
        only_after=[unit for unit in second if unit not in first],
    )


def _condition(profile: Profile) -> dict[str, Scalar]:
    """The facts of identity; a pause before every pass is named only where there was one."""
    facts = profile.environment.identity
    return {"pause_ms": 0.0, **facts} if "device" in facts else facts


def _differences(before: dict[str, Scalar], after: dict[str, Scalar]) -> dict[str, tuple[Scalar, Scalar]]:
    """Facts that both know and that differ; a brought table knows none."""
    return {key: (before[key], after[key]) for key in before if key in after and before[key] != after[key]}


def _units(profile: Profile) -> dict[str, Cost]:
    units: dict[str, Cost] = {f"segment {segment.placement}": segment for segment in profile.segments}
    units |= {f"{head.head} at placement {head.placement}": head for head in profile.heads}
    units["final"] = profile.final
    if profile.whole is not None and profile.whole.latency_ms is not None:
        units["plain backbone"] = profile.whole
    return units


def _medians(cost: Cost, profile: Profile, draw: np.random.Generator) -> NDArray[np.float64]:
    """Medians as they might as well have been measured: [1000], [2] from the ends of an interval, or [1]."""
    if cost.samples_ms:
        samples = np.asarray(cost.samples_ms)
        if cost is not profile.whole and (cost.rounds or len(samples) == len(profile.slowdown)):
            samples = samples / machine_speeds(profile.slowdown)[cost.rounds or slice(None)]
        drawn = draw.integers(len(samples), size=(_RESAMPLES, len(samples)))
        medians: NDArray[np.float64] = np.median(samples[drawn], axis=1)
        return medians
    return np.asarray(cost.interval_ms or [cost.latency_ms], dtype=float)


def _sum(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Sums of resampled medians; where a part has none, of the ends of all intervals."""
    if all(len(part) == _RESAMPLES for part in parts):
        return np.asarray(np.sum(parts, axis=0))
    return np.asarray(np.sum([_ends(part) for part in parts], axis=0))


def _ends(medians: NDArray[np.float64]) -> tuple[float, float]:
    """The 95% interval of a median."""
    low, high = np.quantile(medians, [0.025, 0.975]) if len(medians) == _RESAMPLES else (medians.min(), medians.max())
    return float(low), float(high)


def _compare(
    unit: str, old: Cost, new: Cost, medians: tuple[NDArray[np.float64], NDArray[np.float64]], tolerance: float
) -> UnitComparison:
    assert old.latency_ms is not None
    assert new.latency_ms is not None
    before, after = medians
    if len(before) == len(after) == _RESAMPLES:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.nan_to_num(after / before, nan=1.0)
        low, high = np.quantile(ratios, [0.025, 0.975])
    else:
        old_ends, new_ends = _ends(before), _ends(after)
        low, high = _ratio(new_ends[0], old_ends[1]), _ratio(new_ends[1], old_ends[0])
    change: Change = "ambiguous"
    if high < 1 - tolerance:
        change = "faster"
    elif low > 1 + tolerance:
        change = "slower"
    elif low >= 1 - tolerance and high <= 1 + tolerance:
        change = "same"
    ratio = _ratio(new.latency_ms, old.latency_ms)
    return UnitComparison(unit, old.latency_ms, new.latency_ms, ratio, (float(low), float(high)), change)


def _ratio(after: float, before: float) -> float:
    """after / before; two times of 0 are the same."""
    if before > 0:
        return float(after / before)
    return 1.0 if after == before else float("inf")
