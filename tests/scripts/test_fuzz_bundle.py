"""Hundreds of mutated bundles and requests, each with a clear end; and that faults are seen."""

from __future__ import annotations

import fuzz_bundle
import pytest


def test_hundreds(call):
    called = call("fuzz_bundle", "--bundles", "120", "--requests", "200", "--seed", "1")
    found = called.figures
    assert called.status == 0, called.out
    assert found["failures"] == 0
    assert found["bundle"]["cases"] == 120
    assert found["request"]["cases"] == 200
    assert sum(found["bundle"]["outcomes"].values()) == 120
    # Some of every kind, or the mutations have become too mild or too harsh to show anything.
    assert found["bundle"]["outcomes"]["refused"] > 40
    assert found["bundle"]["outcomes"]["loaded: ok"] > 3
    assert {"ok", "refused", "refused input"} <= set(found["request"]["outcomes"])
    assert "0 failures" in called.out


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("raise KeyError('ours')", "TRACEBACK"),
        ("os.abort()", "CRASH"),
        ("print('chatter')", "PRINTED"),
        ("Path(path).parent.joinpath('secret.bin').read_bytes()", "TOUCHED"),
    ],
)
def test_faults_are_seen(tmp_path, monkeypatch, fault, outcome):
    """A loader with a fault planted at case 2 of 4; the cases behind it are run all the same."""
    source = f"""
import os
from pathlib import Path
import fuzz_bundle
from fuzz_bundle import BundleError
number = [0]
original, mutate = fuzz_bundle.load_bundle, fuzz_bundle.mutate_bundle
def mutated(rng, *arguments):
    number[0] = int(os.environ["FIRST"]) + mutated.calls
    mutated.calls += 1
    return mutate(rng, *arguments)
mutated.calls = 0
def planted(path, **options):
    if number[0] == 2:
        {fault}
    return original(path, **options)
def child(kind, first, last, **options):
    os.environ["FIRST"] = str(first)
    fuzz_bundle.load_bundle, fuzz_bundle.mutate_bundle = planted, mutated
    fuzz_bundle.child(kind, first, last, **options)
"""
    (tmp_path / "planted.py").write_text(source)
    popen = fuzz_bundle.subprocess.Popen

    def altered(command, **options):
        program = command[2].replace("import fuzz_bundle; fuzz_bundle.", "import planted; planted.")
        return popen([command[0], "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {program}"], **options)

    monkeypatch.setattr(fuzz_bundle.subprocess, "Popen", altered)
    found = fuzz_bundle.fuzz(bundles=4, requests=0)
    if "read_bytes" in fault and not found["reads_are_seen"]:
        pytest.skip("this file system does not keep times of reading")
    failures = found["bundle"]["failures"]
    assert [case["outcome"] for case in failures][:1] == [outcome]
    assert {case["case"] for case in failures} == {2}
