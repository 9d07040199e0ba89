"""`exitsearch search --objectives`: the front printed, in the report, and one file a point."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import exitsearch
from exitsearch.cli.main import main

ARGV = ["search", "--profile", "published:mevit-gmacs", "--outcomes", "published:mevit-cifar10", "--trials", "8"]
ARGV += ["--budget-dist", "uniform:10,80", "--objectives", "value, time", "--heads", "mlp_ee,vit_ee"]


def test_a_front_is_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "exitsearch-out" / "front"
    folder.mkdir(parents=True)
    (folder / "99.json").write_text("of an earlier front")
    (folder / "my notes.json").write_text("mine")
    assert main([*ARGV, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    points = found["front"]["points"]
    assert len(points) > 2
    assert all(point["proved"] for point in points)
    values, times = [[point[name] for point in points] for name in ("value", "time")]
    assert values == sorted(values, reverse=True)
    assert times == sorted(times, reverse=True)
    assert values[0] == found["value"]
    assert sorted(path.name for path in folder.glob("*")) == sorted(
        [*(Path(point["file"]).name for point in points), "my notes.json"]
    )
    for point in points:
        config = exitsearch.load_config(Path("exitsearch-out") / point["file"])
        assert config.expected.value == point["value"]
        assert [[e.placement, str(e.choice)] for e in config.exits] == point["exits"]
    assert exitsearch.load_config("exitsearch-out").exits == exitsearch.load_config(folder / "01.json").exits
    assert main(ARGV) == 0
    printed = capsys.readouterr().out
    assert "The front" in printed
    assert "front/01.json" in printed
    page = (tmp_path / "exitsearch-out" / "report.html").read_text()
    assert "The front" in page
    assert points[-1]["file"] in page
    # A search without a front has another choice, of which the old points are none.
    at = ARGV.index("--objectives")
    assert main([*ARGV[:at], *ARGV[at + 2 :]]) == 0
    assert [path.name for path in folder.glob("*")] == ["my notes.json"]
