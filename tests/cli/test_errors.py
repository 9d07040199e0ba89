"""Wrong input at the command line: exit status 2, one clear sentence on stderr, no traceback, nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from exitsearch.cli.main import COMMANDS, main
from exitsearch.pipeline import search as pipeline_search

COSTS = "part,placement,head,latency_ms\nsegment,0,,10\nsegment,1,,10\nhead,0,linear,1\nhead,1,linear,1\nfinal,,,10\n"
VALUES = "placement,head,value\n0,linear,0.6\n1,linear,0.8\nfinal,,0.9\n"


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "costs.csv").write_text(COSTS)
    (tmp_path / "values.csv").write_text(VALUES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SEARCH = ["search", "--profile", "costs.csv", "--outcomes", "values.csv", "--trials", "5"]
GOOD = [*SEARCH, "--budget-dist", "uniform:5,40"]


def fails(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must fail with status 2; returns its one sentence."""
    status = main(argv)
    captured = capsys.readouterr()
    assert status == 2, captured
    assert "Traceback" not in captured.err
    return captured.err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([*SEARCH, "--budget-dist", "uniform:80,10"], "LO must be below HI"),
        ([*SEARCH, "--budget-dist", "sometimes"], "unknown budget distribution 'sometimes'"),
        ([*GOOD, "--heads", "liner"], "liner"),
        ([*GOOD, "--placements", "5"], "placements run from 0 to 1"),
        ([*GOOD, "--policy", "hasty"], "unknown policy 'hasty'"),
        ([*GOOD, "--policy", "confidence"], "hold only scores; train the heads"),
        ([*GOOD, "--policy", "confidence", "--confidence", "sure"], "unknown confidence 'sure'"),
        ([*GOOD, "--min-value-at", "20ms=0.95"], "no choice of exits keeps to all limits"),
        ([*GOOD, "--sensitivity", "--policy", "confidence"], "exact optima"),
        ([*GOOD, "--min-value-at", "soon"], "TIME=VALUE"),
        ([*GOOD, "--force", "1:zebra"], "the candidates there are linear"),
        ([*GOOD, "--forbid", "x"], "PLACEMENT or PLACEMENT:HEAD"),
        ([*GOOD, "--max-extra-params", "5"], "does not know the parameters"),
        ([*GOOD, "--max-memory", "1MB"], "does not know the bytes"),
        ([*GOOD, "--max-memory", "much"], "bytes are written as 64MiB"),
        ([*GOOD, "--max-energy", "12mJ"], "exitsearch profile --energy"),
        ([*GOOD, "--max-energy", "12kWh"], "an energy is written as 12mJ"),
        ([*GOOD, "--objectives", "value,colour"], "unknown objective 'colour'"),
        ([*GOOD, "--objectives", "params,time"], "value and one or two of params, energy and time"),
        ([*GOOD, "--objectives", "value,params"], "does not know the parameters"),
        ([*GOOD, "--class-weights", "values.csv"], "the column label is missing"),
        ([*GOOD, "--worth", "costs.csv"], "FILE.py:FUNCTION"),
        ([*GOOD, "--worth", "a.py:f", "--class-weights", "values.csv"], "not allowed with argument"),
        ([*GOOD, "--quantile", "95%"], "goes with the policy confidence"),
        ([*GOOD, "--policy", "confidence", "--quantile", "95"], "a share such as 2%"),
        ([*GOOD, "--trace", "none.csv"], "none.csv"),
        ([*GOOD, "--trace", "values.csv:colour"], "colour"),
        ([*GOOD, "--trace", "values.csv:value", "--policy", "confidence"], "exact optima"),
        ([*GOOD, "--max-exits", "-1"], "whole number from 0"),
        ([*GOOD, "--fallback", "7"], "accuracy is in 0..1"),
        ([*GOOD, "--space", "none.toml"], "no such file"),
        ([*GOOD, "--plugin", "none.py"], "none.py"),
        ([*GOOD, "--profile", "none.json"], "none.json: no such file"),
        ([*GOOD, "--outcomes", "published:nothing"], "nothing"),
        ([*GOOD, "--profile", "values.csv"], "the column part is missing"),
        ([*GOOD, "--outcomes", "costs.csv"], "the column value is missing"),
        ([*GOOD, "--metric", "mae"], "--fallback"),
        (["search"], "--budget-dist"),
        (["no-such-command"], "unknown command"),
        (["profile", "--model", "vit_tinny_patch16_224"], "vit_tiny_patch16_224"),
        (["profile", "--heads", "vit_e"], "did you mean 'vit_ee'"),
        (["profile", "--placements", "3-99"], "placements run from 0 to 11"),
        (["profile", "--batch-size", "0"], "whole number from 1"),
        (["profile", "--precision", "200%"], "share"),
        (["profile", "--device", "abacus"], "abacus"),
        (["profile", "--image-size", "7", "--model", "vit_tiny_patch16_224"], "vit_tiny_patch16_224"),
        (["train-heads", "--data", "no_such_folder"], "no_such_folder"),
        (["train-heads", "--model", "vit_tiny_patch16_224"], "--data digits"),
        (["train", "--config", "none.json"], "none.json: no such file"),
        (["check", "none.json"], "no such file"),
        (["list", "models", "zebra*"], "zebra*"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input(tables: Path, capsys: pytest.CaptureFixture[str], argv: list[str], words: str) -> None:
    before = sorted(tables.rglob("*"))
    assert words in fails(argv, capsys)
    assert sorted(tables.rglob("*")) == before


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--policy", "hasty"], "unknown policy 'hasty'"),
        (["--confidence", "sure"], "unknown confidence 'sure'"),
        (["--objectives", "value,colour"], "unknown objective 'colour'"),
        (["--objectives", "value,time", "--policy", "confidence"], "policy confidence does not have"),
        (["--quantile", "95%"], "goes with the policy confidence"),
        (["--min-value-at", "soon"], "TIME=VALUE"),
        (["--min-value-at", "20ms=0.7", "--policy", "confidence"], "cannot be combined with the policy confidence"),
        (["--force", "x"], "PLACEMENT or PLACEMENT:HEAD"),
        (["--max-energy", "0.5MJ"], "an energy is written as 12mJ"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_options_are_said_before_any_long_work(
    tables: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, argv: list[str], words: str
) -> None:
    """No profile and no outcomes are named, so both would have to be made."""

    def too_late(*_: object) -> None:
        raise AssertionError("a profile was looked for")

    monkeypatch.setattr(pipeline_search, "find_profile", too_late)
    assert words in fails(["search", "--budget-dist", "uniform:5,40", *argv], capsys)


def test_cuda_without_a_gpu(tables: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    sentence = fails(["profile", "--device", "cuda"], capsys)
    assert "no CUDA device" in sentence
    assert "--device cpu" in sentence


def test_files_of_another_kind(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tables / "half.json").write_text('{"schema_version": 1, "segm')
    assert "half.json: not valid JSON" in fails([*GOOD, "--profile", "half.json"], capsys)
    (tables / "foreign.json").write_text(json.dumps({"hello": "world"}))
    assert "schema_version is missing" in fails([*GOOD, "--profile", "foreign.json"], capsys)
    assert "neither a profile" in fails(["check", "foreign.json"], capsys)


def test_a_profile_of_another_backbone(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = fails([*GOOD, "--model", "vit_tiny_patch16_224", "--outcomes", "published:mevit-cifar10"], capsys)
    assert "vit_base_patch16_384" in sentence
    assert "vit_tiny_patch16_224" in sentence


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in ([], *([name] for name in COMMANDS)):
        with pytest.raises(SystemExit) as stop:
            main([*argv, "--help"])
        assert stop.value.code == 0
        assert "usage: exitsearch" in capsys.readouterr().out


def test_defaults_that_help_shows_are_those_of_the_steps() -> None:
    """They stand twice, since the steps are not light enough to be loaded for `--help`."""
    from exitsearch.cli.commands import profile, search
    from exitsearch.pipeline import job
    from exitsearch.pipeline import profile as step
    from exitsearch.specs.question import request

    assert (profile.PRECISION, profile.MAX_SECONDS) == (step.PRECISION, step.MAX_SECONDS)
    assert (search.TRIALS, search.MAX_SECONDS) == (request.TRIALS, job.MAX_SECONDS_ON_THE_WAY)
