"""`exitsearch compare` from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exitsearch.cli.main import main

OLD = Path(__file__).parents[1] / "data" / "profile_v1.json"


@pytest.fixture
def slower(tmp_path: Path) -> Path:
    """The recorded profile, half as slow again, measured with two threads."""
    data = json.loads(OLD.read_text())
    for cost in (*data["segments"], *data["heads"], data["final"], data["whole"]):
        cost["latency_ms"] *= 1.5
        cost["samples_ms"] = [1.5 * sample for sample in cost["samples_ms"]]
        cost["interval_ms"] = cost["interval_ms"] and [1.5 * end for end in cost["interval_ms"]]
    data["environment"]["identity"]["threads"] = 2
    path = tmp_path / "slower.json"
    path.write_text(json.dumps(data))
    return path


def test_the_same_file_is_no_different(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(OLD), str(OLD), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["in_all"]["ratio"] == 1.0
    assert found["counts"]["faster"] == found["counts"]["slower"] == 0


def test_other_conditions_need_a_word(slower: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(OLD), str(slower)]) == 2
    assert "threads 1 and 2" in capsys.readouterr().err
    assert main(["compare", str(OLD), str(slower), "--across"]) == 0
    captured = capsys.readouterr()
    assert "1.500 times A's" in captured.out
    assert "condition differs: threads is 1 in A and 2 in B" in captured.err


def test_a_batch_size_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(OLD), str(OLD), "--batch-size", "8"]) == 2
    assert "--batch-size 8 is not in this profile, which holds 1" in capsys.readouterr().err
