"""The guard on a recorded profile and on times that the tests choose."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path

import pytest

from exitsearch.measure import guard
from exitsearch.measure.machine.load import usable_cores
from exitsearch.measure.machine.processor import cpu_name
from exitsearch.specs.profile import Profile

OLD = Path(__file__).parents[1] / "data" / "profile_v1.json"


@pytest.fixture
def here() -> Profile:
    """The recorded profile as if this machine had measured it: plain backbone 4.0 ms, 3.9 to 4.1."""
    recorded = Profile.read(OLD)
    identity = {
        **recorded.environment.identity, "cpu": cpu_name(), "cores": usable_cores(), "device_name": cpu_name(),
    }  # fmt: skip
    whole = recorded.whole.model_copy(update={"latency_ms": 4.0, "interval_ms": (3.9, 4.1)})
    environment = recorded.environment.model_copy(update={"identity": identity})
    return recorded.model_copy(update={"environment": environment, "whole": whole})


def with_identity(profile, **changes):
    identity = {**profile.environment.identity, **changes}
    return profile.model_copy(update={"environment": profile.environment.model_copy(update={"identity": identity})})


@pytest.mark.parametrize(
    ("now", "stale"),
    [
        ([4.0] * 10, False),
        # The interval has left, by 4%: two measurements may differ by so much.
        ([4.16] * 10, False),
        ([4.4] * 10, True),
        ([3.0] * 10, True),
        # 10% slower in the middle, but so unsure that the intervals meet.
        ([3.5, 3.6, 4.4, 4.4, 4.4, 6.0], False),
    ],
)
def test_when_it_warns(here, monkeypatch, now, stale):
    monkeypatch.setattr(guard, "_timed", lambda profile, seconds: now)
    sentence = guard.stale(here)
    if stale:
        assert f"takes {now[5]:.3f} ms now, 4.000 ms in the profile (3.900 to 4.100)" in sentence
    else:
        assert sentence is None


def test_what_was_just_measured_is_not_timed_again(here, monkeypatch):
    monkeypatch.setattr(guard, "_timed", lambda profile, seconds: pytest.fail("nothing is to be timed"))
    now = datetime.datetime.now(datetime.UTC)
    assert guard.stale(here.model_copy(update={"created": now.isoformat()})) is None


def test_a_date_still_to_come_is_no_excuse(here, monkeypatch):
    monkeypatch.setattr(guard, "_timed", lambda profile, seconds: [8.0] * 10)
    tomorrow = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    assert "takes 8.000 ms now" in guard.stale(here.model_copy(update={"created": tomorrow.isoformat()}))


def test_it_times_the_backbone_of_the_profile(here):
    whole = guard._timed(here, 0.01)
    assert len(whole) >= 10
    assert min(whole) > 0


def test_another_machine_is_said(here, monkeypatch):
    monkeypatch.setattr(guard, "_timed", lambda profile, seconds: pytest.fail("nothing is to be timed"))
    sentence = guard.stale(with_identity(here, cpu="Abacus 3"))
    assert f"cpu Abacus 3 there, {cpu_name()} here" in sentence
    assert guard.other_machine(here) is None


def test_what_would_take_too_long_is_said(here, monkeypatch):
    monkeypatch.setattr(guard, "_timed", lambda profile, seconds: pytest.fail("nothing is to be timed"))
    assert "making runtime compile ready takes too long" in guard.stale(with_identity(here, runtime="compile"))
    monkeypatch.setattr(guard, "MOST_PARAMETERS", 10)
    assert "million parameters takes too long" in guard.stale(here)


def test_an_unknown_backbone_is_a_sentence(here):
    sentence = guard.stale(here.model_copy(update={"backbone": here.backbone.model_copy(update={"name": "vit_none"})}))
    assert sentence.startswith("the profile was not checked against this machine: unknown model 'vit_none'")


def test_brought_tables_need_no_guard_and_no_torch(tmp_path):
    table = tmp_path / "costs.csv"
    table.write_text("part,placement,head,latency_ms\nsegment,0,,10\nfinal,,,1\n")
    program = f"""
import sys
from exitsearch.measure import guard
from exitsearch.specs.load import load_profile
assert guard.stale(load_profile({str(table)!r})) is None
assert 'torch' not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
