"""Comparisons whose answer is known by construction."""

from __future__ import annotations

import numpy as np
import pytest

from exitsearch.errors import InputError, MismatchError
from exitsearch.measure.compare import compare_profiles
from exitsearch.specs.profile import Profile


def profile(*, times=(10.0, 20.0, 5.0, 2.0), noise=0.0, seed=0, name="some_vit", intervals=False, **identity):
    """Two segments, a final part and a head with the given medians, and 41 samples around each (41 is odd)."""
    draw = np.random.default_rng(seed)
    scale = np.concatenate([np.linspace(1 - noise, 1 + noise, 41)])

    def cost(ms):
        if intervals:
            return {"latency_ms": ms, "interval_ms": (ms * (1 - noise), ms * (1 + noise))}
        return {"latency_ms": ms, "samples_ms": [float(ms * x) for x in draw.permutation(scale)]}

    return Profile.parse(
        {
            "schema_version": 1,
            "backbone": {"name": name},
            "environment": {"identity": {"device": "cpu", "threads": 1, **identity}, "soft": {"driver": "1"}},
            "segments": [{"placement": index, **cost(times[index])} for index in range(2)],
            "heads": [{"placement": 1, "head": "linear", **cost(times[3])}],
            "final": cost(times[2]),
            "verdict": {"status": "ok"},
        },
        "memory",
    )


def changes(found):
    return {unit.unit: unit.change for unit in found.units}


@pytest.mark.parametrize("intervals", [False, True])
def test_every_answer(intervals):
    """Noise of 1%: a segment 10% faster, one 10% slower, the final part equal. Sums: 35 and 9 + 22 + 5 = 36."""
    before = profile(noise=0.001, intervals=intervals)
    after = profile(times=(9.0, 22.0, 5.0, 2.0), noise=0.001, seed=1, intervals=intervals)
    found = compare_profiles(before, after)
    assert changes(found) == {
        "segment 0": "faster", "segment 1": "slower", "linear at placement 1": "same", "final": "same",
        "sum of the parts": "slower",
    }  # fmt: skip
    assert found.in_all.ratio == pytest.approx(36 / 35)
    assert found.in_all.interval[0] < 36 / 35 < found.in_all.interval[1]
    assert found.counts() == {"faster": 1, "slower": 1, "same": 2, "ambiguous": 0}
    assert not found.differences


@pytest.mark.parametrize("intervals", [False, True])
def test_noise_makes_it_ambiguous(intervals):
    """Medians 5% apart, samples spread over 60%: nobody can say."""
    found = compare_profiles(
        profile(noise=0.6, intervals=intervals), profile(times=(10.5, 21.0, 5.25, 2.1), noise=0.6, intervals=intervals)
    )
    assert set(changes(found).values()) == {"ambiguous"}


def test_a_real_but_small_difference_is_the_same():
    """1.5% with hardly any noise lies within the tolerance; without tolerance it is slower."""
    before, after = profile(noise=1e-5), profile(times=(10.15, 20.3, 5.075, 2.03), noise=1e-5)
    assert set(changes(compare_profiles(before, after)).values()) == {"same"}
    assert set(changes(compare_profiles(before, after, tolerance=0.0)).values()) == {"slower"}


def test_swapping_turns_the_answer_round():
    fast, slow = profile(noise=0.01), profile(times=(20.0, 40.0, 10.0, 4.0), noise=0.01)
    assert set(changes(compare_profiles(fast, slow)).values()) == {"slower"}
    assert set(changes(compare_profiles(slow, fast)).values()) == {"faster"}


def test_brought_tables_have_ratios_and_no_intervals(tmp_path):
    rows = "part,placement,head,latency_ms\nsegment,0,,{}\nfinal,,,0\n"
    for name, ms in (("a", 10), ("b", 12)):
        (tmp_path / f"{name}.csv").write_text(rows.format(ms))
    before, after = (Profile.from_costs_csv(tmp_path / f"{name}.csv") for name in ("a", "b"))
    found = compare_profiles(before, after)
    assert changes(found) == {"segment 0": "slower", "final": "same", "sum of the parts": "slower"}
    assert found.units[0].interval == (1.2, 1.2)


def test_conditions_must_be_the_same_unless_that_is_the_point():
    before, after = profile(), profile(threads=2, device="cuda")
    with pytest.raises(MismatchError, match=r"device cpu and cuda, threads 1 and 2\); add --across"):
        compare_profiles(before, after)
    found = compare_profiles(before, after, across=True)
    assert found.differences == {"device": ("cpu", "cuda"), "threads": (1, 2)}
    assert set(changes(found).values()) == {"same"}


def test_other_backbones_are_refused_even_across():
    with pytest.raises(MismatchError, match="found some_vit and other_vit"):
        compare_profiles(profile(), profile(name="other_vit"), across=True)
    single = profile().model_copy(update={"segments": profile().segments[:1]})
    with pytest.raises(MismatchError, match="as many segments, found 2 and 1"):
        compare_profiles(profile(), single)


def test_heads_that_only_one_holds_are_listed():
    bare = profile().model_copy(update={"heads": []})
    found = compare_profiles(profile(), bare)
    assert found.only_before == ["linear at placement 1"]
    assert found.only_after == []


def test_counts_cannot_be_compared():
    counted = profile()
    counted = counted.model_copy(
        update={
            "segments": [s.model_copy(update={"latency_ms": None}) for s in counted.segments],
            "final": counted.final.model_copy(update={"latency_ms": None}),
        }
    )
    with pytest.raises(InputError, match="only counts operations"):
        compare_profiles(profile(), counted)


def test_a_driver_is_worth_a_warning():
    other = profile()
    other = other.model_copy(update={"environment": other.environment.model_copy(update={"soft": {"driver": "2"}})})
    assert compare_profiles(profile(), other).soft == {"driver": ("1", "2")}


def test_the_machines_level_is_taken_out():
    """All of the second profile's samples were taken in the slower fifth of its rounds: no slower than the first."""
    before = profile(noise=0.001)
    after = profile(noise=0.001, seed=1).model_dump()
    rounds = [1.0] * 164 + [1.25] * 41
    head = after["heads"][0]
    head["samples_ms"] = [1.25 * time for time in head["samples_ms"]]
    raw = Profile.parse({**after, "slowdown": rounds}, "memory")
    head["rounds"] = list(range(164, 205))
    at_median_speed = Profile.parse({**after, "slowdown": rounds}, "memory")
    # The median stands in the file; the interval comes from the samples.
    assert compare_profiles(before, raw).units[-3].interval[0] > 1.2
    assert compare_profiles(before, at_median_speed).units[-3].interval == pytest.approx((1.0, 1.0), abs=2e-3)
    assert changes(compare_profiles(before, at_median_speed))["linear at placement 1"] == "same"
