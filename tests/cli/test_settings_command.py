"""`exitsearch search` over a space with knobs: a real one from end to end, and wrong input."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import exitsearch
from exitsearch.cli.commands.search import _read_job
from exitsearch.cli.console import Terminal
from exitsearch.cli.main import build_parser, main
from exitsearch.models.heads.registry import get_head_type
from exitsearch.pipeline import apart, settings

SPACE = """schema_version = 1
placements = "0,1"

[backbone]
name = "vit_digits_patch1_8"

[[heads]]
type = "linear"

[[heads]]
type = "sl_vit"
"""
# A patch of 16 cells is larger than the grid of 8.
KNOBS = '[knobs]\ndtype = ["fp32", "bf16"]\n[knobs.heads.sl_vit]\npatch_size = [4, 16]\n'
SEARCH = ["search", "--space", "space.toml", "--budget-dist", "uniform:10%,100%", "--threads", "1"]
QUICK = ["--max-seconds", "0.1", "--epochs", "1"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    status = main([*argv, "--json"])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    found: dict[str, Any] = json.loads(captured.out)
    return found


def test_the_whole_way(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "space.toml").write_text(SPACE + KNOBS)
    found = run_json(capsys, *SEARCH, *QUICK)
    assert [row["state"] for row in found["tried"]] == ["tried", "impossible"] * 2
    assert found["settings_proved"]
    assert sum("patch_size 16 of sl_vit is larger than the 8x8 grid" in note for note in found["notes"]) == 2
    assert found["value"] >= max(row["value"] or 0 for row in found["tried"])
    # One profile a condition, with the heads of every setting in it.
    profiles = [exitsearch.load_profile(path) for path in (folder / "profiles" / "knobs").glob("*.json")]
    assert {profile.environment.identity["dtype"] for profile in profiles} == {"fp32", "bf16"}
    assert all({cost.head for cost in profile.heads} == {"linear", "sl_vit(patch_size=4)"} for profile in profiles)
    config = exitsearch.load_config("exitsearch-out")
    assert config.setting is not None
    assert (config.setting.dtype, config.setting.threads, config.setting.proved) == (
        found["setting"]["dtype"],
        1,
        True,
    )
    # The folder that it names holds the chosen heads, trained.
    assert main(["check", "exitsearch-out"]) == 0
    assert str(config.setting) in capsys.readouterr().out
    model = exitsearch.build_model(config, weights=found["outcomes"])
    assert len(model(torch.zeros(1, 1, 8, 8))) == len(config.exits) + 1
    assert "All 4 settings were tried, 2 of them not possible here" in (
        folder / "exitsearch-out" / "report.html"
    ).read_text(encoding="utf-8")

    # Again: nothing is measured, trained or tried twice. Fewer settings: what was made is used again.
    made = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.parts[-2:-1] != ("exitsearch-out",)}
    monkeypatch.setattr(apart, "subprocess", SimpleNamespace())  # measuring would fail
    assert main([*SEARCH, *QUICK, "--json"]) == 0
    captured = capsys.readouterr()
    again = json.loads(captured.out)
    assert (again["value"], again["tried"]) == (found["value"], found["tried"])
    assert "no setting was tried anew: the storage holds the results of earlier runs" in captured.err
    assert main([*SEARCH, *QUICK, "--trials", "1", "--storage", "other.journal"]) == 0
    assert "within the 1 of 4 settings tried to the end (3 not tried)" in capsys.readouterr().out
    assert {path for path in made if path.is_file() and path.stat().st_mtime_ns != made[path]} <= {
        path for path in made if path.suffix == ".lock"
    }


def test_a_crash_fails_the_setting_alone(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "space.toml").write_text(SPACE + "[knobs]\nthreads = [1, 2, 3]\n")
    ends = iter([-9, 1, 0])

    def end(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, next(ends), stderr="Traceback ...\nRuntimeError: no such kernel\n")

    monkeypatch.setattr(apart, "subprocess", SimpleNamespace(run=end, DEVNULL=None, PIPE=None))
    # The third one says that it is done and has written nothing: that is the file's fault.
    assert main(["search", "--space", "space.toml", "--budget-dist", "uniform:1,2", *QUICK]) == 1
    told = capsys.readouterr().err.splitlines()
    failed = "batches of 1: failed, the next run tries it again: "
    killed = "the process that measured it was ended by signal 9; run the same command again"
    assert told[0].endswith(f"1 thread, {failed}{killed}")
    assert told[1].endswith(f"2 threads, {failed}RuntimeError: no such kernel")
    assert f"{failed}profiles" in told[2]
    assert "no such file" in told[2]
    assert "no setting was tried to the end" in told[3]
    # All three are tried again; wrong input, which the child ends with, is there to stay.
    ends = iter([2, 2, 2])
    assert main(["search", "--space", "space.toml", "--budget-dist", "uniform:1,2", *QUICK]) == 2
    assert "no setting is possible" in capsys.readouterr().err.splitlines()[3]


def test_a_training_to_the_end_keeps_what_early_looks_need(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And an exit that one setting alone has is forbidden by the name that it was given, default or not."""
    option = "width"
    default = get_head_type("sl_vit").options[option]
    assert isinstance(default, int)
    (folder / "space.toml").write_text(SPACE + f"[knobs.heads.sl_vit]\n{option} = [{default}, {2 * default}]\n")
    quick = ["--max-seconds", "0.1", "--epochs", "2", "--forbid", f"0:sl_vit({option}={default})"]
    found = run_json(capsys, *SEARCH, *quick)
    assert [row["state"] for row in found["tried"]] == ["tried"] * 2
    config = exitsearch.load_config("exitsearch-out")
    assert (0, "sl_vit") not in [(e.placement, str(e.choice)) for e in config.exits]
    trained = [path.parent for path in (folder / "outcomes" / "knobs").glob("*/training.json")]
    assert len(trained) == 3  # linear, and sl_vit twice
    for path in trained:
        early, last = (exitsearch.load_outcomes(path / name) for name in ("outcomes-1.json", "outcomes.json"))
        assert early.values() != last.values()


def test_a_wrong_option_under_a_turned_one_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heads = SPACE.replace('type = "sl_vit"', 'type = "sl_vit"\noptions = {widht = 2}')
    (folder / "space.toml").write_text(f"{heads}[knobs.heads.sl_vit]\npatch_size = [2, 4]\n")
    assert main(SEARCH) == 2
    assert "unknown option of head type sl_vit 'widht'" in capsys.readouterr().err


def test_names_stand_for_plug_in_and_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "space.toml").write_text(SPACE + "[knobs]\nthreads = [1, 2]\n")
    args = build_parser().parse_args([*SEARCH, "--plugin", "mine.py"])
    paths, keys = [], []
    for text, version in (("", "1.0"), ("# other", "1.0"), ("# other", "2.0")):
        (folder / "mine.py").write_text(text)
        monkeypatch.setattr(settings, "_library", lambda runtime, version=version: version)
        provider = settings.MeasuredSettings(_read_job(args, None), watch=Terminal())
        paths.append(provider._profile_path(provider.otherwise, []))
        keys.append(provider.key)
    assert len(set(paths)) == 3
    assert (keys[0] != keys[1], keys[1] == keys[2]) == (True, True)


@pytest.mark.parametrize(
    ("knobs", "argv", "words"),
    [
        ('runtime = ["eagre"]', [], "unknown runtime 'eagre' (did you mean 'eager'?)"),
        ("heads.sl_vitt.width = [1]", [], "unknown head type 'sl_vitt' (did you mean 'sl_vit'?)"),
        ("heads.gah.stride = [1]", [], "the knob heads.gah turns no candidate"),
        ("heads.sl_vit.widht = [64]", [], "unknown option of head type sl_vit 'widht'"),
        ("heads.sl_vit.width = [0]", [], "option width of head type sl_vit should be greater than or equal to 1"),
        ("threads = [1, 2]", ["--profile", "p.json"], "--profile cannot be combined with [knobs]"),
        ("threads = [1, 2]", ["--class-weights", "w.csv"], "--class-weights cannot be combined with [knobs]"),
        ("threads = [1, 2]", ["--objectives", "value,params"], "--objectives cannot be combined with [knobs]"),
        ("threads = [1, 2]", ["--trace", "trace.csv"], "--trace cannot be combined with [knobs]"),
        ("threads = [1, 2]", ["--quantile", "95%"], "goes with the policy confidence"),
        ("threads = [1, 2]", ["--forbid", "1:gah"], "1:gah is no candidate in any setting"),
        ("heads.sl_vit.width = [64]", ["--force", "1:sl_vit(width=65)"], "1:sl_vit(width=65) is no candidate in any"),
        ("threads = [1, 2]", ["--sensitivity"], "--sensitivity cannot be combined with [knobs]"),
        ("threads = [1, 2]", ["--policy", "confidence"], "knobs need exact optima"),
        ("threads = [1, 2]", ["--trials", "0"], "--trials is at least 1, found 0"),
        ("threads = [1, 2]", ["--min-value-at", "soon"], "TIME=VALUE"),
        ("threads = [1, 2]", ["--heads", "gah"], "--heads names none of the space's heads, found gah"),
        ("threads = [1, 2]", ["--data", "no_such_folder"], "no_such_folder"),
        ("threads = [1, 2]", ["--model", "vit_tiny_patch16_224"], "need data to train on"),
        ("input_size = [8, 12]", ["--outcomes", "values.csv"], "leave it out, and name the data with --data"),
        ('dtype = ["bf16"]', ["--outcomes", "values.csv"], "values.csv holds scores alone"),
    ],
)
def test_wrong_input(folder: Path, capsys: pytest.CaptureFixture[str], knobs: str, argv: list[str], words: str) -> None:
    (folder / "values.csv").write_text("placement,head,value\n1,linear,0.6\nfinal,,0.9\n")
    (folder / "space.toml").write_text(f"{SPACE}[knobs]\n{knobs}\n")
    (folder / "w.csv").write_text("label,weight\n0,3\n")
    (folder / "trace.csv").write_text("budget_ms\n5\n9\n")
    before = sorted(folder.rglob("*"))
    assert main([*SEARCH, *argv]) == 2
    captured = capsys.readouterr()
    assert words in captured.err.strip().splitlines()[-1]
    assert sorted(folder.rglob("*")) == before
