"""No traceback, whatever is typed: inputs, the one sentence that each must get, and its exit status."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from exitsearch.cli.main import main
from exitsearch.specs.document import write_json

COSTS = "part,placement,head,latency_ms\nsegment,0,,10\nsegment,1,,10\nhead,0,linear,1\nhead,1,linear,1\nfinal,,,10\n"
VALUES = "placement,head,value\n0,linear,0.6\n1,linear,0.8\nfinal,,0.9\n"
WORTH = """
import sys

def leaves(outputs, labels):
    sys.exit(0)

def asks(outputs, labels):
    raise SystemExit
"""
LONG = "n" * 300
NINES = "9" * 5000
LABELS = np.arange(8) % 2
OUTPUTS = np.eye(2, dtype=np.float32)[LABELS]

SEARCH = ["search", "--profile", "costs.csv", "--trials", "3", "--budget-dist"]
GOOD = [*SEARCH, "uniform:5,40", "--outcomes", "values.csv"]
SAMPLED = [*SEARCH, "uniform:5,40", "--outcomes", "sampled"]


def outcomes(folder: Path, **changed: np.ndarray) -> None:
    """Two heads and the final exit, all of them always right, on both splits."""
    scores = {"choice": 1.0, "report": 1.0}
    folder.mkdir(exist_ok=True)
    write_json(
        folder / "outcomes.json",
        {
            "schema_version": 1,
            "backbone": {"name": None},
            "metric": "accuracy",
            "fallback": 0.0,
            "splits": {"choice": 8, "report": 8},
            "heads": [{"placement": place, "head": "linear", "scores": scores} for place in (0, 1)],
            "final": {"scores": scores},
        },
    )
    tensors = {"labels": LABELS, "0/linear": OUTPUTS, "1/linear": OUTPUTS, "final": OUTPUTS}
    for split in scores:
        save_file({**tensors, **changed}, folder / f"{split}.safetensors")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "costs.csv").write_text(COSTS)
    (tmp_path / "values.csv").write_text(VALUES)
    (tmp_path / "worth.py").write_text(WORTH)
    (tmp_path / "loop").symlink_to("loop")  # which nobody may open: permissions do not hold for root
    outcomes(tmp_path / "sampled")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run a command; returns its status and the last line on stderr."""
    status = main(argv)
    error = capsys.readouterr().err.strip()
    assert "Traceback" not in error
    return status, error.splitlines()[-1] if error else ""


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        # paths that are too long, or lead through what is no folder or may not be read
        ([*SEARCH, f"trace:{LONG}", "--outcomes", "values.csv"], "File name too long"),
        ([*SEARCH, f"trace:2*{LONG}:ms", "--outcomes", "values.csv"], "File name too long"),
        ([*SEARCH, "trace:loop/t.csv", "--outcomes", "values.csv"], "Too many levels of symbolic links"),
        ([*SEARCH, "trace:values.csv/t.csv", "--outcomes", "values.csv"], "Not a directory"),
        ([*GOOD, "--trace", LONG], "File name too long"),
        ([*SAMPLED, "--worth", f"{LONG}.py:value"], "File name too long"),
        ([*SAMPLED, "--worth", "loop/worth.py:value"], "Too many levels"),
        ([*SAMPLED, "--class-weights", LONG], "File name too long"),
        ([*SEARCH, "uniform:5,40", "--outcomes", LONG], "File name too long"),
        ([*SEARCH, "uniform:5,40", "--outcomes", "loop"], "Too many levels"),
        ([*GOOD, "--profile", LONG], "File name too long"),
        ([*GOOD, "--space", f"{LONG}.toml"], "File name too long"),
        ([*GOOD, "--plugin", f"{LONG}.py"], "File name too long"),
        ([*GOOD, "--plugin", "loop/heads.py"], "Too many levels"),
        ([*GOOD, "--out", LONG], "File name too long"),
        ([*GOOD, "--out", "values.csv/out"], "Not a directory"),
        ([*GOOD, "--storage", f"{LONG}.journal"], "File name too long"),
        (["check", LONG], "File name too long"),
        (["check", "loop"], "Too many levels"),
        (["compare", LONG, LONG], "File name too long"),
        (["train", "--config", LONG], "File name too long"),
        (["train-heads", "--data", LONG], "no folder"),
        (["train-heads", "--checkpoint", LONG], "File name too long"),
        # numbers without end
        ([*GOOD, "--force", NINES], "PLACEMENT or PLACEMENT:HEAD"),
        ([*GOOD, "--forbid", f"{NINES}:linear"], "PLACEMENT or PLACEMENT:HEAD"),
        ([*GOOD, "--placements", NINES], "placements run from 0 to 1"),
        ([*GOOD, "--placements", f"0-{NINES}"], "placements run from 0 to 1"),
        ([*GOOD, "--max-exits", NINES], "a whole number from 0 is needed"),
        ([*GOOD, "--trials", NINES], "a whole number from 0 is needed"),
        ([*GOOD, "--seed", NINES], "a whole number from 0 is needed"),
        ([*SAMPLED, "--seed", "-1"], "a whole number from 0 is needed"),
        ([*GOOD, "--fallback", "nan"], "a finite number is needed"),
        ([*GOOD, "--max-seconds", "nan"], "a finite number is needed"),
        ([*GOOD, "--max-seconds", "0"], "a number of seconds above 0 is needed"),
        ([*GOOD, "--batch-size", NINES], "a whole number from 1 is needed"),
        ([*GOOD, "--max-memory", NINES], "bytes are written as"),
        ([*GOOD, "--heads", f"linear(bias={NINES})"], "no head"),
        # a user's own function that would end the program
        ([*SAMPLED, "--worth", "worth.py:leaves"], "worth.py:leaves failed: SystemExit: 0"),
        ([*SAMPLED, "--worth", "worth.py:asks"], "worth.py:asks failed: SystemExit"),
    ],
    ids=lambda value: " ".join(value[5:])[:60] if isinstance(value, list) else "",
)
def test_wrong_input(here: Path, capsys: pytest.CaptureFixture[str], argv: list[str], words: str) -> None:
    before = sorted(here.rglob("*"))
    status, sentence = said(argv, capsys)
    assert (status, words in sentence) == (2, True), sentence
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("values.csv", VALUES.replace("1,linear", f"{NINES},linear"), "row 3: placement must be a whole number from 0"),
        ("values.csv", VALUES + "0,gah," + "1" * 131_073, "row 5: not valid CSV"),
        ("costs.csv", COSTS.replace("segment,1", f"segment,{NINES}"), "row 3: placement must be a whole number from 0"),
        ("costs.csv", COSTS + "head,0,x" + "x" * 131_073, "row 7: not valid CSV"),
        ("trace.csv", "1" * 131_073, "row 1: not valid CSV"),
        ("trace.csv", "1O\n20\n", "row 1: a budget is a number of milliseconds from 0, found '1O'"),
        ("trace.csv", "10\n2O\n", "row 2: a budget is a number of milliseconds from 0, found '2O'"),
        ("study.journal", "my notes", "is no journal of Optuna's and is left as it is"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_wrong_files(here: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, words: str) -> None:
    (here / name).write_text(text)
    budget = "trace:trace.csv" if name == "trace.csv" else "uniform:5,40"
    status, sentence = said([*SEARCH, budget, "--outcomes", "values.csv", "--storage", "study.journal"], capsys)
    assert (status, words in sentence) == (2, True), sentence
    assert len(sentence) < 300
    assert (here / name).read_text() == text


@pytest.mark.parametrize("policy", ["interruptible", "contract", "confidence"])
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"labels": np.where(LABELS, 99, 0)}, "labels must be from 0 to 1, as many as outputs, found 99"),
        ({"labels": LABELS[:, None].copy()}, "labels must be whole numbers [8]"),
        ({"labels": LABELS.astype(np.float32)}, "labels must be whole numbers [8]"),
        ({"0/linear": OUTPUTS[:, 0].copy()}, "0/linear must be decimal numbers [8, 2]"),
        ({"1/linear": 1 - OUTPUTS}, "the samples of 1/linear have accuracy 0, outcomes.json says 1"),
    ],
    ids=["label 99", "[n, 1]", "float labels", "1-d outputs", "other scores"],
)
def test_wrong_samples(
    here: Path, capsys: pytest.CaptureFixture[str], policy: str, changed: dict[str, np.ndarray], words: str
) -> None:
    outcomes(here / "sampled", **changed)
    for argv in ([*SAMPLED, "--policy", policy], ["check", "sampled"], ["check", "sampled/outcomes.json"]):
        status, sentence = said(argv, capsys)
        assert (status, words in sentence) == (2, True), sentence


@pytest.mark.parametrize("policy", ["interruptible", "contract", "confidence"])
def test_samples_that_may_not_be_read(here: Path, capsys: pytest.CaptureFixture[str], policy: str) -> None:
    report = here / "sampled" / "report.safetensors"
    report.unlink()
    report.symlink_to(here / "loop")
    status, sentence = said([*SAMPLED, "--policy", policy], capsys)
    assert (status, "report.safetensors: cannot be read: Too many levels" in sentence) == (2, True), sentence


@pytest.mark.parametrize(
    "argv",
    [
        *([*SAMPLED, "--policy", policy, "--forbid", "0", "--forbid", "1"] for policy in ("interruptible", "contract")),
        [*SAMPLED, "--policy", "confidence", "--forbid", "0", "--forbid", "1", "--quantile", "90%"],
        [*SAMPLED, "--forbid", "0", "--forbid", "1", "--sensitivity"],
        [*SEARCH, "point:0", "--outcomes", "values.csv", "--sensitivity"],
        [*SEARCH, "discrete:0@0.5,1e-9@0.5", "--outcomes", "values.csv", "--sensitivity"],
    ],
    ids=" ".join,
)
def test_unusual_and_right(here: Path, capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    assert said(argv, capsys)[0] == 0
    assert (here / "exitsearch-out" / "chosen.json").exists()


def command(argv: list[str], **options: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", "exitsearch", *argv], stderr=subprocess.PIPE, text=True, env=environment, **options
    )


@pytest.mark.parametrize(
    "argv", [GOOD, [*GOOD, "--json"], ["list", "heads"], ["list", "heads", "--json"]], ids=lambda argv: " ".join(argv)
)
def test_a_full_disk_on_stdout(here: Path, argv: list[str]) -> None:
    with open("/dev/full", "w") as full:
        process = command(argv, stdout=full)
        error = process.communicate()[1]
    assert process.returncode == 1
    assert error.splitlines()[-1] == "exitsearch: the output cannot be written: No space left on device"
    assert "Traceback" not in error


def smaller(limit: int) -> Callable[[], None]:
    """Lets no file grow beyond so many bytes: a disk that fills up in the middle of the work."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def test_a_full_disk_during_trials(here: Path) -> None:
    """The journal takes a few trials, and no more."""
    process = command([*GOOD, "--trials", "500"], stdout=subprocess.DEVNULL, preexec_fn=smaller(20_000))
    error = process.communicate()[1]
    assert process.returncode == 1
    assert "Traceback" not in error
    assert "failed ([Errno 27] File too large); run the same command again to go on: what was finished is kept" in error
    assert main([*GOOD, "--trials", "40"]) == 0  # half a line is no hindrance


def test_ctrl_c_in_the_trials(here: Path) -> None:
    """What was found so far is used, and said to be less than was asked for."""
    # A job in the background of a script ignores Ctrl-C, and so would its children.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = command([*GOOD, "--trials", "100000"], stdout=subprocess.PIPE, preexec_fn=heard)
    journal = here / "exitsearch-out" / "study.journal"
    waited = time.monotonic() + 60
    while not journal.exists() or journal.stat().st_size < 20_000:
        assert process.poll() is None
        assert time.monotonic() < waited
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert "interrupted after " in error
    assert " of 100000 trials; run the same command again to go on" in error
    assert "Expected accuracy" in output
    assert (here / "exitsearch-out" / "chosen.json").exists()


@pytest.mark.parametrize("policy", ["interruptible", "confidence"])
def test_a_finished_study_draws_nothing_and_says_so(
    here: Path, capsys: pytest.CaptureFixture[str], policy: str
) -> None:
    argv = [*SAMPLED, "--policy", policy]
    # Under confidence all choices are few here, which is said every time.
    usual = "the choices are few: every one that can be best was judged in full (1)" if policy == "confidence" else ""
    assert said(argv, capsys) == (0, usual)
    for again in ([], ["--seed", "7"]):
        status, sentence = said([*argv, *again], capsys)
        assert status == 0
        assert "no new trial was drawn, whatever the seed: the study exitsearch-" in sentence
        assert "holds 3 trials of earlier runs" in sentence
    assert said([*argv, "--trials", "5", "--seed", "7"], capsys) == (0, usual)


def test_a_finished_front_says_so_too(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*SAMPLED, "--objectives", "value,time"]
    assert said(argv, capsys) == (0, "")
    assert "no new trial was drawn" in said(argv, capsys)[1]
