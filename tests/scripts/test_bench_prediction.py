"""Predicted over measured at the smallest size; how the errors are taken, by hand; and that a wrong profile shows."""

from __future__ import annotations

from types import SimpleNamespace

import bench_prediction
import pytest

from exitsearch.specs.profile import Profile

ARGUMENTS = ["--model", "test_vit", "--threads", "1", "--max-seconds", "0.2", "--configs", "3", "--heads", "linear"]


@pytest.fixture(autouse=True)
def _hardly_warm(monkeypatch):
    monkeypatch.setattr(bench_prediction, "WARM_UP_S", 0.01)


def test_smallest_and_the_same_profile_again(call, tmp_path, monkeypatch):
    profile = tmp_path / "new" / "profile.json"
    called = call("bench_prediction", *ARGUMENTS, "--profile-out", profile)
    assert called.status == 0
    assert called.figures.keys() == {
        "condition", "model", "seed", "view", "verdict", "drift", "sum_over_whole", "summary", "configurations"
    }  # fmt: skip
    assert called.document["date"] == Profile.read(profile).created
    assert called.figures["view"].startswith("iter_exits between")
    assert 0.05 < called.figures["drift"] < 20
    rows = called.figures["configurations"]
    assert rows[0]["exits"] == []
    assert len(rows) == 3
    for row in rows:
        assert len(row["ratios"]) == len(row["predicted_ms"]) == len(row["measured_ms"]) == len(row["exits"]) + 1
        assert all(
            0 < low <= ms <= high for ms, (low, high) in zip(row["measured_ms"], row["intervals_ms"], strict=True)
        )
        assert row["predicted_ms"] == sorted(row["predicted_ms"])
        for ratio, guess, seen in zip(row["ratios"], row["predicted_ms"], row["measured_ms"], strict=True):
            assert ratio == pytest.approx(guess / seen)
            assert 0.1 < ratio < 10
    finals = called.figures["summary"]["final"]
    assert finals["count"] == 3
    assert finals["worst_error"] == pytest.approx(max(abs(row["ratios"][-1] - 1) for row in rows))
    heading, *lines = called.out.splitlines()[1:5]
    assert heading.split() == ["configuration", "predicted", "ms", "measured", "ms", "ratio", "worst", "exit"]
    assert [line.split()[0] for line in lines] == ["no", *(f"{row['exits'][0][0]}:linear" for row in rows[1:])]

    def never(*_, **__):
        raise AssertionError("a profile that is given must not be made")

    monkeypatch.setattr(bench_prediction, "profile_backbone", never)
    again = call("bench_prediction", *ARGUMENTS, "--profile-in", profile)
    assert [row["predicted_ms"] for row in again.figures["configurations"]] == [row["predicted_ms"] for row in rows]
    assert again.document["date"] == called.document["date"]


@pytest.fixture
def profile(tmp_path):
    """Six segments of 1 ms with heads of 0.5 ms, a final part of 2 ms, and a plain backbone of 8 ms."""
    costs = "part,placement,head,latency_ms\n" + "".join(
        f"segment,{place},,1\nhead,{place},linear,0.5\n" for place in range(6)
    )
    made = Profile.parse_costs_csv(costs + "final,,,2\n", "costs.csv")
    known = made.environment.model_copy(update={"identity": {"threads": 1, "batch_size": 1}})
    made = made.model_copy(update={"whole": made.final.model_copy(update={"latency_ms": 8.0}), "environment": known})
    path = tmp_path / "profile.json"
    made.write(path)
    return path


def test_another_runtime_is_timed_by_the_profiler(call, monkeypatch, profile):
    """A machine half as fast as then, whose exits take a tenth longer than predicted."""
    asked = []

    def measure_paths(backbone, paths, **rest):
        asked.append(rest)
        times = [[2 * ms * (1.1 if path else 1) for ms in Profile.read(profile).path_ms(path)] for path in paths]
        timed = [SimpleNamespace(answers_ms=ms, intervals_ms=[None] * len(ms)) for ms in times]
        return SimpleNamespace(paths=timed, plain_ms=[16.0, 16.0])

    monkeypatch.setattr(bench_prediction, "measure_paths", measure_paths)
    called = call("bench_prediction", *ARGUMENTS, "--profile-in", profile, "--runtime", "onnxruntime", "--seed", "4")
    assert called.status == 0
    assert called.figures["view"] == "measure_paths"
    assert called.figures["drift"] == pytest.approx(2)
    assert (asked[0]["runtime"], asked[0]["threads"], asked[0]["seed"]) == ("onnxruntime", 1, 5)
    for row in called.figures["configurations"]:
        assert row["ratios"] == [pytest.approx(1 / 1.1 if row["exits"] else 1)] * (len(row["exits"]) + 1)
    assert called.figures["summary"]["exits"]["median_signed"] == pytest.approx(1 / 1.1 - 1)
    assert called.figures["summary"]["final, no exit"] == {
        "median_error": 0.0, "worst_error": 0.0, "median_signed": 0.0, "count": 1
    }  # fmt: skip


def test_configurations_are_different_and_of_every_group(profile):
    paths = bench_prediction.draw_paths(Profile.read(profile), count=9, seed=0)
    assert len(set(paths)) == 9
    assert paths[0] == ()
    assert {bench_prediction.group_name(len(path)) for path in paths} == {"no exit", "1 to 2 exits", "3 to 7 exits"}
    assert paths == bench_prediction.draw_paths(Profile.read(profile), count=9, seed=0)
    assert paths != bench_prediction.draw_paths(Profile.read(profile), count=9, seed=1)


def test_errors_by_hand():
    found = bench_prediction.error_summary([0.9, 1.0, 1.2])
    assert found == pytest.approx({"median_error": 0.1, "worst_error": 0.2, "median_signed": 0.0, "count": 3})


def test_wrong_input(capsys, tmp_path):
    assert bench_prediction.main(["--configs", "0"]) == 2
    assert capsys.readouterr().err == "bench_prediction: --configs must be 1 or more; found 0\n"
    missing = tmp_path / "none.json"
    assert bench_prediction.main([*ARGUMENTS, "--profile-in", str(missing), "--json", str(tmp_path / "f.json")]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"bench_prediction: {missing}: no such file; check its name"
    assert list(tmp_path.iterdir()) == []
