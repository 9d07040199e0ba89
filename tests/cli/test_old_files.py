"""Files that the first version wrote (commit b0eda54) are read, and go on, as ever."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import exitsearch
from exitsearch.cli.main import main

DATA = Path(__file__).parents[1] / "data"
# The command that wrote chosen_v1.json and study_v1.journal, with the table published:mevit-gmacs as it was then:
# without the parameters of the heads (chosen_v1.json names its identity). A table that has changed is another problem,
# whose study begins anew.
ARGV = [
    *("search", "--profile", str(DATA / "published_gmacs_v1.json"), "--outcomes", "published:mevit-cifar100"),
    *("--budget-dist", "uniform:10,80", "--max-exits", "3", "--heads", "mlp_ee,vit_ee", "--trials", "12"),
]


def test_a_journal_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The study has the same name, so its twelve trials are all there are, and nothing is drawn."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(DATA / "study_v1.journal", tmp_path / "study.journal")
    before = (tmp_path / "study.journal").read_text()
    assert main([*ARGV, "--storage", "study.journal", "--json"]) == 0
    captured = capsys.readouterr()
    assert "holds 12 trials of earlier runs" in captured.err
    further = (tmp_path / "study.journal").read_text().removeprefix(before)
    assert "trial_id" not in further  # that it was opened is noted, and nothing else
    # What is found is what was found, and the document only has more keys.
    old = json.loads((DATA / "chosen_v1.json").read_text())
    new = json.loads((tmp_path / "exitsearch-out" / "chosen.json").read_text())
    assert {key: new[key] for key in old if key not in ("created", "optimum", "expected")} == {
        key: old[key] for key in old if key not in ("created", "optimum", "expected")
    }
    assert new["expected"]["value"] == pytest.approx(old["expected"]["value"], abs=1e-12)
    assert set(new) - set(old) == {"request"}


def test_a_chosen_json_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    config = exitsearch.load_config(DATA / "chosen_v1.json")
    assert config.request is None
    assert main(["check", str(DATA / "chosen_v1.json")]) == 0
    assert f"expected  {config.expected.value:g}" in capsys.readouterr().out
    documents = ["--profile", "published:mevit-gmacs", "--outcomes", "published:mevit-cifar100"]
    assert main(["check", str(DATA / "chosen_v1.json"), *documents]) == 2
    assert "before requests were kept" in capsys.readouterr().err
