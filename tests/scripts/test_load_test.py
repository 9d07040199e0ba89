"""The load test runs from end to end, and its figures are what was seen."""

from __future__ import annotations

import load_test
import pytest
from served import timed_bundle


def test_a_short_load(call):
    """Whether deadlines are kept is not asked here: beside other tests nothing is quiet."""
    found = call("load_test", "--seconds", "0.6", "--loads", "0.3,3", "--budget-ms", "200")
    assert found.status in (0, 1)
    assert found.figures["loads"][0]["load"] == 0.3
    for row in found.figures["loads"]:
        assert row["sent"] == row["answered"] + row["refused"] + row["unclear"]
        assert row["unclear"] == 0
        assert sum(row["exits"].values()) == row["answered"]
        assert sum(row["reasons"].values()) == row["refused"]
    assert "capacity: " in found.out


def test_a_summary_counts_by_the_clients_clock():
    seen = load_test.Seen(seconds=2.0)
    for ms in (5.0, 6.0, 30.0):
        seen.add(200, {"status": "ok", "exit_name": "final"}, ms)
    seen.add(200, {"status": "late", "exit_name": "0:linear"}, 40.0)
    seen.add(503, {"reason": "queue"}, 0.5)
    row = load_test.summary(seen, load=2.0, rate=3.0, budget_ms=20.0)
    assert (row["sent"], row["answered"], row["refused"], row["unclear"]) == (5, 4, 1, 0)
    assert (row["misses"], row["misses_there"], row["answered_per_s"], row["kept"]) == (2, 1, 2.0, False)
    assert row["p50_ms"] == 18.0
    assert row["exits"] == {"0:linear": 1, "final": 3}


def test_an_unclear_answer_is_not_kept():
    seen = load_test.Seen(seconds=1.0)
    seen.add(200, {"status": "ok", "exit_name": "final"}, 1.0)
    assert load_test.summary(seen, load=1.0, rate=1.0, budget_ms=20.0)["kept"]
    seen.statuses[0] += 1
    assert not load_test.summary(seen, load=1.0, rate=1.0, budget_ms=20.0)["kept"]


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "a", "1,,2", "101"])
def test_loads_that_are_none(text, capsys):
    with pytest.raises(SystemExit):
        load_test.main(["--loads", text])
    assert "numbers above 0" in capsys.readouterr().err


def test_a_made_bundle_has_times_of_its_own(tmp_path):
    from exitsearch.runtime import load_bundle

    latency = load_bundle(timed_bundle(tmp_path / "bundle", rounds=12, width=32, steps=2)).manifest.latency
    assert len({*latency.segments[0.5], *latency.heads[0.5]}) > 3
    assert all(median <= late for median, late in zip(latency.segments[0.5], latency.segments[0.99], strict=True))
