"""All conditions of a machine: one of them measured, and how calls keep their time and archives their size."""

from __future__ import annotations

import json
import os
import random
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace

import measure_on_device
import pytest
from measure_on_device import main, pack, statuses

ARGUMENTS = ["--device", "cpu", "--models", "test_vit", "--dtypes", "fp32", "--runtimes", "eager,compile"]


class FakeBench:
    """`bench_prediction.py`, which writes its two files at once; time passes only in it."""

    def __init__(self, *, takes_s=60.0, fails=()):
        self.now, self.takes_s, self.fails, self.ran = 0.0, takes_s, fails, []

    def run(self, command, *, timeout, **_):
        words = dict(zip(command[2::2], command[3::2], strict=True))
        profile, prediction = Path(words["--profile-out"]), Path(words["--json"])
        self.ran.append(prediction.stem)
        self.now += min(self.takes_s, timeout)
        profile.parent.mkdir(exist_ok=True)
        profile.write_text("{}")
        if self.takes_s > timeout:
            raise subprocess.TimeoutExpired(command, timeout)
        if any(word in prediction.stem for word in self.fails):
            return SimpleNamespace(returncode=1, stderr="10%\rbench_prediction: out of memory\n")
        prediction.parent.mkdir(exist_ok=True)
        figures = {"verdict": {"status": "ok"}, "summary": {"final": {"median_error": 0.01, "worst_error": 0.02}}}
        prediction.write_text(json.dumps(figures))
        return SimpleNamespace(returncode=0, stderr="")


def test_smallest(call, tmp_path):
    """One condition, measured by `bench_prediction.py` in a process of its own."""
    out = tmp_path / "out"
    called = call(
        "measure_on_device", "--out", out, "--archive-to", tmp_path / "archives", *ARGUMENTS[:-1], "eager",
        "--batch-sizes", "1", "--heads", "linear", "--configs", "2", "--seconds", "0.2",
    )  # fmt: skip
    assert called.status == 0
    name = "test_vit__cpu__fp32__bs1__eager"
    (run,) = called.figures["runs"]
    assert (run["condition"], run["status"], run["count"]) == (name, "measured", 2)
    assert 0 <= run["median_error"] <= run["worst_error"] < 20
    assert 0 < run["seconds"] < 300
    assert run["verdict"] in ("ok", "noisy", "invalid")
    assert (called.figures["left"], called.figures["archive"]) == ([], "measured-1.tar.xz")
    assert called.out == (out / "summary.jsonl").read_text()
    assert json.loads(called.out) == run
    with tarfile.open(tmp_path / "archives" / "measured-1.tar.xz") as archive:
        held = {f"{kind}/{name}.json" for kind in ("profiles", "prediction")}
        assert set(archive.getnames()) == {"summary.jsonl", "packed.json", *held}


@pytest.fixture
def bench(monkeypatch):
    fake = FakeBench()
    monkeypatch.setattr(measure_on_device.subprocess, "run", lambda *args, **rest: fake.run(*args, **rest))
    monkeypatch.setattr(measure_on_device.time, "monotonic", lambda: fake.now)
    return fake


def test_a_call_keeps_its_time_and_the_next_goes_on(bench, tmp_path):
    """Conditions of 60 s each, in calls of 2.5 minutes: two in the first (compile needs 140 s left), then the rest."""
    arguments = [*ARGUMENTS, "--out", str(tmp_path / "out"), "--minutes", "2.5"]
    first = ["test_vit__cpu__fp32__bs1__eager", "test_vit__cpu__fp32__bs32__eager"]
    assert main(arguments) == 0
    assert bench.ran == first
    assert (tmp_path / "out" / "measured-1.tar.xz").exists()
    arguments[-1] = "9"
    assert main(arguments) == 0
    assert bench.ran == [*first, "test_vit__cpu__fp32__bs1__compile", "test_vit__cpu__fp32__bs32__compile"]
    with tarfile.open(tmp_path / "out" / "measured-2.tar.xz") as archive:
        assert sorted(name for name in archive.getnames() if name.startswith("profiles")) == [
            "profiles/test_vit__cpu__fp32__bs1__compile.json",
            "profiles/test_vit__cpu__fp32__bs32__compile.json",
        ]
    assert main(arguments) == 0
    assert len(bench.ran) == 4
    assert not (tmp_path / "out" / "measured-3.tar.xz").exists()


def test_failures_are_told_and_not_tried_again_unless_asked(bench, tmp_path, capsys):
    bench.fails = ("bs32",)
    arguments = [*ARGUMENTS[:-1], "eager", "--out", str(tmp_path)]
    assert main(arguments) == 1
    assert "bench_prediction: out of memory" in capsys.readouterr().out
    bench.fails = ()
    assert main(arguments) == 0
    assert len(bench.ran) == 2
    assert main([*arguments, "--again"]) == 0
    assert bench.ran[2:] == ["test_vit__cpu__fp32__bs32__eager"]


def test_what_is_cut_off_comes_first_and_is_given_up_when_one_call_is_not_enough(bench, tmp_path):
    """200 s each: the second is cut off in a call of 5 minutes, and is the next call's first."""
    bench.takes_s = 200.0
    arguments = [*ARGUMENTS[:-1], "eager", "--batch-sizes", "1,8,32", "--out", str(tmp_path), "--minutes", "5"]
    assert main(arguments) == 0
    assert statuses(tmp_path) == {
        "test_vit__cpu__fp32__bs1__eager": "measured", "test_vit__cpu__fp32__bs8__eager": "cut off"
    }  # fmt: skip
    # Its profile came without its check: no archive may hold it.
    assert not (tmp_path / "profiles" / "test_vit__cpu__fp32__bs8__eager.json").exists()
    bench.takes_s = 1000.0
    arguments[-1] = "9"
    assert main(arguments) == 1
    assert bench.ran[2:] == ["test_vit__cpu__fp32__bs8__eager"]
    assert statuses(tmp_path)["test_vit__cpu__fp32__bs8__eager"] == "failed"


def test_archives_keep_their_size_and_hold_everything_once(tmp_path):
    """Six conditions of 60 kB that no compression makes smaller than 45 kB: three in an archive of 350 kB."""
    draw, out = random.Random(0), tmp_path / "out"
    for number in range(6):
        for kind, size in (("profiles", 60_000), ("prediction", 100)):
            path = out / kind / f"c{number}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(draw.randbytes(size // 2).hex())
            os.utime(path, (number, number))
    (out / "summary.jsonl").write_text("{}\n")
    unpacked, sizes = tmp_path / "elsewhere", []
    while (archive := pack(out, tmp_path / "archives", largest=350_000)) is not None:
        sizes.append(archive.stat().st_size)
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
    assert len(sizes) == 2
    assert max(sizes) <= 350_000
    for number in range(6):
        name = f"profiles/c{number}.json"
        assert (unpacked / name).read_text() == (out / name).read_text()
    # Another machine that goes on from the archives packs nothing of this again.
    assert pack(unpacked, tmp_path / "archives") is None
